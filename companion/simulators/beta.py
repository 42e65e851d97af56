"""OpenAI's beta shape put before a server of the GA shape: flat sessions, older names of events and content.

Source: OpenAI API reference, "Realtime", beta (deprecated); openai-realtime-api-beta.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from companion.local.events import WireError, error_event
from companion.local.items import new_id
from companion.strict import fault

if TYPE_CHECKING:
    from starlette.websockets import WebSocket, WebSocketState

Json = dict[str, Any]
Temperature = Annotated[float, Meta(ge=0.6, le=1.2)]
AudioName = Literal["pcm16", "g711_ulaw", "g711_alaw"]

_FORMATS: dict[str, Json] = {
    "pcm16": {"type": "audio/pcm", "rate": 24_000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}
_FORMAT_NAMES = {known["type"]: name for name, known in _FORMATS.items()}
_CONTENT = {"text": "output_text", "audio": "output_audio"}
_BETA_CONTENT = {new: old for old, new in _CONTENT.items()}
_SAME = ("model", "instructions", "tools", "tool_choice", "tracing", "prompt", "include")
_EVENTS = {
    "conversation.item.added": "conversation.item.created",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
}
_PARAMS = {
    "audio.input.format": "input_audio_format",
    "audio.input.turn_detection": "turn_detection",
    "audio.input.transcription": "input_audio_transcription",
    "audio.input.noise_reduction": "input_audio_noise_reduction",
    "audio.output.format": "output_audio_format",
    "audio.output.voice": "voice",
    "audio.output.speed": "speed",
    "max_output_tokens": "max_response_output_tokens",
    "output_modalities": "modalities",
}


class BetaSession(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`session` of session.update, flat; what lies in a field is checked by the GA server."""

    model: str | UnsetType = UNSET
    modalities: list[Literal["text", "audio"]] | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    voice: str | UnsetType = UNSET
    input_audio_format: AudioName | UnsetType = UNSET
    output_audio_format: AudioName | UnsetType = UNSET
    input_audio_transcription: Json | UnsetType | None = UNSET
    input_audio_noise_reduction: Json | UnsetType | None = UNSET
    turn_detection: Json | UnsetType | None = UNSET
    tools: list[Json] | UnsetType = UNSET
    tool_choice: str | Json | UnsetType = UNSET
    temperature: Temperature | UnsetType = UNSET
    speed: float | UnsetType = UNSET
    max_response_output_tokens: int | Literal["inf"] | UnsetType = UNSET
    tracing: Literal["auto"] | Json | UnsetType | None = UNSET


class BetaResponse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`response` of response.create."""

    modalities: list[Literal["text", "audio"]] | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    voice: str | UnsetType = UNSET
    output_audio_format: AudioName | UnsetType = UNSET
    tools: list[Json] | UnsetType = UNSET
    tool_choice: str | Json | UnsetType = UNSET
    temperature: Temperature | UnsetType = UNSET
    max_response_output_tokens: int | Literal["inf"] | UnsetType = UNSET
    conversation: Literal["auto", "none"] | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType | None = UNSET


def ga_session(flat: Json) -> Json:
    """Return a beta session (or the settings of one response) as GA's, without `type`."""
    hear: Json = {}
    speak: Json = {}
    for name, value in flat.items():
        match name:
            case "input_audio_format":
                hear["format"] = _FORMATS[value]
            case "input_audio_transcription" | "input_audio_noise_reduction":
                hear[name.removeprefix("input_audio_")] = value
            case "turn_detection":
                hear[name] = value
            case "output_audio_format":
                speak["format"] = _FORMATS[value]
            case "voice" | "speed":
                speak[name] = value
    nested = {name: flat[name] for name in (*_SAME, "conversation", "metadata") if name in flat}
    if "modalities" in flat:
        nested["output_modalities"] = ["audio"] if "audio" in flat["modalities"] else ["text"]
    if "max_response_output_tokens" in flat:
        nested["max_output_tokens"] = flat["max_response_output_tokens"]
    audio = {side: found for side, found in (("input", hear), ("output", speak)) if found}
    return {**nested, "audio": audio} if audio else nested


def beta_session(nested: Json, temperature: float) -> Json:
    """Return a GA session as beta shows it."""
    hear, speak = nested["audio"]["input"], nested["audio"]["output"]
    return {
        **{name: nested[name] for name in ("id", "object", "expires_at", *_SAME) if name in nested},
        "modalities": _modalities(nested["output_modalities"]),
        "voice": speak["voice"],
        "speed": speak["speed"],
        "input_audio_format": _FORMAT_NAMES[hear["format"]["type"]],
        "output_audio_format": _FORMAT_NAMES[speak["format"]["type"]],
        "input_audio_transcription": hear["transcription"],
        "input_audio_noise_reduction": hear["noise_reduction"],
        "turn_detection": hear["turn_detection"],
        "temperature": temperature,
        "max_response_output_tokens": nested["max_output_tokens"],
    }


def beta_item(item: Json) -> Json:
    """Return a conversation's item with beta's names of content."""
    if "content" not in item:  # a function call has none
        return item
    parts = [{**part, "type": _BETA_CONTENT.get(part["type"], part["type"])} for part in item["content"]]
    return {**item, "content": parts}


class Beta:
    """The translation for one session."""

    def __init__(self, temperature: float = 0.8) -> None:
        self._temperature = temperature

    def up(self, text: str) -> str:
        """Return a client's frame in GA shape; raises WireError for what beta does not have."""
        event = _object(text)
        match event:
            case {"type": "session.update", "session": dict(flat)}:
                self._temperature = flat.get("temperature", self._temperature)
                nested = {"type": "realtime", **ga_session(_checked(event, "session", BetaSession))}
                event = {**event, "session": nested}
            case {"type": "response.create", "response": dict()}:
                event = {**event, "response": ga_session(_checked(event, "response", BetaResponse))}
            case {"type": "conversation.item.create", "item": dict(item)}:
                event = {**event, "item": _new_item(event, item)}
        return msgspec.json.encode(event).decode()

    def down(self, text: str) -> str | None:
        """Return a server's frame in beta shape, or None for an event that beta does not have."""
        event = msgspec.json.decode(text)
        if event["type"] == "conversation.item.done":
            return None
        event["type"] = _EVENTS.get(event["type"], event["type"])
        if "session" in event:
            event["session"] = beta_session(event["session"], self._temperature)
        if "item" in event:
            event["item"] = beta_item(event["item"])
        if "response" in event:
            event["response"] = self._response(event["response"])
        if "error" in event and event["error"].get("param"):
            event["error"]["param"] = beta_name(event["error"]["param"])
        return msgspec.json.encode(event).decode()

    def _response(self, nested: Json) -> Json:
        flat = {k: v for k, v in nested.items() if k not in ("audio", "output_modalities")}
        speak = nested["audio"]["output"]
        return {
            **flat,
            "output": [beta_item(item) for item in nested["output"]],
            "modalities": _modalities(nested["output_modalities"]),
            "voice": speak["voice"],
            "output_audio_format": _FORMAT_NAMES[speak["format"]["type"]],
            "temperature": self._temperature,
        }


class BetaSocket:
    """Takes the place of a beta client's socket before a GA server."""

    def __init__(self, socket: WebSocket, beta: Beta | None = None) -> None:
        self._socket = socket
        self._beta = beta or Beta()

    @property
    def application_state(self) -> WebSocketState:
        """Whether the socket is open."""
        return self._socket.application_state

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close it."""
        await self._socket.close(code, reason)

    async def receive(self) -> Any:
        """Return the client's next message in GA shape; what beta does not have is refused here."""
        while True:
            message = await self._socket.receive()
            if message.get("text") is None:
                return message
            try:
                return {**message, "text": self._beta.up(message["text"])}
            except WireError as error:
                refusal = {**error_event(error), "event_id": new_id("event")}
                await self._socket.send_text(msgspec.json.encode(refusal).decode())

    async def send_text(self, text: str) -> None:
        """Send a server's event in beta shape."""
        shown = self._beta.down(text)
        if shown is not None:
            await self._socket.send_text(shown)


def _object(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise WireError("invalid_event", "The event is not valid JSON.") from None


def _checked(event: Json, name: str, kind: type) -> Json:
    """Return what the client set in `session` or `response`; raises WireError."""
    try:
        checked: Json = msgspec.to_builtins(msgspec.convert(event[name], kind))
    except msgspec.ValidationError as error:
        found = fault(error)
        code = "unknown_parameter" if found.kind == "unknown" else "invalid_value"
        place = f"{name}.{found.path}".strip(".")
        raise _refused(event, code, f"Invalid '{place}': {found.text}.", place) from None
    return checked


def _new_item(event: Json, item: Json) -> Json:
    content = item.get("content")
    if not isinstance(content, list):
        return item
    for part in content:
        if isinstance(part, dict) and str(part.get("type")).startswith("output_"):
            raise _refused(event, "invalid_value", "Beta has text and audio.", "item.content.type")
    parts = [{**part, "type": _CONTENT.get(part.get("type"), part.get("type"))} for part in content]
    return {**item, "content": parts}


def _refused(event: Json, code: str, text: str, param: str) -> WireError:
    error = WireError(code, text, param)
    given = event.get("event_id")
    error.event_id = given if isinstance(given, str) else None
    return error


def _modalities(ga: list[str]) -> list[str]:
    return ["text", "audio"] if ga == ["audio"] else ["text"]


def beta_name(ga: str) -> str:
    """Return a dotted place in a GA session in beta's names."""
    for new, old in _PARAMS.items():
        ga = ga.replace(new, old)
    return ga
