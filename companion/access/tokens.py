"""Device tokens: made once, shown once, kept only as hashes in a 0600 file."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING

import msgspec

from companion.errors import ConfigError
from companion.files import private_folder, write_atomic

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class TokenFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file: device name to "sha256:hex". A 256-bit random token needs no slow hash."""

    version: int = 1
    tokens: dict[str, str] = {}


class Tokens:
    """The enrolled devices. The file is read again when it has changed, so enrolling needs no restart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._known: dict[str, str] = {}

    def names(self) -> list[str]:
        """Return the enrolled devices' names, sorted."""
        self._load()
        return sorted(self._known)

    def new(self, name: str, *, replace: bool = False) -> str:
        """Enrol a device and return its token, which is stored nowhere."""
        check_name(name)
        self._load()
        if name in self._known and not replace:
            raise ConfigError(f'"{name}" has a token already; add --replace to make the old one void')
        token = f"pressel_{secrets.token_urlsafe(32)}"
        self._save({**self._known, name: _hash(token)})
        return token

    def revoke(self, name: str) -> None:
        """Make a device's token void."""
        self._load()
        if name not in self._known:
            raise ConfigError(
                f'no device "{name}" in {self._path}; there are: {", ".join(self.names()) or "none"}'
            )
        self._save({key: value for key, value in self._known.items() if key != name})

    def device(self, token: str) -> str | None:
        """Return the name of the device whose token this is; all hashes are compared, in constant time."""
        self._load()
        offered = _hash(token)
        found = None
        for name, known in self._known.items():
            if hmac.compare_digest(offered, known):
                found = name
        return found

    def _load(self) -> None:
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if stamp == self._stamp:
                return
            data = msgspec.json.decode(self._path.read_bytes(), type=TokenFile)
        except FileNotFoundError:
            self._known, self._stamp = {}, None
            return
        except (OSError, msgspec.MsgspecError) as error:
            raise ConfigError(f"{self._path} cannot be used as the token file: {error}") from error
        self._known, self._stamp = dict(data.tokens), stamp

    def _save(self, tokens: dict[str, str]) -> None:
        try:
            private_folder(self._path.parent)
            write_atomic(
                self._path, msgspec.json.format(msgspec.json.encode(TokenFile(tokens=tokens))) + b"\n"
            )
        except OSError as error:
            raise ConfigError(f"cannot write {self._path}: {error.strerror}") from error


def check_name(name: str) -> None:
    """Refuse what cannot be a device's name with ConfigError."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f'the device name "{name}" must be 1 to 64 letters, digits, dots, dashes or underscores'
        )


def _hash(token: str) -> str:
    return f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"
