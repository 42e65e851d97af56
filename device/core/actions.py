"""Orders the conversation gives, in the imperative; the daemon carries them out in sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from device.core.budget import Spent
    from device.core.sessions import Role, Turn

Sound = Literal["lost", "back", "notice", "refused"]
Why = Literal["button", "wake", "open talk"]
Level = Literal["info", "warning", "error"]


class Action:
    """Root of all orders."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Connect(Action):
    """Mint and open a session; ask for `resume` and be ready to seed with `turns`.

    `limit_s`: the most that minting, and then connecting, may each take.
    """

    attempt: int
    resume: str | None
    turns: tuple[Turn, ...]
    limit_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Hangup(Action):
    """End the attempt, in whatever stage it is; nothing more is heard from it."""

    attempt: int


@dataclass(frozen=True, slots=True)
class BeginTurn(Action):
    """Keep the user's audio from `at` (monotonic seconds) minus `lead_ms` on; a negative lead waits.

    `why`: what opened the turn, for the record of what leaves the device.
    """

    at: float
    lead_ms: int
    why: Why = "button"


@dataclass(frozen=True, slots=True)
class AttachTurn(Action):
    """Send the turn, from its first sample, into the attempt's session."""

    attempt: int


@dataclass(frozen=True, slots=True)
class DetachTurn(Action):
    """The session has gone: keep the turn, to be sent again from its first sample."""


@dataclass(frozen=True, slots=True)
class EndTurn(Action):
    """The turn ends with what was said until `at`; commit it and ask for the reply once all is sent."""

    at: float


@dataclass(frozen=True, slots=True)
class ReopenTurn(Action):
    """The user goes on before the ended turn could be sent: take the end back."""


@dataclass(frozen=True, slots=True)
class AdvanceTurn(Action):
    """A new turn begins on an open uplink: if it is sent again, then from `at` minus `lead_ms` on."""

    at: float
    lead_ms: int


@dataclass(frozen=True, slots=True)
class CloseTurn(Action):
    """The server has what it needs: send no more, keep no more."""


@dataclass(frozen=True, slots=True)
class DiscardTurn(Action):
    """The turn was none: send no more, and have the server forget what it got of it."""


@dataclass(frozen=True, slots=True)
class Say(Action):
    """Give the server words that the owner wrote, as the user's turn, and ask for the reply."""

    attempt: int
    text: str


@dataclass(frozen=True, slots=True)
class RequestReply(Action):
    """Ask for a reply to what the server already knows."""

    attempt: int


@dataclass(frozen=True, slots=True)
class AdmitReply(Action):
    """Let the reply's sound through to the speaker."""

    reply_id: str


@dataclass(frozen=True, slots=True)
class RefuseReply(Action):
    """Drop the reply's sound and cancel it at the server."""

    attempt: int
    reply_id: str


@dataclass(frozen=True, slots=True)
class Interrupt(Action):
    """Silence the speaker now; cancel the replies at the server and cut them to what was heard."""

    attempt: int


@dataclass(frozen=True, slots=True)
class FinishReply(Action):
    """No more sound will come for this reply; say so to the player."""

    reply_id: str


@dataclass(frozen=True, slots=True)
class RefuseTool(Action):
    """Answer a tool call: this device has no tools."""

    attempt: int
    call_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Remember(Action):
    """Put the conversation on disk."""

    session_id: str
    provider: str
    turns: tuple[Turn, ...]
    heard_ms: int


@dataclass(frozen=True, slots=True)
class Quote(Action):
    """Show the owner what one side said, whole; of a reply that was cut, what was heard."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Forget(Action):
    """Take the conversation off the disk."""


@dataclass(frozen=True, slots=True)
class Spend(Action):
    """Put the bill on disk."""

    spent: Spent


@dataclass(frozen=True, slots=True)
class Chime(Action):
    """Play an earcon: no session for long, back again, a limit is near, not now."""

    sound: Sound


@dataclass(frozen=True, slots=True)
class Tell(Action):
    """Say one line to the owner: log, status and watchers."""

    level: Level
    text: str
