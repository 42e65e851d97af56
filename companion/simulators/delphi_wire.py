"""What a client may say on Delphi's session channel, as strict types, and how the server's messages are made.

Source: the vendor's client SDK 0.1.3, channelTypes.ts and utils/channel.ts.
"""

from __future__ import annotations

import time
import uuid
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

Mode = Literal["text", "audio_playback", "voice_conversation", "browser_actions", "listen"]
ResponseMode = Literal["voice", "text", "both"]
Json = dict[str, Any]
Maybe = str | UnsetType

_UUID4 = r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
_LONGEST_ERROR = 1000


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A part of a message; a field that the protocol does not have is refused."""


class Chat(Strict, frozen=True):
    """`response_expected` true forces an answer, false forbids it."""

    role: Literal["user", "assistant", "system"]
    content: str
    intent: (
        Literal[
            "conversation",
            "notification",
            "context_update",
            "browser_context",
            "action_update",
            "read_aloud",
        ]
        | UnsetType
    ) = UNSET
    response_expected: bool | UnsetType = UNSET
    preferred_response: ResponseMode | UnsetType = UNSET
    related_action_id: Maybe = UNSET
    metadata: Json | UnsetType = UNSET


class BrowserAction(Strict, frozen=True):
    message_type: str
    capability_id: Maybe = UNSET
    capability_slug: Maybe = UNSET
    identifier: Maybe = UNSET
    text: Maybe = UNSET
    url: Maybe = UNSET
    title: Maybe = UNSET
    data: Json | UnsetType = UNSET


class ActionResult(Strict, frozen=True):
    action_id: str
    success: bool
    status: Literal["received", "executing", "completed", "failed"] | UnsetType = UNSET
    data: Any = UNSET
    error: Annotated[str, Meta(max_length=_LONGEST_ERROR)] | UnsetType = UNSET
    duration_ms: int | UnsetType = UNSET
    is_final: bool | UnsetType = UNSET


class ControlSettings(Strict, frozen=True):
    response_mode: ResponseMode | UnsetType = UNSET
    session_timeout: Annotated[int, Meta(ge=0, le=3_600_000)] | UnsetType = UNSET


class Control(Strict, frozen=True):
    command: Literal[
        "enable_text_chat", "disable_text_chat", "request_context", "clear_context", "set_response_mode"
    ]
    settings: ControlSettings = ControlSettings()
    metadata: Json | UnsetType = UNSET


class Reconnect(Strict, frozen=True):
    """`last_received_message_id` carries a stream id, whatever its name says."""

    last_received_message_id: Maybe = UNSET
    session_data: Json | UnsetType = UNSET


class Envelope(Strict, frozen=True):
    """A message from the client; one payload at most, the one that goes with `type`."""

    type: Literal["chat", "browser_action", "action_result", "control", "reconnect", "ping", "pong"]
    session_id: str
    message_id: Annotated[str, Meta(pattern=_UUID4)]
    timestamp: Annotated[int, Meta(gt=0)]
    direction: Literal["to_ari"]
    chat: Chat | UnsetType = UNSET
    browser_action: BrowserAction | UnsetType = UNSET
    action_result: ActionResult | UnsetType = UNSET
    control: Control | UnsetType = UNSET
    reconnect: Reconnect | UnsetType = UNSET

    @property
    def payload(self) -> Any:
        """The payload that belongs to the type; None for ping and pong."""
        return None if self.type in ("ping", "pong") else getattr(self, self.type)


def read(frame: str, session_id: str) -> Envelope:
    """Read a client's message. Raises ValueError, one line, when the protocol has no such message."""
    found = msgspec.json.decode(frame, type=Envelope)
    if found.session_id != session_id:
        raise ValueError("sessionId is another session's")
    if found.payload is UNSET:
        raise ValueError(f"a {found.type} without its payload")
    return found


def message(kind: str, session_id: str, **payload: Any) -> Json:
    """Make a message to the browser; `payload` is one field under its wire name, or none."""
    return {
        "type": kind,
        "sessionId": session_id,
        "messageId": str(uuid.uuid4()),
        "timestamp": int(time.time() * 1000),
        "direction": "to_browser",
        **payload,
    }
