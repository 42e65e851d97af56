"""The grant: one document that says all the device needs for one session."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from device.core.sessions import Rung, Turn


class Auth(msgspec.Struct, frozen=True):
    """How the session's socket is authenticated."""

    kind: Literal["bearer", "subprotocol", "query", "none"] = "none"
    value: str = ""

    def __repr__(self) -> str:
        """Keep the secret out of logs and tracebacks."""
        return f"Auth(kind={self.kind!r}, value=…)"


class Encoding(msgspec.Struct, frozen=True):
    """PCM16 mono little-endian at `rate` Hz."""

    encoding: Literal["pcm16"] = "pcm16"
    rate: Literal[8000, 16000, 24000, 48000] = 24000


class Grant(msgspec.Struct, frozen=True):
    """What the companion gives for one session. Times in epoch seconds; `session` goes out as it is."""

    dialect: Literal["openai"]
    url: str
    auth: Auth = Auth()
    provider: str = ""
    session_id: str | None = None
    resume: Rung = "fresh"
    expires_at: float | None = None
    session_ends_at: float | None = None
    input: Encoding = Encoding()
    output: Encoding = Encoding()
    session: dict[str, Any] = {}
    history: tuple[Turn, ...] = ()


class GrantRequest(msgspec.Struct, frozen=True):
    """What the device asks the companion for."""

    endpoint: str
    mode: str
    turn_end: str
    resume_session: str | None
    turns: int


def is_loopback(url: str) -> bool:
    """Tell whether a URL stays on this machine; only there may a connection be unencrypted."""
    host = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    return bool(re.fullmatch(r"(localhost|127(\.\d+){3}|\[::1\])(:\d+)?", host))
