"""Facts the conversation is told of, in the past tense. Those of one connection attempt carry its number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from device.core.sessions import Rung, Turn

Source = Literal["local", "server"]
Side = Literal["microphone", "speaker"]


class Event:
    """Root of all facts."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Attempted(Event):
    """Root of the facts that belong to one connection attempt; those of an older attempt are ignored."""

    attempt: int


# --- the panel and the owner


@dataclass(frozen=True, slots=True)
class Pressed(Event):
    """The button went down. `at`: monotonic seconds, as everywhere here."""

    at: float


@dataclass(frozen=True, slots=True)
class Released(Event):
    """The button came up."""

    at: float


@dataclass(frozen=True, slots=True)
class Held(Event):
    """The button has been down for the long-press time."""


@dataclass(frozen=True, slots=True)
class Woken(Event):
    """The wake line had an edge."""

    at: float


@dataclass(frozen=True, slots=True)
class MuteSet(Event):
    """The owner switched the microphone off or on."""

    on: bool


@dataclass(frozen=True, slots=True)
class Forgotten(Event):
    """The owner wants the conversation forgotten."""


@dataclass(frozen=True, slots=True)
class Stopped(Event):
    """The device is about to end; nothing is said or heard any more."""


@dataclass(frozen=True, slots=True)
class Typed(Event):
    """The owner wrote what would else be said."""

    text: str


@dataclass(frozen=True, slots=True)
class CardLost(Event):
    """The microphone or the speaker has gone, or was never there."""

    side: Side
    reason: str


@dataclass(frozen=True, slots=True)
class CardBack(Event):
    """The microphone or the speaker works again."""

    side: Side


@dataclass(frozen=True, slots=True)
class Dated(Event):
    """The local date, as "2026-11-21"; told at the start and when it changes."""

    day: str


@dataclass(frozen=True, slots=True)
class ClockSet(Event):
    """The time of day was set: what failed for its date may go now."""


@dataclass(frozen=True, slots=True)
class Elapsed(Event):
    """The deadline that the conversation named has come."""


# --- the session


@dataclass(frozen=True, slots=True)
class Opened(Attempted):
    """The session is open and configured. `ends_at`: monotonic seconds, None when unknown."""

    session_id: str
    provider: str
    rung: Rung
    ends_at: float | None = None


@dataclass(frozen=True, slots=True)
class Restored(Attempted):
    """The server told what it remembers of the conversation."""

    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Lost(Attempted):
    """The attempt is over: no grant, no socket, or the socket has gone. `fatal`: trying again cannot help."""

    reason: str
    fatal: bool = False
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Troubled(Attempted):
    """The provider reported an error that leaves the session open."""

    text: str


@dataclass(frozen=True, slots=True)
class Used(Attempted):
    """What the provider counted for a reply, in tokens."""

    tokens: int


# --- the user's turn


@dataclass(frozen=True, slots=True)
class SpeechStarted(Event):
    """A voice detector, the device's own or the server's, heard speech begin."""

    source: Source


@dataclass(frozen=True, slots=True)
class SpeechEnded(Event):
    """A voice detector heard speech end."""

    source: Source


@dataclass(frozen=True, slots=True)
class TurnAccepted(Attempted):
    """The server has taken the user's audio as one item."""

    item_id: str


@dataclass(frozen=True, slots=True)
class TurnHeld(Attempted):
    """The server holds this item as a turn of the user's: restored, seeded, written or said.

    `text`: its words, where they are known.
    """

    item_id: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class UserSaid(Attempted):
    """The transcript of the user's item, whole."""

    item_id: str
    text: str


# --- the reply


@dataclass(frozen=True, slots=True)
class ReplyStarted(Attempted):
    """The server began a reply; its audio waits for a verdict."""

    reply_id: str


@dataclass(frozen=True, slots=True)
class ReplyText(Attempted):
    """The next piece of a reply's words, which run ahead of the sound; `whole`: all of them so far, anew."""

    reply_id: str
    text: str
    whole: bool = False


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function the model wants called."""

    call_id: str
    name: str


@dataclass(frozen=True, slots=True)
class ReplyEnded(Attempted):
    """The server has sent all of a reply. `audio`: whether any sound came; `trouble`: why it is not whole."""

    reply_id: str
    audio: bool
    trouble: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Withdrawn(Attempted):
    """The server took back what it was saying: the user spoke over it."""


@dataclass(frozen=True, slots=True)
class ReplySounded(Event):
    """The first sample of a reply went to the speaker."""

    reply_id: str


@dataclass(frozen=True, slots=True)
class ReplyHeard(Event):
    """The last sample of a reply has been heard. `sound_ms`: how much of it came, None when unknown."""

    reply_id: str
    sound_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ReplyCut(Event):
    """A reply was silenced. Of `received_ms` of sound that had come, `heard_ms` were heard."""

    reply_id: str
    heard_ms: int
    received_ms: int
