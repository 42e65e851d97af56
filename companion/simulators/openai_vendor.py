"""What OpenAI's service has and the local server has not: put between a GA client and that server.

Voices of one's own, semantic_vad (by a longer silence), an idle time-out (taken, never due), a function call,
and the two settings with rules: tracing stays as it was first set, speed changes only between replies.
Source: OpenAI API reference, "Realtime", GA shape.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import msgspec

from companion.local.events import WireError, decode, error_event
from companion.local.items import new_id

if TYPE_CHECKING:
    from starlette.websockets import WebSocket, WebSocketState

Json = dict[str, Any]

_SILENCE_MS = {
    "low": 1500,
    "medium": 900,
    "auto": 900,
    "high": 500,
}  # no meaning is understood: a longer wait
_TOOL_CALL = {"name": "set_lamp", "arguments": '{"on": true}'}


def for_local(session: Json) -> tuple[Json, Json]:
    """Return the session as the local server takes it, and what is to be shown in its place.

    The second is the part of `audio` that differs: {"voice": .., "turn_detection": ..}; None where what the
    local server says is right again.
    """
    plain, shown = copy.deepcopy(session), {}
    hear, speak = plain.get("audio", {}).get("input", {}), plain.get("audio", {}).get("output", {})
    if "voice" in speak:
        shown["voice"] = speak.pop("voice") if isinstance(speak["voice"], dict) else None
    if "turn_detection" in hear:
        asked = hear["turn_detection"]
        hear["turn_detection"] = _plain_detection(asked)
        shown["turn_detection"] = asked if hear["turn_detection"] != asked else None
    return plain, shown


def with_shown(session: Json, shown: Json) -> Json:
    """Return the local server's session as the vendor's."""
    found = copy.deepcopy(session)
    for name, side in (("voice", "output"), ("turn_detection", "input")):
        if shown.get(name) is not None:
            found["audio"][side][name] = shown[name]
    return found


def _plain_detection(asked: Json | None) -> Json | None:
    if asked is None:
        return None
    if asked["type"] == "semantic_vad":
        same = {name: asked[name] for name in ("create_response", "interrupt_response")}
        return {"type": "server_vad", "silence_duration_ms": _SILENCE_MS[asked["eagerness"]], **same}
    return {**asked, "idle_timeout_ms": None}


class VendorSocket:
    """Takes the place of the client's socket. `shown`: as `for_local` says, of the minted session."""

    def __init__(self, socket: WebSocket, shown: Json, *, calls_a_tool: bool = False) -> None:
        self._socket = socket
        self._shown = shown
        self._asked: list[Json] = []  # of each session.update that was passed on
        self._tracing: Any = None
        self._speed: float | None = None
        self._replying = False
        self._call_due = calls_a_tool

    @property
    def application_state(self) -> WebSocketState:
        """Whether the socket is open."""
        return self._socket.application_state

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close it."""
        await self._socket.close(code, reason)

    async def receive(self) -> Any:
        """Return the client's next message that the local server can take."""
        while True:
            message = await self._socket.receive()
            text = message.get("text")
            if text is None:
                return message
            try:
                plain = await self._plain(text)
            except WireError as error:
                await self._send(error_event(error))
                continue
            if plain is not None:
                return {**message, "text": plain}

    async def send_text(self, text: str) -> None:
        """Send an event of the local server as the vendor would."""
        event = msgspec.json.decode(text)
        kind = event["type"]
        if kind == "session.updated" and self._asked:
            self._shown = {**self._shown, **self._asked.pop(0)}
        if kind in ("session.created", "session.updated"):
            event["session"] = with_shown(event["session"], self._shown)
            self._remember(event["session"])
        if kind in ("response.created", "response.done"):
            self._replying = kind == "response.created"
        if kind == "error" and self._asked and str(event["error"]["param"]).startswith("session"):
            self._asked.pop(0)
        await self._socket.send_text(msgspec.json.encode(event).decode())

    def _remember(self, session: Json) -> None:
        self._tracing, self._speed = session["tracing"], session["audio"]["output"]["speed"]

    async def _plain(self, text: str) -> str | None:
        try:
            event = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            return text
        match event:
            case {"type": "session.update"}:
                return self._update(text)
            case {"type": "conversation.item.create", "item": {"type": "function_call_output"} as item}:
                await self._take_output(item)
                return None
            case {"type": "response.create"} if self._call_due:
                self._call_due = False
                await self._call()
                return None
        return text

    def _update(self, text: str) -> str:
        checked = msgspec.to_builtins(decode(text))  # a fault is told before anything is changed
        session = checked["session"]
        event_id = checked.get("event_id")
        if self._tracing is not None and session.get("tracing", self._tracing) != self._tracing:
            raise _refusal("Tracing cannot be changed once it is set.", "session.tracing", event_id)
        speed = session.get("audio", {}).get("output", {}).get("speed", self._speed)
        if self._replying and speed != self._speed:
            place = "session.audio.output.speed"
            raise _refusal("The speed can be changed only between turns.", place, event_id)
        plain, shown = for_local(session)
        self._asked.append(shown)
        return msgspec.json.encode({**checked, "session": plain}).decode()

    async def _take_output(self, item: Json) -> None:
        if not {"call_id", "output"} <= item.keys():
            raise WireError("missing_required_parameter", "call_id and output are required.", "item")
        taken = {"id": new_id("item"), "object": "realtime.item", "status": "completed", **item}
        for kind in ("added", "done"):
            await self._send({"type": f"conversation.item.{kind}", "previous_item_id": None, "item": taken})

    async def _call(self) -> None:
        item = {"id": new_id("item"), "object": "realtime.item", "type": "function_call", **_TOOL_CALL}
        item |= {"status": "completed", "call_id": new_id("call")}
        response: Json = {"object": "realtime.response", "id": new_id("resp"), "status": "in_progress"}
        response |= {"status_details": None, "output": [], "output_modalities": ["audio"], "usage": None}
        response["audio"] = {"output": {"format": {"type": "audio/pcm", "rate": 24_000}, "voice": "marin"}}
        at = {"response_id": response["id"], "output_index": 0}
        await self._send({"type": "response.created", "response": response})
        await self._send({"type": "response.output_item.added", **at, "item": item})
        arguments = {**at, "item_id": item["id"], "call_id": item["call_id"], **_TOOL_CALL}
        await self._send({"type": "response.function_call_arguments.done", **arguments})
        await self._send({"type": "response.output_item.done", **at, "item": item})
        done = {**response, "status": "completed", "output": [item]}
        await self._send({"type": "response.done", "response": done})

    async def _send(self, event: Json) -> None:
        await self._socket.send_text(msgspec.json.encode({**event, "event_id": new_id("event")}).decode())


def _refusal(text: str, param: str, event_id: str | None) -> WireError:
    error = WireError("invalid_value", text, param)
    error.event_id = event_id
    return error
