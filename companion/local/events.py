"""Client events of the GA protocol: their types, and a strict reading of one text frame.

Source: OpenAI API reference, "Realtime", client events, GA shape.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from companion.realtime import Audio, Function, GaSession, MaxTokens, Modalities, Wire
from companion.strict import fault

MAX_AUDIO_CHARS = 15 * 1024 * 1024  # the documented limit of one append, read as base64 characters


class WireError(Exception):
    """One client event that is refused; the session lives on."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.event_id: str | None = None


class Event(Wire, tag_field="type", frozen=True, kw_only=True):
    """Any client event; its id comes back in an error."""

    event_id: str | None = None


class SessionUpdate(Event, tag="session.update", frozen=True):
    """Change the fields that are present, all or none."""

    session: GaSession


class Append(Event, tag="input_audio_buffer.append", frozen=True):
    """More sound, in the session's format (base64 on the wire)."""

    audio: bytes


class Commit(Event, tag="input_audio_buffer.commit", frozen=True):
    """End the user's turn."""


class Clear(Event, tag="input_audio_buffer.clear", frozen=True):
    """Drop what was appended."""


class Content(Wire, frozen=True):
    """A part of a message."""

    type: Literal["input_text", "output_text", "input_audio", "output_audio", "input_image"]
    text: Annotated[str, Meta(max_length=32_768)] | None = None
    audio: str | None = None
    transcript: str | None = None


class MessageItem(Wire, frozen=True):
    """A message that the client brings."""

    type: Literal["message"]
    role: Literal["system", "user", "assistant"]
    content: Annotated[list[Content], Meta(min_length=1)]
    id: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    object: Literal["realtime.item"] | None = None
    status: Literal["completed", "incomplete", "in_progress"] | None = None


class ItemCreate(Event, tag="conversation.item.create", frozen=True):
    """Put a message into the conversation; "root" is before all others."""

    item: MessageItem
    previous_item_id: str | None = None


class ItemDelete(Event, tag="conversation.item.delete", frozen=True):
    """Take an item out."""

    item_id: str


class ItemRetrieve(Event, tag="conversation.item.retrieve", frozen=True):
    """Ask for an item as the server has it."""

    item_id: str


class ItemTruncate(Event, tag="conversation.item.truncate", frozen=True):
    """Cut a reply to what was heard."""

    item_id: str
    content_index: Annotated[int, Meta(ge=0)]
    audio_end_ms: Annotated[int, Meta(ge=0)]


class ResponseSettings(Wire, frozen=True):
    """Settings for one response."""

    output_modalities: Modalities | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    max_output_tokens: MaxTokens | UnsetType = UNSET
    audio: Audio | UnsetType = UNSET
    tools: list[Function] | UnsetType = UNSET
    tool_choice: Literal["auto", "none", "required"] | dict[str, str] | UnsetType = UNSET
    conversation: Literal["auto", "none"] | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType | None = UNSET


class ResponseCreate(Event, tag="response.create", frozen=True):
    """Ask for a reply."""

    response: ResponseSettings | UnsetType = UNSET


class ResponseCancel(Event, tag="response.cancel", frozen=True):
    """Stop the reply that is being made."""

    response_id: str | None = None


ClientEvent = (
    SessionUpdate
    | Append
    | Commit
    | Clear
    | ItemCreate
    | ItemDelete
    | ItemRetrieve
    | ItemTruncate
    | ResponseCreate
    | ResponseCancel
)
_decoder: msgspec.json.Decoder[ClientEvent] = msgspec.json.Decoder(ClientEvent)


def decode(text: str) -> ClientEvent:
    """Read one text frame, or raise WireError with the code, the param and the client's event_id."""
    if len(text) > MAX_AUDIO_CHARS + 1024:
        raise WireError("string_above_max_length", "One event may carry at most 15 MiB of audio.", "audio")
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError as error:
        found = _refusal(error)
        found.event_id = _event_id(text)
        raise found from None
    except (msgspec.DecodeError, RecursionError):
        raise WireError("invalid_event", "The event is not valid JSON.") from None


def _event_id(text: str) -> str | None:
    try:
        raw = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    event_id = raw.get("event_id") if isinstance(raw, dict) else None
    return event_id if isinstance(event_id, str) else None


def _refusal(error: msgspec.ValidationError) -> WireError:
    found = fault(error)
    if found.path in ("", "type"):
        return _nameless(found.kind, found.text)
    if found.text.startswith("Invalid base64"):
        message = "Expected base64-encoded audio bytes in the session's format but got an invalid value."
        return WireError("invalid_value", f"Invalid '{found.path}'. {message}", found.path)
    code, says = {
        "unknown": ("unknown_parameter", f"Unknown parameter: '{found.path}'."),
        "missing": ("missing_required_parameter", f"Missing required parameter: '{found.path}'."),
        "type": ("invalid_type", f"Invalid type for '{found.path}': {found.text}."),
        "value": ("invalid_value", f"Invalid value for '{found.path}': {found.text}."),
    }[found.kind]
    return WireError(code, says, found.path)


def _nameless(kind: str, text: str) -> WireError:
    if kind == "missing":
        return WireError("invalid_event", "The 'type' field is missing.")
    if kind == "value":
        return WireError("invalid_value", f"No such event type: {text}.", "type")
    return WireError("invalid_event", "An event is a JSON object with a 'type'.")


def error_event(error: WireError) -> dict[str, Any]:
    """Return the server's `error` event, without its own event_id."""
    body = {
        "type": "invalid_request_error",
        "code": error.code,
        "message": error.message,
        "param": error.param,
        "event_id": error.event_id,
    }
    return {"type": "error", "error": body}
