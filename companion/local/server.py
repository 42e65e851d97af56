"""The WebSocket route /v1/realtime: who may come in, and which session that is.

Source: OpenAI API reference, "Realtime with WebSockets": bearer header, or the subprotocols
`realtime, openai-insecure-api-key.SECRET`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from companion.local.connection import Connection
from companion.local.events import WireError, error_event
from companion.local.items import new_id

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

    from companion.access.door import Admits
    from companion.local.engine import Engine
    from companion.local.secrets import Pass

_KEY = "openai-insecure-api-key."
_BETA = "openai-beta.realtime-v1"


async def realtime(socket: WebSocket, engine: Engine, admits: Admits) -> None:
    """Serve one client, or refuse the upgrade with OpenAI's error envelope."""
    opens = engine.passes.find(secret_of(socket), time.time())
    if opens is None or not await admits(opens.device):
        await _refuse(
            socket, 401, "invalid_api_key", "The secret is unknown or has expired; mint a new session."
        )
        return
    model = socket.query_params.get("model", opens.effective["model"])
    if model != opens.effective["model"]:
        await _refuse(
            socket, 400, "model_not_found", f"This secret opens the model {opens.effective['model']}."
        )
        return
    offered = socket.scope["subprotocols"]
    await socket.accept(subprotocol="realtime" if "realtime" in offered else None)
    if _BETA in offered or socket.headers.get("openai-beta") == "realtime=v1":
        await disable_beta(socket)
        return
    await serve(engine, socket, opens, shows_items=True)


async def serve(engine: Engine, socket: WebSocket, opens: Pass, *, shows_items: bool = False) -> None:
    """Serve an accepted socket; an older one of the same session is closed first.

    `shows_items`: a restored session says which items it holds, each as if it were added now.
    """
    async with engine.door:
        older = engine.live.get(opens.session_id)
        if older:
            await older.end(1000, "continued on a newer connection")
        past = await engine.remembered(opens.session_id, opens.device)
        items = past.items if past else []
        connection = Connection(engine, socket, opens, items, shows_items=shows_items)
        engine.live[opens.session_id] = connection
    try:
        await connection.run()
    finally:
        if engine.live.get(opens.session_id) is connection:
            del engine.live[opens.session_id]


def secret_of(socket: WebSocket) -> str:
    """Return what the client showed as its secret, "" for nothing."""
    kind, _, value = socket.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    for offered in socket.scope["subprotocols"]:
        if offered.startswith(_KEY):
            return str(offered[len(_KEY) :])
    return ""


async def _refuse(socket: WebSocket, status: int, code: str, text: str) -> None:
    body = {"error": {"type": "invalid_request_error", "code": code, "message": text, "param": None}}
    await socket.send_denial_response(JSONResponse(body, status))


async def disable_beta(socket: WebSocket) -> None:
    """Tell a client of the beta shape that there is none any more, and close."""
    text = "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API."
    await socket.send_json(
        {**error_event(WireError("beta_api_shape_disabled", text)), "event_id": new_id("event")}
    )
    await socket.close(4000, "invalid_request_error.beta_api_shape_disabled")
