"""What a device is told at its first start, from the inventory: login and radio network."""

from __future__ import annotations

import base64
import hashlib
import re
import zoneinfo
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provision.errors import MediaError
from provision.schema import nearest

if TYPE_CHECKING:
    from provision import schema
    from provision.inventory import Fleet

_KEY = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-\S+|sk-\S+@openssh\.com) ([A-Za-z0-9+/=]+)( .*)?")
_HEX_PSK = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class Wifi:
    """A radio network. `psk`: 64 hexadecimal digits, "" for an open one; no repr shows it."""

    ssid: str
    country: str
    hidden: bool
    psk: str

    def __repr__(self) -> str:
        return f"Wifi({self.ssid!r}, {self.country!r})"


@dataclass(frozen=True)
class Settings:
    """What both kinds of images are told, each in its own language."""

    name: str
    user: str
    keys: tuple[str, ...]
    timezone: str
    wifi: Wifi | None


def gather(fleet: Fleet, name: str) -> Settings:
    """Return a device's settings. Raises FleetError for a key or a password that cannot be one."""
    media = fleet.media
    keys = [
        key for file in media.authorized_keys_files for key in _keys(fleet.folder / Path(file).expanduser())
    ]
    return Settings(name, media.user, tuple(dict.fromkeys(keys)), _timezone(media.timezone), _wifi(fleet))


def psk(ssid: str, passphrase: str) -> str:
    """Return the 256-bit key of a WPA2 passphrase (IEEE 802.11i, annex H.4), as 64 hexadecimal digits."""
    return hashlib.pbkdf2_hmac("sha1", passphrase.encode(), ssid.encode(), 4096, 32).hex()


def _keys(file: Path) -> list[str]:
    where = f"media.authorized_keys_files: {file}"
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        raise MediaError(f"{where} is missing: `ssh-keygen -t ed25519` makes a pair") from None
    except (OSError, UnicodeDecodeError) as error:
        raise MediaError(f"{where} cannot be read: {error}") from None
    if any("PRIVATE KEY" in line for line in lines):
        raise MediaError(f"{where} is a private key: name the one that ends in .pub")
    keys = [line for line in lines if line and not line.startswith("#")]
    if not all(_is_key(key) for key in keys):
        raise MediaError(f"{where} holds a line that is no public SSH key")
    return keys


def _is_key(line: str) -> bool:
    """Whether it is a whole public key: fields after their lengths, its type the first (RFC 4253, 6.6)."""
    found, fields = _KEY.fullmatch(line), list[bytes]()
    try:
        blob = base64.b64decode(found[2], validate=True) if found else b""
    except ValueError:
        return False
    while blob:
        size = int.from_bytes(blob[:4])
        fields.append(blob[4 : 4 + size])
        if len(fields[-1]) != size:
            return False
        blob = blob[4 + size :]
    return found is not None and len(fields) > 1 and fields[0] == found[1].encode()


def _timezone(name: str) -> str:
    known = zoneinfo.available_timezones()
    if known and name not in known:
        raise MediaError(f'media.timezone: there is no "{name}"; {nearest(name, sorted(known))}')
    return name


def _wifi(fleet: Fleet) -> Wifi | None:
    wifi: schema.Wifi | None = fleet.wifi
    if wifi is None:
        return None
    if not wifi.ssid.isprintable() or len(wifi.ssid.encode()) > 32:
        raise MediaError("wifi.ssid: a network's name has at most 32 bytes and no control characters")
    key = _key(wifi.ssid, fleet.wifi_password.read()) if fleet.wifi_password else ""
    return Wifi(wifi.ssid, wifi.country, wifi.hidden, key)


def _key(ssid: str, password: str) -> str:
    if _HEX_PSK.fullmatch(password):
        return password.lower()
    if not 8 <= len(password) <= 63 or not password.isascii() or not password.isprintable():
        raise MediaError(
            "wifi: password: a passphrase has 8 to 63 plain characters, a key 64 hexadecimal digits"
        )
    return psk(ssid, password)
