"""A release's bundle as the desk sees it: which version, and for which machine."""

from __future__ import annotations

import hashlib
import re
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from provision.errors import InventoryError

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST = 64 * 1024
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+]*")  # it becomes a part of file names
_OF_ITSELF = ("SHA256SUMS", "bundle.json")


@dataclass(frozen=True)
class Release:
    """A bundle that script/bundle has made. `arch`: as `uname -m` says it.

    `build`: what the installer keeps beside a release, to tell two bundles of one version apart; "" for none.
    """

    path: Path
    version: str
    arch: str
    build: str = ""

    @property
    def size_mb(self) -> float:
        """How much is to be sent, in MB."""
        return self.path.stat().st_size / 1e6


class _About(msgspec.Struct):
    version: str
    arch: str


def open_release(path: Path | None) -> Release:
    """Read what a bundle says of itself. Raises InventoryError."""
    if path is None:
        raise InventoryError("fleet.bundle is missing: name the bundle that script/bundle made")
    try:
        with tarfile.open(path) as archive:
            found = _read(archive)
            about = msgspec.json.decode(found["bundle.json"], type=_About)
    except KeyError:
        raise InventoryError(
            f"fleet.bundle: {path} is no bundle of Pressel: it holds no bundle.json"
        ) from None
    except FileNotFoundError:
        raise InventoryError(f"fleet.bundle: {path} is missing: make it with script/bundle") from None
    except (OSError, EOFError, tarfile.TarError, msgspec.DecodeError) as error:
        raise InventoryError(f"fleet.bundle: {path} is no bundle of Pressel: {error}") from None
    if not _VERSION.fullmatch(about.version):
        raise InventoryError(f'fleet.bundle: {path} is no bundle of Pressel: "{about.version}" is no version')
    sums = found.get("SHA256SUMS")
    return Release(path, about.version, about.arch, hashlib.sha256(sums).hexdigest() if sums else "")


def _read(archive: tarfile.TarFile) -> dict[str, bytes]:
    """Return what the bundle says of itself, by file; script/bundle puts both at the archive's start."""
    found: dict[str, bytes] = {}
    for member in archive:
        folder, _, name = member.name.partition("/")
        if folder and name in _OF_ITSELF and member.isfile():
            file = archive.extractfile(member)
            found[name] = file.read(_LONGEST) if file else b""
        if len(found) == len(_OF_ITSELF):
            break
    return found
