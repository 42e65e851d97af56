"""Delphi's session channel (TelPhi): words both ways, sound from the server, no microphone.

Source: the vendor's client SDK 0.1.3 (SessionClient.ts, channelTypes.ts). The grant's `session` has `mode`
(text, audio_playback or listen), for a listener `listen` (the data of browser.action.listen), and `readAloud`
(the fields that name the capability, or none) where what is written is read out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from device.core import events as e
from device.dialects import delphi_wire as wire
from device.dialects.delphi_frames import Frames
from device.dialects.delphi_sound import Response
from device.dialects.dialect import Decoded, ReplyAudio, Send, printable
from device.dialects.plain import PlainDialect, read, text_only, words_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device.core.grant import Grant
    from device.core.sessions import Turn

_REDIAL_S = 2.0
_TICK_S = 5.0
_PING_TICKS = 6  # the protocol's 30 s
_WORDS_TICKS = 2  # that words wait for their sound
_MOST_REPLIES = 16  # at once
_MOST_RESPONSES = 64
_MOST_WORDS = 10_000  # characters that wait for their sound
_KNOWN_LIMIT = 4096  # messages, to tell a second time from a first
_LONGEST_CURSOR = 200
_DEAF = "this Delphi mode hears no voice; type with: pressel ctl say TEXT"


@dataclass
class _Reply:
    """A reply that is not whole yet. `quiet_ticks`: since its last news."""

    worded: bool
    sounded: bool = False
    quiet_ticks: int = 0


class DelphiDialect(PlainDialect):
    """One session's channel, over as many sockets as it takes."""

    ping_s = _TICK_S

    def __init__(self, attempt: int, grant: Grant, turns: Sequence[Turn], clock_offset_s: float) -> None:
        super().__init__(attempt, grant, turns, clock_offset_s)
        self._mode = grant.session.get("mode", "text")
        self._listens = self._mode == "listen"
        self._opened = False
        self._frames = Frames(grant.session_id or "")
        self._down = False  # between two sockets
        self._kept: list[Decoded] = []  # said in between
        self._cursor = ""
        self._known: dict[str, None] = {}
        self._asked = False  # the answer's sound has not begun
        self._words: list[str] = []  # that wait for their sound
        self._ticks = 0
        self._quiet_ticks = 0  # since words came
        self._texts = 0
        self._replies: dict[str, _Reply] = {}
        self._responses: dict[str, Response] = {}
        self._over: dict[str, None] = {}  # responses that have ended

    # --- the socket

    def redial(self, code: int | None) -> float | None:
        """The session outlives its socket, unless a close code says that it is over."""
        over = code is not None and (code == 1000 or 4000 <= code < 4100)
        self._down = not over
        return None if over else _REDIAL_S

    def reopened(self) -> list[Decoded]:
        """Ask for what was missed, and say what was kept meanwhile."""
        for response in self._responses.values():
            response.cut = True
        kept, self._kept, self._down = self._kept, [], False
        return [self._frames.reconnect(self._cursor), *kept] if self._cursor else kept

    def mint_again(self, code: int | None) -> bool:
        """A token is refused with a client error; the SDK has no rule for it, a new token may be taken."""
        return code in (401, 403) or (code is not None and 4000 < code < 4100)

    def mend(self, code: int | None) -> str:
        """Tell a session that was taken over from a token that is not taken."""
        if code == 4000:
            return "; another client has taken over this Delphi session"
        if code is not None and 4000 < code < 4100:
            return "; the token is refused or too old: if a new one is too, check the key at the companion"
        return ""

    def ping(self) -> list[Decoded]:
        """Keep the channel alive, and give up on what has not been heard of for a whole interval."""
        if not self._opened:
            return []
        self._ticks += 1
        found: list[Decoded] = [] if self._ticks % _PING_TICKS else [self._frames.ping()]
        self._quiet_ticks += 1
        if self._quiet_ticks >= _WORDS_TICKS:
            found += self._flush_words()
        for reply_id, reply in list(self._replies.items()):
            reply.quiet_ticks += 1
            if reply.quiet_ticks > _PING_TICKS:
                found += self._end(reply_id, "the rest of the reply did not come")
        return found

    # --- what the device says

    def audio(self, sound: bytes) -> str:
        """The grant's input encoding is "none": there is nothing to frame."""
        raise AssertionError(f"{len(sound)} bytes for a channel without a microphone")

    def end_turn(self) -> list[Decoded]:
        """Nobody heard it: say so, but for a listener, whose button only silences."""
        return self._no_reply("" if self._listens else _DEAF)

    def request_reply(self) -> list[Decoded]:
        """A reply cannot be asked for a second time."""
        return self._no_reply("Delphi was cut off before its answer; say it again")

    def say(self, text: str) -> list[Decoded]:
        """Ask in words; or have them read out, where the grant names that capability."""
        if self._listens:
            return self._no_reply("Delphi's listen mode takes no written words")
        told = self._flush_words()
        self._asked, self._quiet_ticks = True, 0
        asking = self._ask(text)
        if self._down:
            self._kept.append(asking)
            return told
        return [*told, asking]

    def _ask(self, text: str) -> Send:
        capability = self._grant.session.get("readAloud")
        if isinstance(capability, dict):
            self._words.append(text)  # which nobody else will say
            return self._frames.read_aloud(text, capability)
        return self._frames.ask(text, "text" if self._mode == "text" else "both")

    def interrupt(self, _item_id: str | None, _heard_ms: int) -> list[Decoded]:
        """The channel has no such order; words that wait for their sound wait no longer."""
        self._asked = False
        return self._flush_words()

    # --- what the server says

    def decode(self, frame: str | bytes) -> list[Decoded]:
        """Read one frame. Raises ProtocolError, one line, when it makes no sense; the session goes on."""
        text = text_only(frame)
        head = read(text, wire.Head, "message")
        self._frames.hear(head.timestamp)
        if self._is_known(head):
            return []
        return self._read(text, head.type, _READERS.get(head.type))

    def _is_known(self, head: wire.Head) -> bool:
        """Tell whether the message came before; what comes again after a reconnect keeps its ids."""
        if head.stream_id and len(head.stream_id) <= _LONGEST_CURSOR:
            self._cursor = head.stream_id
        name = head.stream_id or ("" if head.type == "audio" else head.message_id)
        if not name:
            return False  # audio without a stream id is told apart by its index
        known = name in self._known
        _note(self._known, name)
        return known

    def _status(self, message: wire.StatusMessage) -> list[Decoded]:
        if message.status.state == "disconnected" and self._opened:
            return [e.Lost(self._attempt, "the provider has ended the session")]
        if message.status.state != "connected" or self._opened:
            return []
        self._opened = True
        self._frames.start(next(reversed(self._known), ""))
        opened = e.Opened(
            self._attempt,
            session_id=self._grant.session_id or "",
            provider=self._grant.provider,
            rung="live" if self._grant.resume == "live" else "fresh",
            ends_at=self._ends_at(),
        )
        data = self._grant.session.get("listen")
        listening = self._frames.listen(data if isinstance(data, dict) else {}) if self._listens else []
        return [opened, *listening]

    def _chat(self, message: wire.ChatMessage) -> list[Decoded]:
        """Words wait for their sound where there will be some; a reply that sounds takes them at once."""
        words = message.chat.content[:_MOST_WORDS].strip()
        if not words or message.chat.role == "user":
            return []
        for reply_id, reply in reversed(self._replies.items()):
            if not reply.worded:
                reply.worded = True
                return [e.ReplyText(self._attempt, reply_id, words)]
        crowded = sum(map(len, self._words)) > _MOST_WORDS
        told = self._flush_words() if self._listens or crowded else []  # a caption is of one sound
        self._words.append(words)
        self._quiet_ticks = 0
        waits = self._listens or (self._asked and self._mode == "audio_playback")
        return told if waits else self._flush_words()

    def _audio(self, message: wire.AudioMessage) -> list[Decoded]:
        audio = message.audio
        name = self._response_name(audio, message.message_id)
        if name in self._over or audio.event not in ("start", "delta", "done"):
            return []
        response = self._responses.get(name)
        if response is None and audio.event != "start" and audio.index:
            _note(self._over, name)
            return [e.Troubled(self._attempt, "the rest of an older reply came; dropped")]
        if response is None:
            segmented = audio.segment_count is not None or audio.is_final is not None
            response = Response((audio.request_id if segmented else None) or name, final=_is_last(audio))
            self._responses[name] = response
        response.mime = audio.mime_type or response.mime
        if audio.event == "done":
            response.ended, response.final = True, response.final or _is_last(audio)
        sound = response.add(audio.index, audio.delta) if audio.event == "delta" and audio.delta else b""
        begun = self._begin(response.reply_id)
        found = [*begun, *self._sound(name, response, sound), *self._after(name, response)]
        return [*found, *self._crowded()]

    def _crowded(self) -> list[Decoded]:
        """Of too many replies at once, or pieces of them, the oldest are over."""
        found: list[Decoded] = []
        if len(self._responses) > _MOST_RESPONSES:
            found += self._finish(*next(iter(self._responses.items())))
        if len(self._replies) > _MOST_REPLIES:
            found += self._end(next(iter(self._replies)), "too many replies came at once")
        return found

    def _response_name(self, audio: wire.Audio, message_id: str | None) -> str:
        """Tell responses apart where the server does not name them: the newest one goes on."""
        if audio.response_id:
            return audio.response_id
        if audio.event != "start" and self._responses:
            return next(reversed(self._responses))
        return message_id or f"sound-{len(self._over)}"

    def _sound(self, name: str, response: Response, sound: bytes) -> list[Decoded]:
        if not sound:
            return []
        self._replies[response.reply_id].sounded = True
        return [ReplyAudio(response.reply_id, name, sound, response.mime)]

    def _after(self, name: str, response: Response) -> list[Decoded]:
        if not response.whole:
            return []
        return self._end(response.reply_id) if response.final else self._finish(name, response)

    def _finish(self, name: str, response: Response) -> list[Decoded]:
        del self._responses[name]
        _note(self._over, name)
        return self._sound(name, response, response.finish())

    def _action(self, message: wire.ActionMessage) -> list[Decoded]:
        action = message.action
        if not action.requires_response:
            return []
        return [self._frames.refuse(action.action_id, action.name)]

    def _error(self, message: wire.ErrorMessage) -> list[Decoded]:
        fault = message.error
        line = printable(f"{words_of(fault.code) or 'an error'}: {words_of(fault.message) or 'no message'}")
        told: list[Decoded] = [e.Troubled(self._attempt, f"the provider reports {line}")]
        # An error names no request: it may be the answer, so that nobody waits; one that follows is heard.
        return [*told, *self._no_reply()] if self._asked and not self._words else told

    # --- replies

    def _begin(self, reply_id: str) -> list[Decoded]:
        """Start a reply, with the words that wait; one that has started has news."""
        if reply_id in self._replies:
            self._replies[reply_id].quiet_ticks = 0
            return []
        self._asked = False
        words, self._words = " ".join(self._words), []
        self._replies[reply_id] = _Reply(worded=bool(words))
        text: list[Decoded] = [e.ReplyText(self._attempt, reply_id, words)] if words else []
        return [e.ReplyStarted(self._attempt, reply_id), *text]

    def _end(self, reply_id: str, trouble: str | None = None) -> list[Decoded]:
        found: list[Decoded] = []
        for name, response in list(self._responses.items()):
            if response.reply_id == reply_id:
                found += self._finish(name, response)
        sounded = self._replies.pop(reply_id).sounded
        return [*found, e.ReplyEnded(self._attempt, reply_id, sounded, trouble)]

    def _flush_words(self) -> list[Decoded]:
        """Give words that wait for no sound as a reply of their own."""
        if not self._words:
            return []
        self._asked = False
        words, self._words = " ".join(self._words), []
        self._texts += 1
        name = f"words-{self._texts}"
        return [
            e.ReplyStarted(self._attempt, name),
            e.ReplyText(self._attempt, name, words),
            e.ReplyEnded(self._attempt, name, audio=False),
        ]


def _is_last(audio: wire.Audio) -> bool:
    """Tell whether nothing of the logical request follows; one that is not split is its own last segment."""
    if audio.is_final is not None:
        return audio.is_final
    return audio.segment_count is None or (audio.segment_index or 0) + 1 >= audio.segment_count


def _note(names: dict[str, None], name: str) -> None:
    names[name] = None
    if len(names) > _KNOWN_LIMIT:
        del names[next(iter(names))]


_READERS: dict[str, tuple[type[Any], str]] = {
    "status": (wire.StatusMessage, "_status"),
    "chat": (wire.ChatMessage, "_chat"),
    "audio": (wire.AudioMessage, "_audio"),
    "action": (wire.ActionMessage, "_action"),
    "error": (wire.ErrorMessage, "_error"),
}
