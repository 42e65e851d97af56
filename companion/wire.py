"""What a device and the companion say to each other, version 1: the request for a session and the grant."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Resume = Literal["live", "seeded", "fresh"]


class SessionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v1/sessions. `turns`: how many remembered turns the device could seed a new session with."""

    endpoint: Annotated[str, Meta(pattern=r"^[\w.-]{1,64}$")] = "default"
    mode: Literal["push_to_talk", "open_mic"] = "push_to_talk"
    turn_end: Literal["client", "server"] = "client"
    resume_session: Annotated[str, Meta(max_length=256)] | None = None
    turns: Annotated[int, Meta(ge=0)] = 0

    @property
    def server_turns(self) -> bool:
        """Tell whether the server is to find where a turn ends."""
        return self.mode == "open_mic" and self.turn_end == "server"


class Auth(msgspec.Struct, frozen=True):
    """How the device shows the session's secret when it connects."""

    kind: Literal["bearer", "subprotocol", "query", "none"]
    value: str


class AudioFormat(msgspec.Struct, frozen=True):
    """`rate` in Hz; pcm16 is signed little-endian mono."""

    encoding: Literal["pcm16"] = "pcm16"
    rate: int = 24_000


class HistoryTurn(msgspec.Struct, frozen=True):
    """One side's words."""

    role: Literal["user", "assistant"]
    text: str


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """All that the device needs for one session. Times are epoch seconds.

    `expires_at` is the secret's end, `session_ends_at` the session's own, when the provider says it.
    """

    provider: str
    session_id: str
    resume: Resume
    url: str
    auth: Auth
    expires_at: int
    session_ends_at: int | None
    session: dict[str, Any]
    dialect: str = "openai"
    input: AudioFormat = AudioFormat()
    output: AudioFormat = AudioFormat()
    history: list[HistoryTurn] = []


def without_live(turns: int) -> Resume:
    """Return the rung for a provider that restores nothing: the device's own turns, or a new start."""
    return "seeded" if turns > 0 else "fresh"
