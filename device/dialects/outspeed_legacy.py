"""Outspeed's older self-hosted server: PCM16 in JSON text frames, and turns that the server finds by itself.

Source: PyPI outspeed 0.2.12 (websocket/processors.py, plugins/cartesia_tts.py) and npm @outspeed/core 1.0.3.
"""

from __future__ import annotations

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


class _Kind(msgspec.Struct):
    type: str


class _Audio(msgspec.Struct):
    """PCM16 at the rate that the device asked for; the message's own `sample_rate` is of the time before."""

    data: bytes


class _Message(msgspec.Struct):
    data: str


class OutspeedLegacyDialect(PlainDialect):
    """A reply is what sounds from one `audio_end` to the next; words come beside it, in no order.

    A server that is talked over drops its reply and sends no `audio_end` for it: the end of the user's turn
    closes that one.
    """

    continuous = True  # the server's voice detector hears the end of a turn in the silence after it

    def __init__(self, attempt: int, grant: Grant, turns: Sequence[Turn], clock_offset_s: float) -> None:
        super().__init__(attempt, grant, turns, clock_offset_s)
        self._replies = 0
        self._sounding = False
        self._words = ""

    # --- what the device says

    def opening(self) -> list[Decoded]:
        """Tell both rates; the server answers nothing, so the session is open."""
        rates = {
            "input_sample_rate": self._grant.input.rate,
            "output_sample_rate": self._grant.output.rate,
        }
        opened = e.Opened(self._attempt, session_id="", provider=self._grant.provider, rung="fresh")
        return [send("audio_metadata", **rates), opened]

    def audio(self, sound: bytes) -> str:
        """Frame PCM16."""
        return encode({"type": "audio", "data": sound})

    def end_turn(self) -> list[Decoded]:
        """Take what sounds from now on for the reply to this turn."""
        return self._end()

    def say(self, text: str) -> list[Decoded]:
        """Send the words; the server replies as to speech."""
        return [*self._end(), send("message", data=text)]

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
                return self._end()
        return []

    @property
    def _reply_id(self) -> str:
        return f"reply-{self._replies}"

    def _audio(self, sound: bytes) -> list[Decoded]:
        whole = sound[: len(sound) // 2 * 2]
        found: list[Decoded] = []
        if not self._sounding:
            self._sounding = True
            self._replies += 1
            found = [e.ReplyStarted(self._attempt, self._reply_id), *self._tell()]
        return [*found, ReplyAudio(self._reply_id, self._reply_id, whole)]

    def _message(self, words: str) -> list[Decoded]:
        self._words += f"{' ' if self._words else ''}{printable(words, _LONGEST_WORDS)}"
        self._words = self._words[-_LONGEST_WORDS:]
        return self._tell() if self._sounding else []

    def _tell(self) -> list[Decoded]:
        """Give the words that waited to the reply that sounds."""
        words, self._words = self._words, ""
        return [e.ReplyText(self._attempt, self._reply_id, f"{words} ")] if words else []

    def _end(self) -> list[Decoded]:
        if not self._sounding:
            return []
        self._sounding = False
        return [e.ReplyEnded(self._attempt, self._reply_id, audio=True)]
