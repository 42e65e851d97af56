"""The short-lived secrets that a mint hands out, in memory only."""

from __future__ import annotations

import hmac
import secrets
from typing import Any

import msgspec


class Pass(msgspec.Struct, frozen=True):
    """What a secret opens: one session with its settings. `expires_at`: epoch seconds."""

    session_id: str
    device: str
    effective: dict[str, Any]
    expires_at: float


class Passes:
    """The secrets that are good now. One may connect several times until it expires, to the same session."""

    def __init__(self) -> None:
        self._known: dict[str, Pass] = {}

    def add(self, opens: Pass, now: float) -> str:
        """Return a new secret."""
        self._known = {key: value for key, value in self._known.items() if value.expires_at > now}
        value = f"ek_{secrets.token_hex(16)}"
        self._known[value] = opens
        return value

    def find(self, secret: str, now: float) -> Pass | None:
        """Return what the secret opens, or None when it is unknown or expired."""
        found = None
        for value, opens in self._known.items():
            if hmac.compare_digest(value.encode(), secret.encode()) and opens.expires_at > now:
                found = opens
        return found
