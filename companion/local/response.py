"""One reply on the wire: its events in their order, from response.created to response.done."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Literal

from companion.local.audio import WIRE_BYTES_PER_MS
from companion.local.formats import from_voice
from companion.local.items import Item, Mark, new_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from companion.local.items import Conversation, Turn
    from companion.local.settings import Settings

Status = Literal["in_progress", "completed", "cancelled", "failed", "incomplete"]
# Sound has no tokens here; the protocol wants a number, and a tenth of a second is what OpenAI's comes to.
_MS_PER_TOKEN = 100


class Response:
    """Emits server events through `emit`; after `finish` every call is without effect.

    `conversation` None: the reply is out of band and is not kept.
    """

    def __init__(
        self,
        emit: Callable[[dict[str, Any]], None],
        settings: Settings,
        conversation: Conversation | None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        kind: Literal["output_audio", "output_text"] = "output_audio" if settings.spoken else "output_text"
        self.id = new_id("resp")
        self.settings = settings
        self.status: Status = "in_progress"
        self.first_sound_at: float | None = None
        self.item = Item(id=new_id("item"), role="assistant", kind=kind, status="in_progress")
        self._emit = emit
        self._conversation = conversation
        self._metadata = metadata
        self._to_wire = from_voice(settings.speaks)
        self._open = False
        self._input_words = 0

    @property
    def active(self) -> bool:
        """Tell whether the reply is still being made."""
        return self.status == "in_progress"

    @property
    def words(self) -> int:
        """How many words the reply has so far."""
        return len(self.item.text.split())

    def begin(self) -> None:
        """Announce the reply."""
        self._emit({"type": "response.created", "response": self._json()})

    def asked(self, turns: list[Turn]) -> None:
        """Note what the brain was given, for the usage."""
        self._input_words = sum(len(turn.text.split()) for turn in turns)

    def sentence(self, text: str, pcm_bytes: int) -> None:
        """Send the words whose sound, `pcm_bytes` long, comes next."""
        if not self.active:
            return
        self._open_item()
        end_ms = self.item.audio_ms + pcm_bytes / WIRE_BYTES_PER_MS
        if pcm_bytes:
            self.item.marks = [*self.item.marks, Mark(int(end_ms), text)]
        delta = f" {text}" if self.item.text else text
        self.item.text += delta
        spelling = "output_audio_transcript" if self.settings.spoken else "output_text"
        self._part(f"response.{spelling}.delta", delta=delta)

    def sound(self, pcm: bytes, now: float) -> None:
        """Send a piece of 24 kHz PCM16, in the session's format."""
        if not self.active:
            return
        self.first_sound_at = now if self.first_sound_at is None else self.first_sound_at
        self.item.audio_ms += len(pcm) / WIRE_BYTES_PER_MS
        delta = base64.b64encode(self._to_wire(pcm)).decode("ascii")
        self._part("response.output_audio.delta", delta=delta)

    def finish(
        self,
        status: Literal["completed", "cancelled", "failed", "incomplete"],
        reason: str | None = None,
        error: dict[str, str] | None = None,
    ) -> None:
        """Close what is open and send response.done; what was not sent was not heard and is not kept."""
        if not self.active:
            return
        self.status = status
        self.item.status = "completed" if status == "completed" else "incomplete"
        if self._open:
            self._close_item()
        details: dict[str, Any] | None = None
        if status != "completed":
            details = {"type": status, "reason": reason, "error": error}
        self._emit({"type": "response.done", "response": self._json(details)})
        if self.item.marks:
            self.item.cut(self.item.audio_ms)

    def _open_item(self) -> None:
        if self._open:
            return
        self._open = True
        added = {"response_id": self.id, "output_index": 0, "item": self.item.json()}
        self._emit({"type": "response.output_item.added", **added})
        if self._conversation is not None:
            before = self._conversation.insert(self.item, None)
            kept = {"previous_item_id": before, "item": self.item.json()}
            self._emit({"type": "conversation.item.added", **kept})
        self._part("response.content_part.added", part=self._content(""))

    def _close_item(self) -> None:
        text = self.item.text
        if self.settings.spoken:
            self._part("response.output_audio.done")
            self._part("response.output_audio_transcript.done", transcript=text)
        else:
            self._part("response.output_text.done", text=text)
        self._part("response.content_part.done", part=self._content(text))
        done = {"response_id": self.id, "output_index": 0, "item": self.item.json()}
        self._emit({"type": "response.output_item.done", **done})
        if self._conversation is not None:
            place = [item.id for item in self._conversation.items].index(self.item.id)
            before = self._conversation.items[place - 1].id if place else None
            kept = {"previous_item_id": before, "item": self.item.json()}
            self._emit({"type": "conversation.item.done", **kept})

    def _part(self, kind: str, **fields: Any) -> None:
        where = {"response_id": self.id, "item_id": self.item.id, "output_index": 0, "content_index": 0}
        self._emit({"type": kind, **where, **fields})

    def _content(self, text: str) -> dict[str, str]:
        spoken = self.settings.spoken
        return {"type": "audio", "transcript": text} if spoken else {"type": "text", "text": text}

    def _json(self, details: dict[str, Any] | None = None) -> dict[str, Any]:
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": self.status,
            "status_details": details,
            "output": [self.item.json()] if self._open else [],
            "output_modalities": ["audio" if self.settings.spoken else "text"],
            "max_output_tokens": self.settings.max_tokens or "inf",
            "audio": {"output": {"format": self.settings.speaks, "voice": self.settings.voice}},
            "usage": None if self.active else self._usage(),
            "metadata": self._metadata,
        }

    def _usage(self) -> dict[str, Any]:
        heard = int(self.item.audio_ms) // _MS_PER_TOKEN
        read, written = self._input_words, self.words
        return {
            "total_tokens": read + written + heard,
            "input_tokens": read,
            "output_tokens": written + heard,
            "input_token_details": {"text_tokens": read, "audio_tokens": 0, "cached_tokens": 0},
            "output_token_details": {"text_tokens": written, "audio_tokens": heard},
        }
