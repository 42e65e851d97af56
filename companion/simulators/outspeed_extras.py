"""What Outspeed adds to the beta protocol, put between a client's socket and a server of that protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from companion.local.items import new_id
from companion.simulators.beta import beta_item

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.websockets import WebSocket, WebSocketState

    from companion.local.items import Item

VOICES = ("tara", "jess", "leah", "leo", "dan", "mia", "zac", "zoe", "julia")
_OWN_TURN_FIELDS = ("type", "eagerness", "send_event_on_vad_state_change", "rms_threshold")
_VAD_EVENTS = ("input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped")


class Minted(msgspec.Struct, frozen=True):
    """What a mint settled that only Outspeed knows. `turns`: its own fields of turn_detection."""

    voice: str
    temperature: float
    first_message: str
    restores: bool
    turns: dict[str, Any]


class OutspeedSocket:
    """Takes the place of the client's socket: `past` gives the items that a resumed session has.

    Restored context comes right after session.created, or where a mistake puts it.
    """

    def __init__(
        self,
        socket: WebSocket,
        minted: Minted,
        past: Callable[[], Awaitable[Sequence[Item]]],
        mistakes: frozenset[str],
    ) -> None:
        self._socket = socket
        self._minted = minted
        self._past = past
        self._mistakes = mistakes
        self._voice = minted.voice
        self._turns = minted.turns
        self._due: list[str] = []

    @property
    def application_state(self) -> WebSocketState:
        """Whether the socket is open, as the real one says it."""
        return self._socket.application_state

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close it."""
        await self._socket.close(code, reason)

    async def receive(self) -> Any:
        """Return the next event of the client in beta shape, or one that the service itself asks for."""
        if self._due:
            return {"type": "websocket.receive", "text": self._due.pop()}
        message = await self._socket.receive()
        text = message.get("text")
        event = _read(text) if text else None
        if event is None:
            return message
        return {**message, "text": _write(self._plain(event))}

    async def send_text(self, text: str) -> None:
        """Send a server's event in beta shape, with what belongs before and after it."""
        event = msgspec.json.decode(text)
        kind = event["type"]
        if kind in _VAD_EVENTS and not self._turns.get("send_event_on_vad_state_change"):
            return
        if kind in ("session.created", "session.updated"):
            event["session"] = self._own(event["session"])
        if kind == self._restored_at:
            await self._restore(event)
        else:
            await self._socket.send_text(_write(event))

    @property
    def _restored_at(self) -> str:
        if not self._minted.restores:
            return ""
        return "session.updated" if "restored-late" in self._mistakes else "session.created"

    async def _restore(self, event: dict[str, Any]) -> None:
        items = [self._item(item) for item in await self._past() if item.text]
        if "restored-first" in self._mistakes:
            await self._send("context.restored", items=items)
        await self._socket.send_text(_write(event))
        if "restored-first" not in self._mistakes:
            await self._send("context.restored", items=items)
        self._minted = msgspec.structs.replace(self._minted, restores=False)

    def _item(self, item: Item) -> dict[str, Any]:
        content: Any = item.text
        if "restored-as-parts" in self._mistakes:
            content = beta_item(item.json())["content"]
        return {"id": item.id, "type": "message", "role": item.role, "content": content}

    def _plain(self, event: dict[str, Any]) -> dict[str, Any]:
        """Take the vendor's own out of a client's event."""
        if event.get("type") == "outspeed.custom.speak":
            return _speak(str(event.get("text", "")))
        session = event.get("session")
        if event.get("type") != "session.update" or not isinstance(session, dict):
            return event
        session = dict(session)
        session.pop("first_message", None)  # only a mint can set it
        if session.get("voice") in VOICES:
            self._voice = session.pop("voice")
        found = session.get("turn_detection")
        if isinstance(found, dict):
            session["turn_detection"], self._turns = split_turns(found)
        if self._minted.first_message:
            self._due.append(_write(_speak(self._minted.first_message)))
            self._minted = msgspec.structs.replace(self._minted, first_message="")
        return {**event, "session": session}

    def _own(self, session: dict[str, Any]) -> dict[str, Any]:
        """Put the vendor's own into the session that is shown."""
        shown = {**session, "voice": self._voice}
        if shown.get("turn_detection"):
            shown["turn_detection"] = {**shown["turn_detection"], **self._turns}
        return shown

    async def _send(self, kind: str, **fields: Any) -> None:
        await self._socket.send_text(_write({"type": kind, "event_id": new_id("event"), **fields}))


def split_turns(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a turn detection as the local server takes it, and what of it only Outspeed has.

    No meaning is understood here: semantic_vad goes by sound as well.
    """
    own = {name: given[name] for name in _OWN_TURN_FIELDS if name in given}
    plain = {name: value for name, value in given.items() if name not in own}
    return {"type": "server_vad", **plain}, own


VERBATIM = "Say exactly: "


def _speak(text: str) -> dict[str, Any]:
    return {"type": "response.create", "response": {"instructions": f"{VERBATIM}{text}"}}


def _read(text: str) -> dict[str, Any] | None:
    """Return the event, or None for what the server itself has to refuse."""
    try:
        event = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _write(event: dict[str, Any]) -> str:
    return msgspec.json.encode(event).decode()
