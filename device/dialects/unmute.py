"""Kyutai Unmute: JSON text frames, Ogg/Opus in base64 both ways; the server alone finds who speaks when.

Source: kyutai-labs/unmute, its event models and unmute_handler. The protocol names neither turns nor replies,
so they are counted here, and nothing of an earlier session, so what was said is retold in the instructions of
the next. There is no commit: silence after the user's words makes the server answer, which it
may do while the button is still held. Such an answer is kept, and told once the turn has ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec

from device.core import events as e
from device.dialects.dialect import Decoded, ReplyAudio, printable
from device.dialects.plain import PlainDialect, encode, read, send, text_only, words_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device.core.grant import Grant
    from device.core.sessions import Rung, Turn

_MOST_PIECES = 5000  # of a reply that is kept: about two minutes
_MOST_SOUND = 8 << 20  # bytes of it
_MOST_HEARD = 2000  # words of the user's before they are answered
_LONGEST_WORD = 200
_MOST_RETOLD = 4000  # characters of what was said before
Piece = e.ReplyText | ReplyAudio | e.ReplyEnded


class Kind(msgspec.Struct):
    """The one field every message has."""

    type: str


class Words(msgspec.Struct):
    """response.text.delta, conversation.item.input_audio_transcription.delta: one word, without spaces."""

    delta: str


class Sound(msgspec.Struct):
    """response.audio.delta: whole Ogg pages."""

    delta: bytes


class Fault(msgspec.Struct):
    """`type`: warning, invalid_request_error or fatal; `details` as pydantic gives them, or of any shape."""

    type: Any = None
    message: Any = None
    details: Any = None


class ErrorEvent(msgspec.Struct):
    """The event `error`."""

    error: Fault


@dataclass
class Reply:
    """The reply in the making. `answers`: the user said something before it; `pieces`: what came so far.

    `unheard`: it was refused or interrupted, which the server is not told: its words are nobody's.
    """

    id: str
    answers: bool
    announced: bool
    sounded: bool = False
    unheard: bool = False
    spoken: bool = False
    ended: bool = False
    size: int = 0
    pieces: list[Piece] = field(default_factory=list)


class UnmuteDialect(PlainDialect):
    """One session's protocol. `grant.session` is the vendor's session object.

    Its `fallback_instructions` are for servers of another version, which refuse the first ones.
    """

    continuous = True

    def __init__(self, attempt: int, grant: Grant, turns: Sequence[Turn], clock_offset_s: float) -> None:
        super().__init__(attempt, grant, turns, clock_offset_s)
        self._session, self._rung = _seeded({"allow_recording": False, **grant.session}, grant, self._turns)
        self._fallback = self._session.pop("fallback_instructions", None)
        self._refusal = ""  # of the first instructions
        self._opened = False
        self._heard: list[str] = []  # the user's words since the last reply began
        self._turns_heard = 0
        self._reply: Reply | None = None
        self._replies = 0
        self._held: Reply | None = None  # not told of yet
        self._asked = False  # a turn has ended, and no reply to it was told of

    # --- what the device says

    def opening(self) -> list[Decoded]:
        """The client speaks first: without its update the server has nothing to say."""
        return [send("session.update", session=self._session)]

    def audio(self, sound: bytes) -> str:
        """Append whole Ogg pages."""
        return encode({"type": "input_audio_buffer.append", "audio": sound})

    def end_turn(self) -> list[Decoded]:
        """There is no commit; an answer that came early is told with the next message."""
        self._asked = True
        return []

    def discard_turn(self) -> list[Decoded]:
        """The server forgets nothing, but nobody waits for its answer."""
        self._asked, self._held = False, None
        if self._reply:
            self._reply.unheard = True
        return []

    def interrupt(self, _item_id: str | None, _heard_ms: int) -> list[Decoded]:
        """The server is interrupted by words alone."""
        return self.discard_turn()

    def refuse_reply(self, reply_id: str) -> list[Decoded]:
        """Keep an answer to what was said; an opening that nobody asked for goes unheard."""
        self._asked = False
        reply = self._reply
        if reply and reply.id == reply_id:
            reply.unheard = True
            if reply.answers:
                reply.id += "-kept"
                self._held = reply
        return []

    # --- what the server says

    def decode(self, frame: str | bytes) -> list[Decoded]:
        """Read one frame. Raises ProtocolError, one line, when it makes no sense; the session goes on."""
        text = text_only(frame)
        kind = read(text, Kind, "message").type
        reader = _READERS.get(kind) if self._opened or kind in _BEFORE_OPENED else None
        return [*self._read(text, kind, reader), *self._kept()]

    def _updated(self, _message: Kind) -> list[Decoded]:
        if self._opened:
            return []
        self._opened = True
        name = self._grant.provider or "unmute"
        return [e.Opened(self._attempt, self._grant.session_id or name, name, self._rung, self._ends_at())]

    def _speech_started(self, _message: Kind) -> list[Decoded]:
        return [e.SpeechStarted("server")]

    def _speech_stopped(self, _message: Kind) -> list[Decoded]:
        return [e.SpeechEnded("server")]

    def _user_words(self, message: Words) -> list[Decoded]:
        """The words are whole when the server answers them: some come after the speech has stopped."""
        if message.delta:
            self._heard = [*self._heard[1 - _MOST_HEARD :], message.delta[:_LONGEST_WORD]]
            self._held = None  # its answer will be another one
        return []

    def _response_created(self, _message: Kind) -> list[Decoded]:
        if self._reply and not self._reply.announced:  # its first sound came before it
            self._reply.announced = True
            return []
        ended = self._end()
        return [*ended, *self._begin(announced=True)]

    def _begin(self, *, announced: bool) -> list[Decoded]:
        """Tell what the user said, and that the reply to it begins."""
        words, self._heard = " ".join(self._heard), []
        self._replies += 1
        self._held = None
        self._reply = reply = Reply(f"reply-{self._replies}", bool(words), announced)
        told: list[Decoded] = []
        if words:
            self._turns_heard += 1
            item = f"turn-{self._attempt}.{self._turns_heard}"
            told = [e.TurnAccepted(self._attempt, item), e.UserSaid(self._attempt, item, words)]
        elif self._asked and self._replies == 1:  # the opening: the answer to the turn will interrupt it
            self._held = reply
            return told
        self._asked = False
        return [*told, e.ReplyStarted(self._attempt, reply.id)]

    def _bot_words(self, message: Words) -> list[Decoded]:
        reply, begun = self._current()
        text = f" {message.delta}" if reply.spoken else message.delta
        reply.spoken = True
        return [*begun, *self._told(reply, e.ReplyText(self._attempt, reply.id, text))]

    def _bot_sound(self, message: Sound) -> list[Decoded]:
        reply, begun = self._current()
        reply.sounded = True
        return [*begun, *self._told(reply, ReplyAudio(reply.id, reply.id, message.delta))]

    def _audio_done(self, _message: Kind) -> list[Decoded]:
        return self._end()

    def _interrupted(self, _message: Kind) -> list[Decoded]:
        self._held = None
        return [e.Withdrawn(self._attempt), *self._end()] if self._reply else []

    def _error(self, message: ErrorEvent) -> list[Decoded]:
        fault = message.error
        line = f"the provider reports {_line(fault)}"
        if fault.type == "fatal":
            return [e.Lost(self._attempt, line)]
        if self._opened or fault.type != "invalid_request_error":
            return [e.Troubled(self._attempt, line)]
        if self._fallback is None:
            return [e.Lost(self._attempt, self._refusal or line, fatal=True)]
        self._session["instructions"], self._fallback = self._fallback, None
        self._rung = "fresh"  # the other shape has no place for what was said
        self._refusal = line
        return self.opening()

    # --- the reply in the making

    def _current(self) -> tuple[Reply, list[Decoded]]:
        """Return the reply; one that was not announced begins now."""
        begun = [] if self._reply else self._begin(announced=False)
        assert self._reply
        return self._reply, begun

    def _told(self, reply: Reply, piece: Piece) -> list[Decoded]:
        size = len(piece.sound) if isinstance(piece, ReplyAudio) else 0
        if len(reply.pieces) < _MOST_PIECES and reply.size + size <= _MOST_SOUND:
            reply.pieces.append(piece)
            reply.size += size
        elif reply is self._held:
            self._held = None
        hidden = reply is self._held or (reply.unheard and isinstance(piece, e.ReplyText))
        return [] if hidden else [piece]

    def _end(self) -> list[Decoded]:
        reply, self._reply = self._reply, None
        if reply is None:
            return []
        reply.ended = True
        return self._told(reply, e.ReplyEnded(self._attempt, reply.id, audio=reply.sounded))

    def _kept(self) -> list[Decoded]:
        """Tell what was kept: an answer once the turn has ended, an opening that was not cut short."""
        reply = self._held
        if reply is None or not self._asked or not (reply.answers or reply.ended):
            return []
        self._held, self._asked, reply.unheard = None, False, False
        pieces = [replace(piece, reply_id=reply.id) for piece in reply.pieces]
        return [e.ReplyStarted(self._attempt, reply.id), *pieces]


def _seeded(session: dict[str, Any], grant: Grant, turns: Sequence[Turn]) -> tuple[dict[str, Any], Rung]:
    """Retell what was said in the instructions, where they are words, and say which rung that is."""
    told = session.get("instructions")
    if grant.resume == "fresh" or not turns or not isinstance(told, dict) or told.get("type") != "constant":
        return session, "fresh"
    lines: list[str] = []
    for turn in reversed(turns):
        lines.insert(0, f"{'User' if turn.role == 'user' else 'You'}: {turn.text}")
        if sum(map(len, lines)) > _MOST_RETOLD:
            break
    parts = [str(told.get("text", "")), "The conversation so far, which you go on with:", *lines]
    return {**session, "instructions": {**told, "text": "\n".join(filter(None, parts))}}, "seeded"


def _line(fault: Fault) -> str:
    """Return what is wrong in one line: pydantic's first detail says where and why."""
    line = words_of(fault.message) or words_of(fault.type) or "an error without words"
    first = fault.details[0] if isinstance(fault.details, list) and fault.details else fault.details
    if isinstance(first, dict):
        place = first.get("loc")
        where = ".".join(map(words_of, place)) if isinstance(place, list) else ""
        line = f"{line}: {where}: {words_of(first.get('msg'))}"
    elif words_of(first):
        line = f"{line}: {words_of(first)}"
    return printable(line, 300)


_BEFORE_OPENED = {"session.updated", "error"}
_READERS: dict[str, tuple[type[Any], str]] = {
    "session.updated": (Kind, "_updated"),
    "input_audio_buffer.speech_started": (Kind, "_speech_started"),
    "input_audio_buffer.speech_stopped": (Kind, "_speech_stopped"),
    "conversation.item.input_audio_transcription.delta": (Words, "_user_words"),
    "response.created": (Kind, "_response_created"),
    "response.text.delta": (Words, "_bot_words"),
    "response.audio.delta": (Sound, "_bot_sound"),
    "response.audio.done": (Kind, "_audio_done"),
    "unmute.interrupted_by_vad": (Kind, "_interrupted"),
    "error": (ErrorEvent, "_error"),
}
