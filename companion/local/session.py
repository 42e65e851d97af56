"""One realtime session as a machine: client events in, server events and orders out; no socket, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from msgspec import UNSET, to_builtins

from companion.local import events as client
from companion.local.events import WireError, error_event
from companion.local.formats import bytes_per_ms, to_ear
from companion.local.items import Conversation, Item, new_id
from companion.local.response import Response
from companion.local.settings import merge, settings, updated
from companion.local.turns import TurnFinder

if TYPE_CHECKING:
    from companion.limits import Bucket

MIN_COMMIT_MS = 100
_MOST_SHOWN = 20  # items of a restored session
_CONTENT = {"system": ("input_text",), "user": ("input_text",), "assistant": ("output_text",)}


class Hands(Protocol):
    """What the machine has done for it. Audio is 16 kHz PCM16."""

    def emit(self, event: dict[str, Any]) -> None:
        """Send a server event."""
        ...

    def hear(self, pcm: bytes) -> None:
        """Give the recogniser more of this turn."""
        ...

    def hear_end(self, item_id: str) -> None:
        """End the turn; `Session.transcribed` is called with its words."""
        ...

    def hear_nothing(self) -> None:
        """Drop what the recogniser has of this turn."""
        ...

    def reply(self, response: Response) -> None:
        """Make the reply."""
        ...

    def stop_reply(self) -> None:
        """Stop making it."""
        ...

    def changed(self) -> None:
        """Keep the conversation: it is not what it was."""
        ...


class Session:
    """The state of one session. `expires_at`: epoch seconds. `permits`: the limit on replies."""

    def __init__(
        self,
        session_id: str,
        effective: dict[str, Any],
        conversation: Conversation,
        hands: Hands,
        *,
        permits: Bucket,
        expires_at: int,
    ) -> None:
        self.id = session_id
        self.conversation = conversation
        self.untranscribed: dict[str, float] = {}  # item id -> its sound in ms
        self.last_response: Response | None = None
        self._effective = effective
        self._settings = settings(effective)
        self._hands = hands
        self._permits = permits
        self._expires_at = expires_at
        self._to_ear = to_ear(self._settings.hears)
        self._written_ms = 0.0
        self._buffered_ms = 0.0
        self._turn_id: str | None = None
        self._finder: TurnFinder | None = None
        self._set_finder()

    def open(self, *, shows_items: bool = False) -> None:
        """Speak first, as the server does; a restored session may show its newest items."""
        self._emit("session.created", session=self._json())
        self._emit(
            "conversation.created", conversation={"id": new_id("conv"), "object": "realtime.conversation"}
        )
        if shows_items:
            self._show_items()

    def _show_items(self) -> None:
        """Tell a client that comes back what is here, so that it says nothing twice."""
        items = self.conversation.items
        for place in range(max(0, len(items) - _MOST_SHOWN), len(items)):
            before = items[place - 1].id if place else None
            self._emit("conversation.item.added", previous_item_id=before, item=items[place].json())
            self._emit("conversation.item.done", previous_item_id=before, item=items[place].json())

    def receive(self, text: str, now: float) -> None:
        """Handle one text frame; a fault becomes one error event. `now`: seconds, monotonic."""
        event_id = None
        try:
            event = client.decode(text)
            event_id = event.event_id
            self._handle(event, now)
        except WireError as error:
            error.event_id = error.event_id or event_id
            self.refuse(error)

    def refuse(self, error: WireError) -> None:
        """Send an error event."""
        self._hands.emit(error_event(error))

    def transcribed(self, item_id: str, text: str) -> None:
        """Take a turn's words."""
        sound_ms = self.untranscribed.pop(item_id)
        for item in self.conversation.items:
            if item.id == item_id:
                item.text = text
        if self._settings.transcribe:
            at = {"item_id": item_id, "content_index": 0}
            kind = "conversation.item.input_audio_transcription"
            usage = {"type": "duration", "seconds": round(sound_ms / 1000, 2)}
            self._emit(f"{kind}.delta", **at, delta=text)
            self._emit(f"{kind}.completed", **at, transcript=text, usage=usage)
        self._hands.changed()

    def not_transcribed(self, item_id: str, why: str) -> None:
        """Tell that the recogniser failed on a turn."""
        self.untranscribed.pop(item_id)
        error = {"type": "transcription_error", "code": "audio_unintelligible", "message": why, "param": None}
        kind = "conversation.item.input_audio_transcription.failed"
        self._emit(kind, item_id=item_id, content_index=0, error=error)

    def lost(self, now: float) -> None:
        """The client is gone: of a reply, no more was heard than there was time since it began to sound."""
        if self._active:
            self._cancel("client_cancelled")
        last = self.last_response
        if last is None or last.first_sound_at is None:
            return
        heard_ms = (now - last.first_sound_at) * 1000
        if heard_ms < last.item.audio_ms:
            last.item.cut(heard_ms)
            self._hands.changed()

    @property
    def _active(self) -> bool:
        return self.last_response is not None and self.last_response.active

    def _handle(self, event: client.ClientEvent, now: float) -> None:  # noqa: C901 - one line for each event
        match event:
            case client.Append():
                self._append(event.audio, now)
            case client.Commit():
                self._commit()
            case client.Clear():
                self._clear()
            case client.SessionUpdate():
                self._update(event)
            case client.ResponseCreate():
                self._create(event, now)
            case client.ResponseCancel():
                self._cancel_asked(event)
            case client.ItemCreate():
                self._item_create(event)
            case client.ItemTruncate():
                self._item_truncate(event)
            case client.ItemDelete():
                self._item_delete(event.item_id)
            case client.ItemRetrieve():
                item = self.conversation.find(event.item_id, "item_retrieve_invalid_item_id")
                self._emit("conversation.item.retrieved", item=item.json())

    def _update(self, event: client.SessionUpdate) -> None:
        spoke = any(item.kind == "output_audio" for item in self.conversation.items)
        self._effective = updated(self._effective, event.session, voice_fixed=spoke)
        before, self._settings = self._settings, settings(self._effective)
        if self._settings.vad != before.vad:
            self._set_finder()
        if self._settings.hears != before.hears:
            self._to_ear = to_ear(self._settings.hears)
        self._emit("session.updated", session=self._json())

    def _set_finder(self) -> None:
        vad = self._settings.vad
        self._finder = TurnFinder(vad, int(self._written_ms)) if vad else None
        if vad and self._buffered_ms:
            self._drop()

    def _append(self, sound: bytes, now: float) -> None:
        try:
            heard = self._to_ear(sound)
        except ValueError as error:
            raise WireError("invalid_value", f"Invalid 'audio'. {error}", "audio") from None
        length_ms = len(sound) / bytes_per_ms(self._settings.hears)
        self._written_ms += length_ms
        self._buffered_ms += length_ms
        if self._finder is None:
            self._hands.hear(heard)
            return
        edges, going_on = self._finder.feed(heard)
        for edge in edges:
            self._hands.hear(edge.pcm)
            if edge.kind == "started":
                self._speech_started(edge.at_ms)
            else:
                self._speech_stopped(edge.at_ms, now)
        self._hands.hear(going_on)

    def _speech_started(self, at_ms: int) -> None:
        self._turn_id = new_id("item")
        self._emit("input_audio_buffer.speech_started", audio_start_ms=at_ms, item_id=self._turn_id)
        if self._active and self._settings.vad and self._settings.vad.interrupt_response:
            self._cancel("turn_detected")

    def _speech_stopped(self, at_ms: int, now: float) -> None:
        self._emit("input_audio_buffer.speech_stopped", audio_end_ms=at_ms, item_id=self._turn_id)
        self._commit()
        if self._settings.vad and self._settings.vad.create_response:
            self._create(client.ResponseCreate(), now)

    def _commit(self) -> None:
        buffered_ms = self._buffered_ms
        if buffered_ms < MIN_COMMIT_MS:
            has = f"Expected at least 100ms of audio, but buffer only has {buffered_ms:.2f}ms of audio."
            text = f"Error committing input audio buffer: buffer too small. {has}"
            raise WireError("input_audio_buffer_commit_empty", text)
        item = Item(id=self._turn_id or new_id("item"), role="user", kind="input_audio")
        before = self.conversation.insert(item, None)
        self._emit("input_audio_buffer.committed", previous_item_id=before, item_id=item.id)
        self._emit("conversation.item.added", previous_item_id=before, item=item.json())
        self._emit("conversation.item.done", previous_item_id=before, item=item.json())
        self.untranscribed[item.id] = buffered_ms
        if self._finder and not self._finder.speaking:
            self._hands.hear(self._finder.waiting())
        self._hands.hear_end(item.id)
        self._buffered_ms = 0.0
        self._turn_id = None
        if self._finder:
            self._finder.reset()

    def _clear(self) -> None:
        self._drop()
        self._emit("input_audio_buffer.cleared")

    def _drop(self) -> None:
        self._buffered_ms = 0.0
        self._turn_id = None
        self._hands.hear_nothing()
        if self._finder:
            self._finder.reset()

    def _create(self, event: client.ResponseCreate, now: float) -> None:
        if self._active:
            text = "Conversation already has an active response; wait for response.done or cancel it."
            raise WireError("conversation_already_has_active_response", text)
        wish = {} if event.response is UNSET else to_builtins(event.response)
        apart = wish.pop("conversation", "auto") == "none"
        metadata = wish.pop("metadata", None)
        chosen = settings(merge(self._effective, wish, "response"))
        response = Response(self._hands.emit, chosen, None if apart else self.conversation, metadata)
        self.last_response = response
        response.begin()
        wait_s = self._permits.take(now)
        self._emit("rate_limits.updated", rate_limits=[self._limit(now)])
        if wait_s:
            text = f"Too many replies; try again in {wait_s:.1f} s."
            fault = {"type": "rate_limit_error", "code": "rate_limit_exceeded", "message": text}
            response.finish("failed", error=fault)
            return
        self._hands.reply(response)

    def _limit(self, now: float) -> dict[str, Any]:
        left, full_s = self._permits.remaining(now), self._permits.full_in_s(now)
        return {
            "name": "requests",
            "limit": self._permits.limit,
            "remaining": left,
            "reset_seconds": round(full_s, 2),
        }

    def _cancel_asked(self, event: client.ResponseCancel) -> None:
        current = self.last_response
        if current is None or not current.active or event.response_id not in (None, current.id):
            raise WireError("response_cancel_not_active", "Cancellation failed: no active response found.")
        self._cancel("client_cancelled")

    def _cancel(self, reason: str) -> None:
        assert self.last_response is not None  # noqa: S101 - callers have looked
        self._hands.stop_reply()
        self.last_response.finish("cancelled", reason)
        self._hands.changed()

    def _item_create(self, event: client.ItemCreate) -> None:
        wish = event.item
        for place, part in enumerate(wish.content):
            if part.type not in _CONTENT[wish.role] or part.text is None:
                text = f"A {wish.role} message takes {_CONTENT[wish.role][0]} with a text here."
                raise WireError("invalid_value", text, f"item.content[{place}].type")
        kind = wish.content[0].type
        assert kind in ("input_text", "output_text")  # noqa: S101 - the loop has looked
        words = " ".join(part.text or "" for part in wish.content)
        item = Item(id=wish.id or new_id("item"), role=wish.role, kind=kind, text=words)
        before = self.conversation.insert(item, event.previous_item_id)
        self._emit("conversation.item.added", previous_item_id=before, item=item.json())
        self._emit("conversation.item.done", previous_item_id=before, item=item.json())
        self._hands.changed()

    def _item_delete(self, item_id: str) -> None:
        if self.conversation.find(item_id, "item_delete_invalid_item_id").status == "in_progress":
            raise WireError("invalid_value", "This reply is still being made; cancel it first.", "item_id")
        self.conversation.remove(item_id, "item_delete_invalid_item_id")
        self._emit("conversation.item.deleted", item_id=item_id)
        self._hands.changed()

    def _item_truncate(self, event: client.ItemTruncate) -> None:
        item = self.conversation.find(event.item_id, "item_truncate_invalid_item_id")
        if item.kind != "output_audio" or event.content_index:
            raise WireError(
                "invalid_value", "Only content 0 of a spoken reply can be truncated.", "content_index"
            )
        if item.status == "in_progress":
            raise WireError("invalid_value", "This reply is still being made; cancel it first.", "item_id")
        if event.audio_end_ms > item.audio_ms:
            text = f"Audio content of {int(item.audio_ms)}ms is already shorter than {event.audio_end_ms}ms"
            raise WireError("invalid_value", text, "audio_end_ms")
        item.cut(event.audio_end_ms)
        self._emit(
            "conversation.item.truncated", item_id=item.id, content_index=0, audio_end_ms=event.audio_end_ms
        )
        self._hands.changed()

    def _emit(self, kind: str, **fields: Any) -> None:
        self._hands.emit({"type": kind, **fields})

    def _json(self) -> dict[str, Any]:
        return {**self._effective, "id": self.id, "expires_at": self._expires_at}
