"""The grant: one document that says all the device needs for one session."""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from device.core.sessions import Rung, Turn

DialectName = Literal["openai", "openai-beta", "outspeed", "outspeed-legacy", "speko", "unmute", "delphi"]
Codec = Literal["pcm16", "g711_ulaw", "g711_alaw"]

_BYTES_A_SAMPLE = {"pcm16": 2, "g711_ulaw": 1, "g711_alaw": 1}


class Auth(msgspec.Struct, frozen=True):
    """How the session's socket is authenticated.

    "subprotocol" offers `value` after the grant's own subprotocols; "query" appends it to the URL's query.
    """

    kind: Literal["bearer", "subprotocol", "query", "none"] = "none"
    value: str = ""

    def __repr__(self) -> str:
        """Keep the secret out of logs and tracebacks."""
        return f"Auth(kind={self.kind!r}, value=…)"


class Encoding(msgspec.Struct, frozen=True):
    """How sound is written on the wire, mono at `rate` Hz; "none": this way there is no sound."""

    encoding: Literal["pcm16", "g711_ulaw", "g711_alaw", "ogg_opus", "none"] = "pcm16"
    rate: Literal[8000, 16000, 24000, 48000] = 24000

    @property
    def bytes_per_ms(self) -> float:
        """Bytes of encoded sound in a millisecond; 0 where that depends on the sound."""
        return _BYTES_A_SAMPLE.get(self.encoding, 0) * self.rate / 1000


class Grant(msgspec.Struct, frozen=True):
    """What the companion gives for one session. Times in epoch seconds.

    `subprotocols` and `headers` hold nothing secret; `session` is the dialect's own settings, checked by
    whoever gave the grant; `notice` is one line for the owner.
    """

    dialect: DialectName
    url: str
    auth: Auth = Auth()
    subprotocols: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    provider: str = ""
    session_id: str | None = None
    resume: Rung = "fresh"
    expires_at: float | None = None
    session_ends_at: float | None = None
    input: Encoding = Encoding()
    output: Encoding = Encoding()
    session: dict[str, Any] = {}
    history: tuple[Turn, ...] = ()
    notice: str = ""


class GrantRequest(msgspec.Struct, frozen=True):
    """What the device asks the companion for. `codec`: its wish for a thin link, None for no wish."""

    endpoint: str
    mode: str
    turn_end: str
    resume_session: str | None
    turns: int
    codec: Codec | None = None


def host_of(url: str) -> str:
    """Return a URL's host and port, without a name or a password. Raises ValueError for what is no URL."""
    return urlsplit(url).netloc.rpartition("@")[2]


def is_loopback(url: str) -> bool:
    """Tell whether a URL stays on this machine; only there may a connection be unencrypted."""
    host = re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0].rpartition("@")[2]
    return bool(re.fullmatch(r"(localhost|127(\.\d+){3}|\[::1\])(:\d+)?", host))
