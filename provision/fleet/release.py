"""A release's bundle as the desk sees it: which version, and for which machine."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from provision.errors import InventoryError

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST = 64 * 1024


@dataclass(frozen=True)
class Release:
    """A bundle that script/bundle has made. `arch`: as `uname -m` says it."""

    path: Path
    version: str
    arch: str

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
            about = msgspec.json.decode(_about(archive), type=_About)
    except FileNotFoundError:
        raise InventoryError(f"fleet.bundle: {path} is missing: make it with script/bundle") from None
    except (OSError, EOFError, tarfile.TarError, msgspec.DecodeError) as error:
        raise InventoryError(f"fleet.bundle: {path} is no bundle of Pressel: {error}") from None
    return Release(path, about.version, about.arch)


def _about(archive: tarfile.TarFile) -> bytes:
    for member in archive:
        if member.isfile() and member.name.count("/") == 1 and member.name.endswith("/bundle.json"):
            file = archive.extractfile(member)
            return file.read(_LONGEST) if file else b""
    raise tarfile.TarError("it holds no bundle.json")
