"""The messages of Delphi's session channel that the device reads, as types; unknown fields are ignored.

Source: the vendor's client SDK 0.1.3, channelTypes.ts.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Part(msgspec.Struct, rename="camel"):
    """A part of a message, with the wire's names in camel case."""


class Head(Part):
    """What every message has. `timestamp` in ms; a message with `stream_id` can be asked for again."""

    type: str
    message_id: str | None = None
    stream_id: str | None = None
    timestamp: float | None = None


class Status(Part):
    state: str


class StatusMessage(Part):
    """status."""

    status: Status


class Chat(Part):
    role: str = "assistant"
    content: str = ""
    metadata: dict[str, Any] | None = None


class ChatMessage(Part):
    """chat."""

    chat: Chat


class Audio(Part):
    """`event` is start, delta or done; a logical request may be split into several playable segments."""

    event: str
    delta: str | None = None
    mime_type: str | None = None
    response_id: str | None = None
    request_id: str | None = None
    segment_index: int | None = None
    segment_count: int | None = None
    is_final: bool | None = None
    index: int | None = None


class AudioMessage(Part):
    """audio; the message's id stands in for a response id that is missing."""

    audio: Audio
    message_id: str | None = None


class Action(Part):
    action_id: str
    name: str = ""
    requires_response: bool = False


class ActionMessage(Part):
    """action."""

    action: Action


class Fault(Part):
    """Either may be null, or a number."""

    code: Any = None
    message: Any = None


class ErrorMessage(Part):
    """error."""

    error: Fault
