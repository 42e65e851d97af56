"""What a device and the companion say to each other, version 1: enrolment, the request, the grant."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Resume = Literal["live", "seeded", "fresh"]
Codec = Literal["pcm16", "g711_ulaw", "g711_alaw"]
Dialect = Literal["openai", "openai-beta", "outspeed", "outspeed-legacy", "speko", "unmute", "delphi"]


class SessionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v1/sessions. `turns`: how many remembered turns the device could seed a new session with.

    `codec`: what the device wants sound to be sent as, for a thin link; None leaves it to the endpoint.
    """

    endpoint: Annotated[str, Meta(pattern=r"^[\w.-]{1,64}$")] = "default"
    mode: Literal["push_to_talk", "open_mic"] = "push_to_talk"
    turn_end: Literal["client", "server"] = "client"
    resume_session: Annotated[str, Meta(max_length=256)] | None = None
    turns: Annotated[int, Meta(ge=0)] = 0
    codec: Codec | None = None

    @property
    def server_turns(self) -> bool:
        """Tell whether the server is to find where a turn ends."""
        return self.mode == "open_mic" and self.turn_end == "server"


class EnrolRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v1/enrol. `public_key`: Ed25519, 32 bytes, base64url; `proof`: a JWT that this key has signed.

    The proof's claims: `claim`, the SHA-256 of the claim in hex, and iat, exp, jti.
    """

    claim: Annotated[str, Meta(min_length=1, max_length=128)]
    serial: Annotated[str, Meta(pattern=r"^[!-~]{0,64}\Z")]
    model: Annotated[str, Meta(pattern=r"^[ -~]{0,128}\Z")]
    public_key: Annotated[str, Meta(max_length=64)]
    proof: Annotated[str, Meta(max_length=2048)]

    def __repr__(self) -> str:
        """Keep the claim out of logs and tracebacks."""
        return f"EnrolRequest(serial={self.serial!r}, model={self.model!r}, claim=…)"


class RotateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v1/rotate. `proof`: a JWT signed by the new key, with the claims of an assertion."""

    public_key: Annotated[str, Meta(max_length=64)]
    proof: Annotated[str, Meta(max_length=2048)]


class Enrolled(msgspec.Struct, frozen=True):
    """The answer to both. `audience`: the name that assertions are made out to."""

    device_id: str
    name: str
    audience: str


class Auth(msgspec.Struct, frozen=True):
    """How the device shows the session's secret when it connects.

    "subprotocol" offers `value` after the grant's own subprotocols; "query" appends it to the URL's query.
    """

    kind: Literal["bearer", "subprotocol", "query", "none"]
    value: str

    def __repr__(self) -> str:
        """Keep the secret out of logs and tracebacks."""
        return f"Auth(kind={self.kind!r}, value=…)"


class AudioFormat(msgspec.Struct, frozen=True):
    """Mono at `rate` Hz; pcm16 is signed little-endian; "none": this way there is no sound."""

    encoding: Literal["pcm16", "g711_ulaw", "g711_alaw", "ogg_opus", "none"] = "pcm16"
    rate: int = 24_000


class HistoryTurn(msgspec.Struct, frozen=True):
    """One side's words."""

    role: Literal["user", "assistant"]
    text: str


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """All that the device needs for one session. Times are epoch seconds.

    `expires_at` is the secret's end, `session_ends_at` the session's own, when the provider says them.
    `session` is the dialect's own settings; `subprotocols` and `headers` hold nothing secret; `notice` is one
    line for the device's owner.
    """

    provider: str
    session_id: str
    resume: Resume
    url: str
    auth: Auth
    expires_at: int | None
    session_ends_at: int | None
    session: dict[str, Any]
    dialect: Dialect = "openai"
    subprotocols: list[str] = []
    headers: dict[str, str] = {}
    input: AudioFormat = AudioFormat()
    output: AudioFormat = AudioFormat()
    history: list[HistoryTurn] = []
    notice: str = ""


def without_live(turns: int) -> Resume:
    """Return the rung for a provider that restores nothing: the device's own turns, or a new start."""
    return "seeded" if turns > 0 else "fresh"
