"""OpenAI Realtime, GA shape: JSON text frames to core events, core orders to JSON text frames.

What the server says is read in both spellings, GA's and the older beta's; what is sent is GA's.
Source: the vendor's Realtime API reference (client and server events) and its guide on truncation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from device.core import events as e
from device.core.sessions import Turn
from device.dialects import openai_wire as wire
from device.dialects.dialect import Decoded, ReplyAudio, printable
from device.dialects.plain import PlainDialect, read, send, text_only

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device.core.grant import Grant
    from device.core.sessions import Rung

_UPDATE_ID = "pressel_update"
_FATAL_CODES = {"invalid_api_key", "beta_api_shape_disabled", "insufficient_quota"}
_HARMLESS_CODES = {"response_cancel_not_active"}
_TICK_S = 1.0
_MOST_TICKS = 3  # that a reply is put off by another whose end does not come
_MOST_REPLIES = 16  # and items, that are kept in mind
_NO_TOOLS = '{"error": "this device has no tools"}'


class OpenAIDialect(PlainDialect):
    """One session's protocol; what another shape of it spells otherwise is a method or an attribute here."""

    ping_s = _TICK_S
    assistant_text = "output_text"  # the type of an assistant's words in an item

    shape_mend = '; use the GA profile: provider = "openai"'  # when the server takes this shape no more

    def __init__(self, attempt: int, grant: Grant, turns: Sequence[Turn], clock_offset_s: float) -> None:
        super().__init__(attempt, grant, turns, clock_offset_s)
        self._rung: Rung = "fresh"
        self._greeted = False
        self._opened = False
        self._active: dict[str, None] = {}  # replies that have begun and not ended, in order
        self._cancelled: dict[str, None] = {}  # the same, but nobody wants to hear them
        self._create_due = False
        self._waited = 0  # ticks, for the others to end
        self._latest = ""
        self._items: dict[str, tuple[str, int]] = {}  # of the latest replies, in order: whose, bytes received
        self._sounded: dict[str, None] = {}
        self._odd: dict[str, bytes] = {}

    # --- what the device says

    def settings(self) -> dict[str, Any]:
        """Return the session object of session.update."""
        return {"type": "realtime", **self._grant.session}

    def turn_detection(self) -> Any:
        """Return how the server was told to find the ends of turns."""
        found: Any = self._grant.session
        for name in ("audio", "input", "turn_detection"):
            found = found.get(name) if isinstance(found, dict) else None
        return found

    def audio(self, sound: bytes) -> str:
        """Append sound in the grant's input encoding."""
        return msgspec.json.encode({"type": "input_audio_buffer.append", "audio": sound}).decode()

    def end_turn(self) -> list[Decoded]:
        """Commit the user's audio and ask for the reply, which waits until a cancelled one has ended."""
        return [send("input_audio_buffer.commit"), *self.request_reply()]

    def say(self, text: str) -> list[Decoded]:
        """Add the words as the user's turn and ask for the reply."""
        words = send("conversation.item.create", item=self._seed(Turn("user", text)))
        return [words, *self.request_reply()]

    def request_reply(self) -> list[Decoded]:
        """Ask for a reply to what the server already knows."""
        self._items.clear()
        self._create_due, self._waited = True, 0
        return self._create()

    def ping(self) -> list[Decoded]:
        """A reply that is silent, or was cancelled, and does not end holds nobody up for long."""
        self._waited += 1
        if not self._create_due or self._waited < _MOST_TICKS:
            return []
        self._active.clear()
        self._cancelled.clear()
        return self._create()

    def discard_turn(self) -> list[Decoded]:
        """Have the server drop audio that was appended and not committed."""
        return [send("input_audio_buffer.clear")]

    def refuse_reply(self, reply_id: str) -> list[Decoded]:
        """Cancel a reply that nobody wants to hear."""
        return self._cancel(reply_id) if reply_id in self._active else []

    def interrupt(self, item_id: str | None, heard_ms: int) -> list[Decoded]:
        """Cancel the reply and cut it to what was heard: `item_id` to `heard_ms`, later items to 0."""
        self._create_due = False
        frames = [frame for reply_id in list(self._active) for frame in self._cancel(reply_id)]
        names = list(self._items)
        if item_id in self._items:
            unheard = names[names.index(item_id) :]
        else:  # nothing sounds: all of the latest reply is unheard
            unheard = [name for name in names if self._items[name][0] == self._latest]
        for name in unheard:
            received_ms = int(self._items[name][1] / (self._grant.output.bytes_per_ms or 1))
            end_ms = max(0, min(heard_ms, received_ms)) if name == item_id else 0
            frames.append(
                send("conversation.item.truncate", item_id=name, content_index=0, audio_end_ms=end_ms)
            )
        self._items.clear()
        return frames

    def _cancel(self, reply_id: str) -> list[Decoded]:
        del self._active[reply_id]
        _note(self._cancelled, reply_id)
        return [send("response.cancel", response_id=reply_id)]

    def refuse_tool(self, call_id: str) -> list[Decoded]:
        """Answer a call politely: there is no such tool here."""
        item = {"type": "function_call_output", "call_id": call_id, "output": _NO_TOOLS}
        return [send("conversation.item.create", item=item)]

    # --- what the server says

    def decode(self, frame: str | bytes) -> list[Decoded]:
        """Read one frame. Raises ProtocolError, one line, when it makes no sense; the session goes on."""
        text = text_only(frame)
        kind = read(text, wire.Kind, "message").type
        return self._read(text, kind, self.reader(kind))

    def reader(self, kind: str) -> tuple[type[Any], str] | None:
        """Return the type of a message, and the method that takes it; None: it is passed over."""
        return _READERS.get(kind)

    def _conversation_created(self, _message: wire.Kind) -> list[Decoded]:
        """Older servers of xAI greet with this alone."""
        return self._created(wire.SessionEvent(wire.SessionFacts()))

    def _created(self, message: wire.SessionEvent) -> list[Decoded]:
        if self._greeted:
            return []
        self._greeted = True
        wanted, got = self._grant.session_id, message.session.id
        live = self._grant.resume == "live" and got == wanted
        self._rung = (
            "live" if live else "seeded" if self._turns and self._grant.resume != "fresh" else "fresh"
        )
        opening: list[Decoded] = [send("session.update", event_id=_UPDATE_ID, session=self.settings())]
        if self._rung == "seeded":
            opening += [send("conversation.item.create", item=self._seed(turn)) for turn in self._turns]
        return opening

    def _seed(self, turn: Turn) -> dict[str, Any]:
        kind = "input_text" if turn.role == "user" else self.assistant_text
        return {"type": "message", "role": turn.role, "content": [{"type": kind, "text": turn.text}]}

    def _updated(self, message: wire.SessionEvent) -> list[Decoded]:
        if self._opened:
            return []
        self._opened = True
        # A restored session may still have sound that was never committed; it is sent again.
        cleared = self.discard_turn() if self._rung == "live" else []
        return [
            *cleared,
            e.Opened(
                self._attempt,
                session_id=message.session.id or self._grant.session_id or "",
                provider=self._grant.provider,
                rung=self._rung,
                ends_at=self._ends_at(message.session.expires_at),
            ),
        ]

    def _speech_started(self, _message: wire.Kind) -> list[Decoded]:
        return [e.SpeechStarted("server")]

    def _speech_stopped(self, _message: wire.Kind) -> list[Decoded]:
        return [e.SpeechEnded("server")]

    def _committed(self, message: wire.Committed) -> list[Decoded]:
        accepted = e.TurnAccepted(self._attempt, message.item_id)
        detection = self.turn_detection()
        # A server that ends turns and does not answer them leaves the asking to the client.
        asks = isinstance(detection, dict) and detection.get("create_response") is False
        return [accepted, *self.request_reply()] if asks else [accepted]

    def _item_added(self, message: wire.ItemEvent) -> list[Decoded]:
        item = message.item
        if item.role != "user" or not item.id:
            return []
        parts = item.content if isinstance(item.content, list) else []
        said = (part.get("transcript") for part in parts if isinstance(part, dict))
        words = " ".join(one for one in said if isinstance(one, str))
        return [e.TurnHeld(self._attempt, item.id, words)]

    def _transcribed(self, message: wire.Transcribed) -> list[Decoded]:
        return [e.UserSaid(self._attempt, message.item_id, message.transcript)]

    def _transcription_failed(self, message: wire.TranscriptionFailed) -> list[Decoded]:
        return [e.Troubled(self._attempt, f"no transcript of what was said: {_fault_line(message.error)}")]

    def _response_created(self, message: wire.ResponseEvent) -> list[Decoded]:
        if not self._active:
            self._items.clear()
        self._latest = message.response.id
        _note(self._active, self._latest)
        return [e.ReplyStarted(self._attempt, message.response.id)]

    def _audio_delta(self, message: wire.AudioDelta) -> list[Decoded]:
        found: list[Decoded] = []
        pcm = self._odd.pop(message.item_id, b"") + message.delta
        if self._grant.output.encoding == "pcm16" and len(pcm) % 2:
            if message.response_id not in self._sounded:
                line = f"reply {message.response_id} came in odd byte counts; joined across messages"
                found.append(e.Troubled(self._attempt, line))
            _note(self._odd, message.item_id, pcm[-1:])
            pcm = pcm[:-1]
        _note(self._sounded, message.response_id)
        if message.response_id in self._active:
            self._waited = 0
            _, received = self._items.get(message.item_id, ("", 0))
            _note(self._items, message.item_id, (message.response_id, received + len(pcm)))
        if pcm:
            found.append(ReplyAudio(message.response_id, message.item_id, pcm))
        return found

    def _text_delta(self, message: wire.TextDelta) -> list[Decoded]:
        if message.response_id not in self._active:  # too early, too late, or nobody wants to hear it
            return []
        return [e.ReplyText(self._attempt, message.response_id, message.delta)]

    def _response_done(self, message: wire.ResponseEvent) -> list[Decoded]:
        response = message.response
        trouble = _trouble(response)
        if (
            response.id not in self._active and response.id not in self._cancelled
        ):  # it never began, or has ended before
            return [e.Troubled(self._attempt, trouble)] if trouble else []
        self._active.pop(response.id, None)
        self._cancelled.pop(response.id, None)
        audio = response.id in self._sounded
        self._sounded.pop(response.id, None)
        self._odd.clear()
        asked = [item for item in response.output or () if item.type == "function_call"]
        calls = tuple(e.ToolCall(item.call_id or "", item.name or "") for item in asked)
        usage = response.usage if isinstance(response.usage, dict) else {}
        used = self._used(usage.get("total_tokens"))
        return [e.ReplyEnded(self._attempt, response.id, audio, trouble, calls), *used, *self._create()]

    def _create(self) -> list[Decoded]:
        """Ask for the reply that had to wait, once no other is being made."""
        if self._active or self._cancelled or not self._create_due:
            return []
        self._create_due = False
        return [send("response.create")]

    def _rate_limits(self, message: wire.RateLimits) -> list[Decoded]:
        return [
            e.Troubled(
                self._attempt, f"rate limit: no {limit.name} left for {limit.reset_seconds or 0:.0f} s"
            )
            for limit in message.rate_limits or ()
            if limit.remaining is not None and limit.remaining <= 0
        ]

    def _error(self, message: wire.ErrorEvent) -> list[Decoded]:
        fault = message.error
        line = f"the provider reports {_fault_line(fault)}"
        if fault.code in _HARMLESS_CODES:  # nothing is being said: whatever was thought to be has ended
            self._active.clear()
            self._cancelled.clear()
            return self._create()
        if fault.code == "session_expired":
            return [e.Lost(self._attempt, line)]
        if fault.code in _FATAL_CODES or (fault.event_id == _UPDATE_ID and not self._opened):
            mend = self.shape_mend if fault.code == "beta_api_shape_disabled" else ""
            return [e.Lost(self._attempt, line + mend, fatal=True)]
        return [e.Troubled(self._attempt, line)]


def _note(names: dict[str, Any], name: str, value: Any = None) -> None:
    """Set a value; of too many names the oldest is forgotten."""
    names[name] = value
    if len(names) > _MOST_REPLIES:
        del names[next(iter(names))]


def _fault_line(fault: wire.Fault) -> str:
    where = f" ({fault.param})" if fault.param else ""
    return printable(f"{fault.code or fault.type or 'an error'}{where}: {fault.message or 'no message'}")


def _trouble(response: wire.Response) -> str | None:
    if response.status in ("completed", "cancelled", "", None, "in_progress"):
        return None
    details = response.status_details or wire.StatusDetails()
    why = _fault_line(details.error) if details.error else details.reason or "no reason given"
    return f"the reply is {response.status}: {printable(why)}"


_READERS: dict[str, tuple[type[Any], str]] = {
    "session.created": (wire.SessionEvent, "_created"),
    "conversation.created": (wire.Kind, "_conversation_created"),
    "session.updated": (wire.SessionEvent, "_updated"),
    "input_audio_buffer.speech_started": (wire.Kind, "_speech_started"),
    "input_audio_buffer.speech_stopped": (wire.Kind, "_speech_stopped"),
    "input_audio_buffer.committed": (wire.Committed, "_committed"),
    "conversation.item.added": (wire.ItemEvent, "_item_added"),
    "conversation.item.created": (wire.ItemEvent, "_item_added"),
    "conversation.item.input_audio_transcription.completed": (wire.Transcribed, "_transcribed"),
    "conversation.item.input_audio_transcription.failed": (
        wire.TranscriptionFailed,
        "_transcription_failed",
    ),
    "response.created": (wire.ResponseEvent, "_response_created"),
    "response.output_audio.delta": (wire.AudioDelta, "_audio_delta"),
    "response.output_audio_transcript.delta": (wire.TextDelta, "_text_delta"),
    "response.output_text.delta": (wire.TextDelta, "_text_delta"),
    "response.audio.delta": (wire.AudioDelta, "_audio_delta"),
    "response.audio_transcript.delta": (wire.TextDelta, "_text_delta"),
    "response.text.delta": (wire.TextDelta, "_text_delta"),
    "response.done": (wire.ResponseEvent, "_response_done"),
    "rate_limits.updated": (wire.RateLimits, "_rate_limits"),
    "error": (wire.ErrorEvent, "_error"),
}
