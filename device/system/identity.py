"""Who this device is, on disk: its key (Ed25519), the name it was given for it, and the claim before that.

In the state folder, all of mode 0600: `identity.key` (PEM, PKCS 8) and `identity.json`; while they are being
changed, `identity.key.new` and `identity.json.new`; `claim.json`. A power cut anywhere leaves the old pair
or the new one.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import logging
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device.errors import StateError
from device.system.disk import Disk, sync_folder, write_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

log = logging.getLogger(__name__)

KEY, CARD, CLAIM = "identity.key", "identity.json", "claim.json"
_VERSION = 1  # of the card
_LONGEST_FILE = 16_384
_ROOT = Path("/")


class Key:
    """A private key; it signs, and is never shown."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @property
    def public(self) -> str:
        """The public half: 32 bytes, base64url without padding."""
        return base64.urlsafe_b64encode(self._key.public_key().public_bytes_raw()).decode().rstrip("=")

    def sign(self, claims: dict[str, Any]) -> str:
        """Return the claims as a JWT (RFC 7519) with EdDSA (RFC 8037)."""
        return jwt.encode(claims, self._key, algorithm="EdDSA")

    def pem(self) -> bytes:
        """Return it as it is kept."""
        none = serialization.NoEncryption()
        return self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none)


class Card(msgspec.Struct, frozen=True):
    """Who the companion says this device is. `claim`: SHA-256 of the claim that it was enrolled by."""

    device_id: str
    name: str
    audience: str
    url: str
    claim: str = ""
    version: int = _VERSION


class Claim(msgspec.Struct, frozen=True):
    """A one-time claim and where it is good."""

    url: str
    claim: str

    @property
    def digest(self) -> str:
        """SHA-256 of the claim, in hex."""
        return hashlib.sha256(self.claim.encode()).hexdigest()

    def __repr__(self) -> str:
        """Keep the claim out of logs and tracebacks."""
        return f"Claim(url={self.url!r}, claim=…)"


class Identity:
    """The files of one state folder. A file that cannot be used is set aside, and told once.

    What root writes belongs to the folder's owner. Raises StateError when the folder cannot be written.
    """

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self._folder = folder
        self._disk = disk or Disk()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other threads and processes out: the daemon and a command may enrol at the same moment."""
        with _writing(self._folder):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def begun(self) -> bool:
        """Tell whether this folder has, had, or is to have an identity."""
        return any(self._folder.glob("identity.*")) or any(self._folder.glob(f"{CLAIM}*"))

    def promised(self) -> bool:
        """Tell whether there is an identity, or a claim to make one."""
        kept = {path.name.removesuffix(".new") for path in self._folder.glob("identity.*")}
        return {KEY, CARD} <= kept or (self._folder / CLAIM).exists()

    def known(self) -> tuple[Card, Key] | None:
        """Return who this device is, None when it is not enrolled."""
        self._finish()
        card, key = self._read(CARD, _card), self._read(KEY, _key)
        return (card, key) if card and key else None

    def card(self) -> Card | None:
        """Return what may be shown of it, and change nothing."""
        with suppress(OSError, ValueError, msgspec.MsgspecError):
            return _card((self._folder / CARD).read_bytes())
        return None

    def claim(self) -> Claim | None:
        """Return the claim that lies there to be used."""
        with suppress(OSError):
            if (self._folder / CLAIM).read_bytes().startswith(b"\0"):
                self.destroy_claim()  # the power was cut while it was being overwritten
        return self._read(CLAIM, _claim)

    def put_claim(self, claim: Claim) -> None:
        """Lay a claim there."""
        self._replace(CLAIM, msgspec.json.encode(claim) + b"\n")

    def next_key(self) -> Key:
        """Return the key that is to follow; it is on disk, and the same until it is taken."""
        found = self._read(f"{KEY}.new", _key)
        if found:
            return found
        key = Key(Ed25519PrivateKey.generate())
        self._replace(f"{KEY}.new", key.pem())
        return key

    def has_next_key(self) -> bool:
        """Tell whether there is a key that is to follow."""
        return (self._folder / f"{KEY}.new").exists()

    def take_key(self) -> None:
        """Have the next key be the key."""
        with _writing(self._folder):
            self._disk.rename(self._folder / f"{KEY}.new", self._folder / KEY)
            sync_folder(self._disk, self._folder)

    def enrolled(self, card: Card) -> None:
        """Have the next key and this card be the identity, and destroy the claim that made it."""
        self._replace(f"{CARD}.new", msgspec.json.encode(card) + b"\n")
        self._finish()
        self.destroy_claim()

    def destroy_claim(self) -> None:
        """Overwrite the claim, then remove it."""
        destroy(self._folder / CLAIM, self._disk)

    def refuse_claim(self) -> str:
        """Set the claim aside, so that it is not shown again; returns its new name."""
        aside = f"{CLAIM}.refused"
        with _writing(self._folder):
            self._disk.rename(self._folder / CLAIM, self._folder / aside)
            sync_folder(self._disk, self._folder)
        return aside

    # --- inside

    def _finish(self) -> None:
        """Go on with what a power cut has interrupted: once the new card is there, it holds."""
        fresh = self._folder / f"{CARD}.new"
        if not fresh.exists() or self._read(f"{CARD}.new", _card) is None:
            return
        with _writing(self._folder):
            if self.has_next_key():
                self._disk.rename(self._folder / f"{KEY}.new", self._folder / KEY)
                sync_folder(self._disk, self._folder)
            self._disk.rename(fresh, self._folder / CARD)
            sync_folder(self._disk, self._folder)

    def _read(self, name: str, decode: Callable[[bytes], T]) -> T | None:
        path = self._folder / name
        try:
            data = path.read_bytes()[: _LONGEST_FILE + 1]
            return decode(data)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(f"{path} cannot be read ({error.strerror}): chown it to pressel") from None
        except (ValueError, TypeError, UnsupportedAlgorithm, msgspec.MsgspecError, RecursionError):
            self._set_aside(path)
            return None

    def _set_aside(self, path: Path) -> None:
        number = 1
        while (aside := path.with_name(f"{path.name}.bad-{number}")).exists():
            number += 1
        with _writing(self._folder):
            self._disk.rename(path, aside)
            sync_folder(self._disk, self._folder)
        log.error("%s cannot be used: kept as %s", path, aside.name)

    def _replace(self, name: str, data: bytes) -> None:
        path = self._folder / name
        fresh = path.with_name(f"{name}.tmp")
        with _writing(self._folder):
            write_file(self._disk, fresh, data)
            if os.geteuid() == 0:
                owner = self._folder.stat()
                os.chown(fresh, owner.st_uid, owner.st_gid)
            self._disk.rename(fresh, path)
            sync_folder(self._disk, self._folder)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn an OSError into a StateError that names the folder."""
    try:
        yield
    except OSError as error:
        line = f"{folder} cannot be written ({error.strerror}): free or repair it, or run this as root"
        raise StateError(line) from None


def destroy(path: Path, disk: Disk | None = None) -> None:
    """Overwrite a small file and wait until that is on the medium, then remove it.

    A card that spreads its wear may hold the old bytes for a while; what was in it is void by then.
    """
    disk = disk or Disk()
    with _writing(path.parent):
        if not path.exists():
            return
        zeros = bytes(path.stat().st_size)
        fd = os.open(path, os.O_WRONLY)
        try:
            while zeros:
                zeros = zeros[disk.write(fd, zeros) :]
            disk.sync(fd)
        finally:
            os.close(fd)
        disk.remove(path)
        sync_folder(disk, path.parent)


def read_claim(text: str, url: str) -> Claim:
    """Read a claim file, or the claim alone, which is then good at `url`. Raises ValueError."""
    stripped = text.strip()
    if stripped.startswith("{"):
        return _claim(stripped.encode())
    if not stripped or len(stripped.split()) > 1 or not stripped.isascii() or not stripped.isprintable():
        raise ValueError("it is neither a claim file nor one claim")
    return Claim(url, stripped)


def serial_number(root: Path = _ROOT) -> str:
    """Return the board's serial number, else a hash of the machine's id, "" when there is neither."""
    for name in ("proc/device-tree/serial-number", "sys/firmware/devicetree/base/serial-number"):
        serial = _line(root / name)
        if serial:
            return serial.replace(" ", "")[:64]
    machine = _line(root / "etc/machine-id")
    return hashlib.sha256(f"pressel:{machine}".encode()).hexdigest()[:16] if machine else ""


def model_name(root: Path = _ROOT) -> str:
    """Return what the board is, "" when it does not say."""
    return (_line(root / "proc/device-tree/model") or _line(root / "sys/firmware/devicetree/base/model"))[
        :128
    ]


def _line(path: Path) -> str:
    with suppress(OSError):
        text = path.read_bytes().decode("ascii", "ignore")
        return "".join(char for char in text if char.isprintable()).strip()
    return ""


def _card(data: bytes) -> Card:
    card = msgspec.json.decode(data, type=Card)
    if card.version != _VERSION:
        raise ValueError(f"it is of version {card.version}")
    return card


def _claim(data: bytes) -> Claim:
    claim = msgspec.json.decode(data, type=Claim)
    place = urlsplit(claim.url)
    if place.scheme not in ("https", "http") or not place.hostname or place.port == 0 or not claim.claim:
        raise ValueError("it names no companion, or no claim")  # as urlsplit does of what is no address
    return claim


def _key(data: bytes) -> Key:
    key = serialization.load_pem_private_key(data, None)
    if not isinstance(key, Ed25519PrivateKey):
        raise TypeError("it is no Ed25519 key")
    return Key(key)
