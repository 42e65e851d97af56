"""The mistakes that a server of OpenAI's protocol makes on its socket, each a small change of what it sends.

They read both spellings of the events, GA's and beta's.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from companion.local.items import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.websockets import WebSocket, WebSocketState

Json = dict[str, Any]


class Close(msgspec.Struct, frozen=True):
    """The end of the connection."""

    code: int
    reason: str


Frame = Json | str | bytes | Close


class Mistake(Protocol):
    """Made on one connection."""

    def __call__(self, event: Json) -> Iterable[Frame]:
        """Return what is sent in the place of an event."""
        ...


def kind_of(event: Json) -> str:
    """Return the event's type in beta's spelling, which is the shorter one."""
    return (
        str(event["type"]).replace("response.output_audio", "response.audio").replace("output_text", "text")
    )


class LateTranscripts:
    """What the user said is written down only after the reply."""

    def __init__(self) -> None:
        self._held: list[Json] = []

    def __call__(self, event: Json) -> Iterable[Frame]:
        if "input_audio_transcription" in event["type"]:
            self._held.append(event)
            return
        yield event
        if event["type"] == "response.done":
            yield from self._held
            self._held = []


def transcription_fails(event: Json) -> Iterable[Frame]:
    """Nobody could write down what the user said."""
    if event["type"].endswith("input_audio_transcription.completed"):
        at = {name: event[name] for name in ("event_id", "item_id", "content_index")}
        error = {"type": "transcription_error", "code": "audio_unintelligible", "message": "?", "param": None}
        event = {**at, "type": event["type"].replace("completed", "failed"), "error": error}
    yield event


class WordsLast:
    """The words of a reply come after its sound."""

    def __init__(self) -> None:
        self._held: list[Json] = []

    def __call__(self, event: Json) -> Iterable[Frame]:
        if kind_of(event) == "response.audio_transcript.delta":
            self._held.append(event)
            return
        yield event
        if kind_of(event) == "response.audio.done":
            yield from self._held
            self._held = []


def unknown_events(event: Json) -> Iterable[Frame]:
    """Add events and fields that nobody has heard of."""
    yield {"type": "response.mood.delta", "event_id": new_id("event"), "mood": {"value": [7, None]}}
    yield {**event, "mood": {"deep": [{}]}}


def odd_audio(event: Json) -> Iterable[Frame]:
    """Cut sound within a sample."""
    if kind_of(event) != "response.audio.delta":
        yield event
        return
    sound = base64.b64decode(event["delta"])
    cut = len(sound) // 2 | 1
    for piece in (sound[:cut], sound[cut:]):
        yield {**event, "delta": base64.b64encode(piece).decode()}


class LateAudio:
    """Sound of a reply that was cancelled still comes after its end."""

    def __init__(self) -> None:
        self._last: Json | None = None

    def __call__(self, event: Json) -> Iterable[Frame]:
        yield event
        if kind_of(event) == "response.audio.delta":
            self._last = event
        cancelled = event["type"] == "response.done" and event["response"]["status"] == "cancelled"
        if cancelled and self._last:
            yield self._last


def garbage(event: Json) -> Iterable[Frame]:
    """Send what is no event before each reply."""
    if event["type"] == "response.created":
        yield '{"type": "response.cre'
        yield b"\x00\x01\x02"
        yield '{"type": 5}'
        yield {"type": "response.output_audio.delta", "response_id": "r", "item_id": "i", "delta": "%%%"}
    yield event


def session_expires(event: Json) -> Iterable[Frame]:
    """End the session after its first reply, as at the 60th minute."""
    yield event
    if event["type"] == "response.done":
        text = "Your session hit the maximum duration of 60 minutes."
        fault = {"type": "invalid_request_error", "code": "session_expired", "message": text}
        yield {"type": "error", "event_id": new_id("event"), "error": fault}
        yield Close(1001, text)


def expires_silently(event: Json) -> Iterable[Frame]:
    """End it so with the close alone."""
    yield event
    if event["type"] == "response.done":
        yield Close(1001, "Your session hit the maximum duration of 60 minutes.")


class Breaks:
    """The server falls over in the middle of the first reply."""

    def __init__(self) -> None:
        self._pieces = 0

    def __call__(self, event: Json) -> Iterable[Frame]:
        yield event
        self._pieces += kind_of(event) == "response.audio.delta"
        if self._pieces == 3:
            yield Close(1011, "internal error")


def falls_at_commit(event: Json) -> Iterable[Frame]:
    """The server takes the user's turn and falls over before it can say so."""
    yield Close(1011, "internal error") if event["type"] == "input_audio_buffer.committed" else event


class ReplyFails:
    """The first reply has no sound and ends as failed: the quota."""

    def __init__(self) -> None:
        self._over = False

    def __call__(self, event: Json) -> Iterable[Frame]:
        if self._over or not event["type"].startswith("response.") or event["type"] == "response.created":
            yield event
        elif event["type"] == "response.done":
            self._over = True
            error = {"type": "insufficient_quota", "code": "rate_limit_exceeded", "message": "Out of quota."}
            details = {"type": "failed", "error": error}
            failed = {**event["response"], "status": "failed", "status_details": details, "output": []}
            yield {**event, "response": failed}


class NoRoom:
    """The first reply is announced with no requests left."""

    def __init__(self) -> None:
        self._over = False

    def __call__(self, event: Json) -> Iterable[Frame]:
        if event["type"] == "rate_limits.updated" and not self._over:
            self._over = True
            limit = {"name": "requests", "limit": 1000, "remaining": 0, "reset_seconds": 9.4}
            event = {**event, "rate_limits": [limit]}
        yield event


# What to make for a connection.
MISTAKES: dict[str, Callable[[], Mistake]] = {
    "late-transcripts": LateTranscripts,
    "words-last": WordsLast,
    "transcription-fails": lambda: transcription_fails,
    "unknown-events": lambda: unknown_events,
    "odd-audio": lambda: odd_audio,
    "late-audio": LateAudio,
    "garbage": lambda: garbage,
    "reply-fails": ReplyFails,
    "no-room": NoRoom,
}
# The same, for the first connection alone: the next one goes well.
ONCE: dict[str, Callable[[], Mistake]] = {
    "session-expires": lambda: session_expires,
    "expires-silently": lambda: expires_silently,
    "breaks": Breaks,
    "falls-at-commit": lambda: falls_at_commit,
}


class MistakenSocket:
    """Takes the place of a client's socket before a server that makes no mistakes."""

    def __init__(self, socket: WebSocket, mistakes: Iterable[Mistake]) -> None:
        self._socket = socket
        self._mistakes = list(mistakes)
        self._closed = False

    @property
    def application_state(self) -> WebSocketState:
        """Whether the socket is open."""
        return self._socket.application_state

    async def receive(self) -> Any:
        """Return the client's next message."""
        return await self._socket.receive()

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close it."""
        await self._socket.close(code, reason)

    async def send_text(self, text: str) -> None:
        """Send what the mistakes make of an event."""
        frames: list[Frame] = [msgspec.json.decode(text)]
        for mistake in self._mistakes:
            frames = [
                out for frame in frames for out in (mistake(frame) if isinstance(frame, dict) else (frame,))
            ]
        for frame in frames:
            await self._send(frame)

    async def _send(self, frame: Frame) -> None:
        if self._closed:
            return
        match frame:
            case Close():
                self._closed = True
                await self._socket.close(frame.code, frame.reason)
            case bytes():
                await self._socket.send_bytes(frame)
            case str():
                await self._socket.send_text(frame)
            case _:
                await self._socket.send_text(msgspec.json.encode(frame).decode())
