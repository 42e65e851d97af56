"""The messages of OpenAI Realtime that the device reads, as types; unknown fields are ignored.

Named by GA's spelling; beta's have the same fields.
Source: the vendor's API reference for the Realtime server events, GA shape of 2025-08-28, and beta.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

Id = Annotated[str, msgspec.Meta(max_length=200)]


class Kind(msgspec.Struct):
    """The one field every message has."""

    type: str


class SessionFacts(msgspec.Struct):
    """`expires_at`: epoch seconds, of the session."""

    id: str | None = None
    expires_at: Any = None


class SessionEvent(msgspec.Struct):
    """session.created, session.updated."""

    session: SessionFacts


class Committed(msgspec.Struct):
    """input_audio_buffer.committed."""

    item_id: Id


class HeldItem(msgspec.Struct):
    """`content`: its parts; one that was said has a transcript once that is known."""

    id: Id | None = None
    role: str | None = None
    content: Any = None


class ItemEvent(msgspec.Struct):
    """conversation.item.added, in beta conversation.item.created."""

    item: HeldItem


class Transcribed(msgspec.Struct):
    """conversation.item.input_audio_transcription.completed."""

    item_id: Id
    transcript: str = ""


class AudioDelta(msgspec.Struct):
    """response.output_audio.delta; `delta` is base64 on the wire."""

    response_id: Id
    item_id: Id
    delta: bytes


class TextDelta(msgspec.Struct):
    """response.output_audio_transcript.delta, response.output_text.delta."""

    response_id: Id
    delta: str


class Fault(msgspec.Struct):
    type: str | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None
    event_id: str | None = None


class ErrorEvent(msgspec.Struct):
    """The event `error`."""

    error: Fault


class TranscriptionFailed(msgspec.Struct):
    """conversation.item.input_audio_transcription.failed."""

    item_id: Id
    error: Fault = msgspec.field(default_factory=Fault)


class Item(msgspec.Struct):
    type: str | None = None
    name: str | None = None
    call_id: str | None = None


class StatusDetails(msgspec.Struct):
    type: str | None = None
    reason: str | None = None
    error: Fault | None = None


class Response(msgspec.Struct):
    """`usage`: what the reply cost, `{"total_tokens": …}`."""

    id: Id
    status: str | None = None
    status_details: StatusDetails | None = None
    output: list[Item] | None = None
    usage: Any = None


class ResponseEvent(msgspec.Struct):
    """response.created, response.done."""

    response: Response


class RateLimit(msgspec.Struct):
    name: str | None = None
    remaining: float | None = None
    reset_seconds: float | None = None


class RateLimits(msgspec.Struct):
    """rate_limits.updated."""

    rate_limits: list[RateLimit] | None = None
