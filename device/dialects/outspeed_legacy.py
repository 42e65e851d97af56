"""Outspeed's older self-hosted server: PCM16 in JSON text frames, and turns that the server finds by itself.

A reply is what sounds from one `audio_end` to the next; words come beside it, in no order, or alone. Nothing
is committed: silence makes the server answer, which it may do while the button is still held. Such an answer
is kept until the turn has ended. A server that is talked over drops its reply and sends no `audio_end` for
it.
Source: PyPI outspeed 0.2.12 (websocket/processors.py, plugins/cartesia_tts.py) and npm @outspeed/core 1.0.3.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from device.core import events as e
from device.dialects.dialect import ReplyAudio, printable
from device.dialects.plain import PlainDialect, encode, read, send, text_only

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device.core.grant import Grant
    from device.core.sessions import Turn
    from device.dialects.dialect import Decoded

_LONGEST_WORDS = 10_000  # characters that wait for their sound
_MOST_PIECES = 1000  # of a reply that is kept
_MOST_SOUND = 8 << 20  # bytes of it


class _Kind(msgspec.Struct):
    type: str


class _Audio(msgspec.Struct):
    """PCM16 at the rate that the device asked for; the message's own `sample_rate` is of the time before."""

    data: bytes


class _Message(msgspec.Struct):
    data: str


@dataclass
class _Reply:
    """`pieces`: what came so far, for one that has to be told later."""

    id: str
    sounded: bool
    ended: bool = False
    size: int = 0
    pieces: list[e.ReplyText | ReplyAudio] = field(default_factory=list)


class OutspeedLegacyDialect(PlainDialect):
    """One session's protocol."""

    continuous = True  # the server's voice detector hears the end of a turn in the silence after it

    def __init__(self, attempt: int, grant: Grant, turns: Sequence[Turn], clock_offset_s: float) -> None:
        super().__init__(attempt, grant, turns, clock_offset_s)
        self._replies = 0
        self._reply: _Reply | None = None
        self._held: _Reply | None = None  # came too early; not told of yet
        self._asked = False  # the turn has ended, and what is held is its answer
        self._words = ""

    # --- what the device says

    def opening(self) -> list[Decoded]:
        """Tell both rates; the server answers nothing, so the session is open."""
        rates = {
            "input_sample_rate": self._grant.input.rate,
            "output_sample_rate": self._grant.output.rate,
        }
        opened = e.Opened(self._attempt, "", self._grant.provider, "fresh", self._ends_at())
        return [send("audio_metadata", **rates), opened]

    def audio(self, sound: bytes) -> str:
        """Frame PCM16."""
        return encode({"type": "audio", "data": sound})

    def end_turn(self) -> list[Decoded]:
        """Take what sounds from now on for the answer, or what was kept."""
        if self._held is None:
            return self._end()
        self._asked = True
        return self._kept() if self._held.ended else []  # of one that still comes, the next piece tells

    def say(self, text: str) -> list[Decoded]:
        """Send the words; the server replies as to speech."""
        return [*self.discard_turn(), *self._end(), send("message", data=text)]

    def discard_turn(self) -> list[Decoded]:
        """The server forgets nothing, but nobody waits for its answer."""
        self._held, self._asked = None, False
        return []

    def interrupt(self, _item_id: str | None, _heard_ms: int) -> list[Decoded]:
        """The server is interrupted by speech alone."""
        return self.discard_turn()

    def refuse_reply(self, reply_id: str) -> list[Decoded]:
        """Keep it: it answers what was said so far."""
        if self._reply and self._reply.id == reply_id:
            self._held = self._reply
        return []

    def closing(self) -> list[Decoded]:
        """Say the protocol's farewell."""
        return [send("websocket_stop")]

    # --- what the server says

    def decode(self, frame: str | bytes) -> list[Decoded]:
        """Read one frame. Raises ProtocolError, one line, when it makes no sense; the session goes on."""
        text = text_only(frame)
        match read(text, _Kind, "message").type:
            case "audio":
                return self._audio(read(text, _Audio, "audio").data)
            case "message":
                return self._message(read(text, _Message, "message").data)
            case "audio_end":
                return self._end() or self._words_alone()
        return []

    def _audio(self, sound: bytes) -> list[Decoded]:
        reply = self._reply
        begun: list[Decoded] = []
        if reply is None or reply.ended:
            reply = self._begin(sounded=True)
            begun = [e.ReplyStarted(self._attempt, reply.id)]
        whole = sound[: len(sound) // 2 * 2]
        return [*begun, *self._tell(reply), *self._told(reply, ReplyAudio(reply.id, reply.id, whole))]

    def _words_alone(self) -> list[Decoded]:
        """Give words that nothing sounded for as a reply of their own."""
        if not self._words:
            return []
        reply = self._begin(sounded=False)
        return [e.ReplyStarted(self._attempt, reply.id), *self._tell(reply), *self._end()]

    def _begin(self, *, sounded: bool) -> _Reply:
        self._replies += 1
        self._reply, self._held = _Reply(f"reply-{self._replies}", sounded), None
        return self._reply

    def _message(self, words: str) -> list[Decoded]:
        self._words += f"{' ' if self._words else ''}{printable(words, _LONGEST_WORDS)}"
        self._words = self._words[-_LONGEST_WORDS:]
        return self._tell(self._reply) if self._reply and not self._reply.ended else []

    def _tell(self, reply: _Reply) -> list[Decoded]:
        """Give the words that waited to the reply that sounds."""
        words, self._words = self._words, ""
        return self._told(reply, e.ReplyText(self._attempt, reply.id, f"{words} ")) if words else []

    def _told(self, reply: _Reply, piece: e.ReplyText | ReplyAudio) -> list[Decoded]:
        size = len(piece.sound) if isinstance(piece, ReplyAudio) else 0
        if len(reply.pieces) < _MOST_PIECES and reply.size + size <= _MOST_SOUND:
            reply.pieces.append(piece)
            reply.size += size
        if reply is self._held:
            return self._kept() if self._asked else []
        return [piece]

    def _end(self) -> list[Decoded]:
        reply = self._reply
        if reply is None or reply.ended:
            return []
        reply.ended = True
        if reply is self._held:
            return self._kept() if self._asked else []
        return [e.ReplyEnded(self._attempt, reply.id, reply.sounded)]

    def _kept(self) -> list[Decoded]:
        """Tell a kept reply from its beginning, by another name: its own was refused."""
        reply = self._held
        assert reply
        self._held, self._asked = None, False
        reply.id += "-kept"
        pieces = [
            replace(piece, reply_id=reply.id, item_id=reply.id)
            if isinstance(piece, ReplyAudio)
            else replace(piece, reply_id=reply.id)
            for piece in reply.pieces
        ]
        ended: list[Decoded] = []
        if reply.ended:
            ended = [e.ReplyEnded(self._attempt, reply.id, reply.sounded)]
        return [e.ReplyStarted(self._attempt, reply.id), *pieces, *ended]
