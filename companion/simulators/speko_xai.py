"""xAI's socket behind a provider-direct session: GA events, with its own places for voice and turn detection.

Source: spekoai 0.2.2 (realtime.py): `session.update` carries `model`, and `voice` and `turn_detection`
beside `audio`; older servers greet with `conversation.created` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from starlette.websockets import WebSocket

from companion.local.secrets import Pass
from companion.local.server import serve
from companion.local.settings import DEFAULTS

if TYPE_CHECKING:
    from starlette.types import Message

    from companion.local.engine import Engine
    from companion.simulators.speko_mint import Minted


PREFIX = "xai-client-secret."  # before the credential, in the subprotocol


class XaiSocket(WebSocket):
    """A socket whose frames are put from xAI's shape into OpenAI's GA shape, and the greeting back."""

    def __init__(self, socket: WebSocket, *, older: bool) -> None:
        super().__init__(socket.scope, socket.receive, socket.send)
        self._older = older

    async def receive(self) -> Message:
        """Return the next message."""
        message = await super().receive()
        if message.get("text"):
            message = {**message, "text": _to_ga(message["text"])}
        return message

    async def send_text(self, data: str) -> None:
        """Send one event."""
        if self._older and msgspec.json.decode(data)["type"] == "session.created":
            return
        await super().send_text(data)


async def serve_xai(socket: WebSocket, engine: Engine, minted: Minted, *, older: bool) -> None:
    """Accept, echoing the secret, and serve with the embedded GA server as the model that was asked for."""
    inner = XaiSocket(socket, older=older)
    await inner.accept(PREFIX + minted.token)
    effective = {**DEFAULTS, "model": minted.asked.model, "instructions": minted.asked.system_prompt or ""}
    opens = Pass(minted.session_id, "speko", effective, minted.expires_at)
    await serve(engine, inner, opens)


def _to_ga(text: str) -> str:
    try:
        event = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text  # the server behind says what is wrong with it
    session = event.get("session") if isinstance(event, dict) else None
    if not isinstance(session, dict):
        return text
    session.pop("voice", None)  # "eve" and the others are not at home here
    detection = session.pop("turn_detection", None)
    session.setdefault("audio", {}).setdefault("input", {})["turn_detection"] = detection
    session["audio"].get("output", {}).pop("voice", None)
    return msgspec.json.encode(event).decode()
