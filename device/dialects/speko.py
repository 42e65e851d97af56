"""Speko's proxy socket: PCM16 in binary frames both ways, all else JSON text frames with the field `t`.

Source: the vendor's spekoai 0.1.3 and browser client. The protocol names neither turns nor replies, so they
are counted here: a reply begins with its first frame and ends when the socket falls quiet after it. A session
is neither restored nor seeded, and the server is not told how much of a reply was heard.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from device.core import events as e
from device.core.grant import Encoding
from device.dialects import speko_wire as wire
from device.dialects.dialect import Decoded, ReplyAudio, Send, printable
from device.dialects.plain import PlainDialect, encode, read, words_of
from device.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device.core.grant import Grant
    from device.core.sessions import Turn

_RATES: tuple[Literal[16000, 24000], ...] = (16000, 24000)
_TICK_S = 0.2
_QUIET_TICKS = 3  # after the reply's last words and sound
_LONG_QUIET_TICKS = 15  # when one of them has not come
_HUSHED_TICKS = 5  # after an interruption
_MOST_WORDS = 10_000  # characters of a reply
_OVER_CODES = {"SESSION_EXPIRED", "SESSION_ENDED", "SESSION_NOT_FOUND"}
_FATAL_CODES = {"UNAUTHORIZED", "AUTH_ERROR", "VALIDATION_ERROR"}
_NO_TOOLS = '{"error": "this device has no tools"}'


@dataclass
class Reply:
    """The reply in the making. `closed`: the words of its closed entries; `shown`: all that were told."""

    id: str
    sounded: bool = False
    final: bool = False
    closed: str = ""
    shown: str = ""
    odd: bytes = b""
    torn: bool = False


class SpekoDialect(PlainDialect):
    """One session's protocol."""

    ping_s = _TICK_S

    def __init__(self, attempt: int, grant: Grant, turns: Sequence[Turn], clock_offset_s: float) -> None:
        super().__init__(attempt, grant, turns, clock_offset_s)
        self._opened = False
        self._reply: Reply | None = None
        self._replies = 0
        self._awaited = False  # a turn was ended and no reply to it has begun
        self._hushed = False  # an interrupted reply may still be on its way: what comes is dropped
        self._belated = False  # the last reply ended without its last words: they are not another reply's
        self._cut = ""  # how those words begin
        self._withdrawn = ""  # the reply that the server itself took back
        self._quiet = 0  # ticks since the last frame of a reply
        self._turn = ""
        self._turns_begun = 0
        self._accepted = False

    # --- what the device says

    def audio(self, sound: bytes) -> bytes:
        """Binary frames are sound."""
        return sound

    def ping(self) -> list[Decoded]:
        """Count the quiet: it ends a reply, and the distrust after an interruption."""
        self._quiet += 1
        if self._hushed and self._quiet >= _HUSHED_TICKS:
            self._hushed = False
        reply = self._reply
        if reply is None:
            return []
        limit = _QUIET_TICKS if reply.final and reply.sounded else _LONG_QUIET_TICKS
        return self._end_reply() if self._quiet >= limit else []

    def end_turn(self) -> list[Decoded]:
        """Commit the user's audio; the reply comes by itself."""
        ended = self._end_reply()
        self._trust()
        self._awaited = True
        if not self._turn:
            self._begin_turn()
        return [*ended, _send("control", action="commit")]

    def request_reply(self) -> list[Decoded]:
        """Nothing asks for a reply but a turn."""
        return self._no_reply("speko replies to what is said alone")

    def discard_turn(self) -> list[Decoded]:
        """Have the server drop audio that is not committed."""
        return [_send("control", action="clear")]

    def refuse_reply(self, reply_id: str) -> list[Decoded]:
        """Stop a reply that nobody wants to hear."""
        return self._hush() if self._reply and self._reply.id == reply_id else []

    def interrupt(self, item_id: str | None, _heard_ms: int) -> list[Decoded]:
        """Stop the reply, unless the server has done so; how much was heard cannot be said."""
        if item_id is not None and item_id == self._withdrawn:
            return []
        return self._hush() if self._reply or self._awaited or item_id else []

    # --- what the server says

    def decode(self, frame: str | bytes) -> list[Decoded]:
        """Read one frame. Raises ProtocolError, one line, when it makes no sense; the session goes on."""
        if isinstance(frame, bytes):
            return self._sound(frame)
        kind = read(frame, wire.Kind, "message").t
        return self._read(frame, kind, _READERS.get(kind))

    def _ready(self, message: wire.Ready) -> list[Decoded]:
        if self._opened:
            return []
        self._opened = True
        self.input = _negotiated(message.input_sample_rate, self._grant.input)
        self.output = _negotiated(message.output_sample_rate, self._grant.output)
        return [
            e.Opened(
                self._attempt,
                session_id=self._grant.session_id or "",
                provider=self._grant.provider,
                rung="fresh",
                ends_at=self._ends_at(),
            )
        ]

    def _sound(self, sound: bytes) -> list[Decoded]:
        if not self._opened:
            raise ProtocolError(f"the provider sent {len(sound)} bytes of sound before it was ready; dropped")
        self._quiet = 0
        if self._hushed:
            return []
        found = self._begin_reply()
        reply = self._reply
        assert reply
        if len(sound) % 2 and not reply.torn:
            reply.torn = True
            line = f"{reply.id} came in odd byte counts; joined across frames"
            found.append(e.Troubled(self._attempt, line))
        sound = reply.odd + sound
        end = len(sound) & ~1
        reply.odd = sound[end:]
        reply.sounded = reply.sounded or end > 0
        return [*found, ReplyAudio(reply.id, reply.id, sound[:end])] if end else found

    def _transcript(self, message: wire.Transcript) -> list[Decoded]:
        return self._user_words(message) if message.role == "user" else self._reply_words(message)

    def _user_words(self, message: wire.Transcript) -> list[Decoded]:
        self._trust()
        if not self._turn:
            self._begin_turn()
        told = self._accept_turn()
        if message.final:
            told.append(e.UserSaid(self._attempt, self._turn, message.text))
            self._turn = ""
        return told

    def _reply_words(self, message: wire.Transcript) -> list[Decoded]:
        late = self._belated and not self._reply and _bare(message.text).startswith(self._cut)
        if self._hushed or late:
            return []
        self._quiet = 0
        begun = self._begin_reply()
        reply = self._reply
        assert reply
        text = f"{reply.closed} {message.text[:_MOST_WORDS]}".strip()[:_MOST_WORDS]
        told, reply.shown, reply.final = reply.shown, text, message.final
        if message.final:
            reply.closed = text
        if text == told:
            return begun
        if text.startswith(told):
            return [*begun, e.ReplyText(self._attempt, reply.id, text[len(told) :])]
        return [*begun, e.ReplyText(self._attempt, reply.id, text, whole=True)]

    def _interruption(self, message: wire.Interruption) -> list[Decoded]:
        self._withdrawn = f"reply-{self._replies}"
        told: list[Decoded] = [e.Withdrawn(self._attempt), *self._end_reply()]
        if message.at == "assistant":
            return [*told, *self._no_reply()]
        return [*told, e.SpeechStarted("server")]  # a reply to that follows

    def _tool_call(self, message: wire.ToolCall) -> list[Decoded]:
        line = f"the model asks for {printable(message.name, 60) or 'a tool'}; this device has no tools"
        answer = _send("tool_result", callId=message.call_id, output=_NO_TOOLS)
        return [answer, e.Troubled(self._attempt, line)]

    def _error(self, message: wire.Fault) -> list[Decoded]:
        code = words_of(message.code) or "UNKNOWN"
        line = printable(f"{code}: {words_of(message.message) or 'no message'}")
        if self._opened and code not in _OVER_CODES:
            return [e.Troubled(self._attempt, f"the provider reports {line}")]
        return [e.Lost(self._attempt, line, fatal=code in _FATAL_CODES)]

    def _usage(self, message: wire.Usage) -> list[Decoded]:
        return self._used(message.input_audio_tokens, message.output_audio_tokens)

    def _end(self, message: wire.End) -> list[Decoded]:
        why = printable(words_of(message.reason)) or "no reason given"
        return [*self._end_reply(), e.Lost(self._attempt, f"the provider has ended the session: {why}")]

    # --- turns and replies

    def _begin_turn(self) -> None:
        self._turns_begun += 1
        self._turn = f"turn-{self._attempt}.{self._turns_begun}"
        self._accepted = False

    def _accept_turn(self) -> list[Decoded]:
        """The server has shown that it has the user's turn: by its words, or by a reply."""
        if not self._turn or self._accepted:
            return []
        self._accepted = True
        return [e.TurnAccepted(self._attempt, self._turn)]

    def _begin_reply(self) -> list[Decoded]:
        if self._reply:
            return []
        self._replies += 1
        self._reply = Reply(f"reply-{self._replies}")
        self._awaited = self._belated = False
        return [*self._accept_turn(), e.ReplyStarted(self._attempt, self._reply.id)]

    def _end_reply(self) -> list[Decoded]:
        reply, self._reply = self._reply, None
        if reply is None:
            return []
        self._belated, self._cut = not reply.final, _open_words(reply)
        return [e.ReplyEnded(self._attempt, reply.id, reply.sounded)]

    def _trust(self) -> None:
        """Believe that what comes is new, but for late words that are known by their beginning."""
        self._hushed = False
        self._belated = self._belated and bool(self._cut)

    def _hush(self) -> list[Decoded]:
        self._cut = _open_words(self._reply) if self._reply else ""
        self._reply = None
        self._awaited, self._quiet = False, 0
        self._hushed = self._belated = True
        return [_send("interrupt")]


def _send(kind: str, **fields: Any) -> Send:
    return Send(encode({"t": kind, **fields}))


def _open_words(reply: Reply) -> str:
    return _bare(reply.shown.removeprefix(reply.closed))


def _bare(text: str) -> str:
    """Return the letters and digits alone: last words differ from earlier ones in case and commas."""
    return "".join(filter(str.isalnum, text)).casefold()


def _negotiated(rate: Any, wished: Encoding) -> Encoding:
    """Return the encoding at the server's rate, or the wished one for a rate that the protocol has not."""
    return next((Encoding("pcm16", one) for one in _RATES if one == rate), wished)


_READERS: dict[str, tuple[type[Any], str]] = {
    "ready": (wire.Ready, "_ready"),
    "transcript": (wire.Transcript, "_transcript"),
    "interruption": (wire.Interruption, "_interruption"),
    "tool_call": (wire.ToolCall, "_tool_call"),
    "usage": (wire.Usage, "_usage"),
    "error": (wire.Fault, "_error"),
    "end": (wire.End, "_end"),
}
