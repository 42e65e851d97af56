"""What every dialect is: the port, and what a frame may decode to besides core events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from device.core.events import Event

if TYPE_CHECKING:
    from device.core.grant import Encoding


@dataclass(frozen=True, slots=True)
class ReplyAudio:
    """A piece of a reply's sound: in the grant's output encoding, or in `mime` when the message named one."""

    reply_id: str
    item_id: str
    sound: bytes
    mime: str | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """A frame to be sent."""

    frame: str | bytes


Decoded = Event | ReplyAudio | Send


class Dialect(Protocol):
    """One session's wire protocol. Not thread-safe but for `audio`, which has no state.

    Each method but `audio` returns what is to be sent and what is now known, in order.
    """

    @property
    def input(self) -> Encoding:
        """What the microphone's sound is sent as; certain once the session is opened."""

    @property
    def output(self) -> Encoding:
        """What replies come as; certain once the session is opened."""

    @property
    def continuous(self) -> bool:
        """The server tells time by the sound it gets: silence is sent while a reply is awaited or sounds."""

    @property
    def ping_s(self) -> float | None:
        """Call `ping` this often, in seconds; None: never."""

    def opening(self) -> list[Decoded]:
        """The socket is open: what the client says first."""

    def reopened(self) -> list[Decoded]:
        """The socket was dialled again, with the same secret."""

    def redial(self, code: int | None) -> float | None:
        """The socket has gone, with a close code or without: seconds to dialling it again, None for never."""

    def mint_again(self, code: int | None) -> bool:
        """The socket was closed before the session opened: whether a new secret may be taken."""

    def mend(self, code: int | None) -> str:
        """The session was closed for good: what the owner can do about it, as "; do this", or ""."""

    def ping(self) -> list[Decoded]:
        """Time has passed."""

    def audio(self, sound: bytes) -> str | bytes:
        """Frame sound in the grant's input encoding."""

    def end_turn(self) -> list[Decoded]:
        """Commit the user's audio and ask for the reply."""

    def say(self, text: str) -> list[Decoded]:
        """Take words that the owner wrote as the user's turn, and ask for the reply."""

    def request_reply(self) -> list[Decoded]:
        """Ask for a reply to what the server already knows."""

    def discard_turn(self) -> list[Decoded]:
        """Have the server drop audio that is not committed."""

    def refuse_reply(self, reply_id: str) -> list[Decoded]:
        """Cancel a reply that nobody wants to hear."""

    def interrupt(self, item_id: str | None, heard_ms: int) -> list[Decoded]:
        """Cancel the reply; the server keeps of `item_id` what was heard."""

    def refuse_tool(self, call_id: str) -> list[Decoded]:
        """Answer a tool call: there is no such tool here."""

    def closing(self) -> list[Decoded]:
        """The device hangs up: a farewell, if the protocol has one."""

    def decode(self, frame: str | bytes) -> list[Decoded]:
        """Read one frame. Raises ProtocolError, one line, when it makes no sense; the session goes on."""


def printable(text: str, limit: int = 200) -> str:
    """Return text from outside as one short line that a terminal can show."""
    line = "".join(char if char.isprintable() else " " for char in text[: limit + 1])
    return line if len(line) <= limit else line[:limit] + "…"
