"""What every dialect is: the port, and what a frame may decode to besides core events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from device.core.events import Event


@dataclass(frozen=True, slots=True)
class ReplyAudio:
    """A piece of a reply's sound: PCM16 mono at the grant's output rate, whole samples."""

    reply_id: str
    item_id: str
    pcm: bytes


@dataclass(frozen=True, slots=True)
class Send:
    """A frame that the protocol itself calls for."""

    frame: str


Decoded = Event | ReplyAudio | Send


class Dialect(Protocol):
    """One session's wire protocol. Not thread-safe but for `audio`, which has no state."""

    def audio(self, pcm: bytes) -> str | bytes:
        """Frame PCM16 mono at the grant's input rate."""

    def end_turn(self) -> list[str]:
        """Commit the user's audio and ask for the reply."""

    def request_reply(self) -> list[str]:
        """Ask for a reply to what the server already knows."""

    def discard_turn(self) -> list[str]:
        """Have the server drop audio that is not committed."""

    def refuse_reply(self, reply_id: str) -> list[str]:
        """Cancel a reply that nobody wants to hear."""

    def interrupt(self, item_id: str | None, heard_ms: int) -> list[str]:
        """Cancel the reply; the server keeps of `item_id` what was heard."""

    def refuse_tool(self, call_id: str) -> list[str]:
        """Answer a tool call: there is no such tool here."""

    def decode(self, frame: str | bytes) -> list[Decoded]:
        """Read one frame. Raises ProtocolError, one line, when it makes no sense; the session goes on."""


def printable(text: str, limit: int = 200) -> str:
    """Return text from outside as one short line that a terminal can show."""
    line = "".join(char if char.isprintable() else " " for char in text[: limit + 1])
    return line if len(line) <= limit else line[:limit] + "…"
