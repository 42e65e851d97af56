"""The gateway's door: which secret opens which leg, once."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse
from starlette.routing import WebSocketRoute

from companion.gateway.bridge import CONNECT_S, RESTARTING
from companion.gateway.call import CallBridge
from companion.gateway.events import EventBridge

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

    from companion.access.door import Admits
    from companion.gateway.bridge import Bridge
    from companion.gateway.legs import Leg

log = logging.getLogger(__name__)

PATH = "/v1/gateway"


@dataclass(frozen=True)
class _Ticket:
    """`expires_at`: epoch seconds."""

    leg: Leg
    device: str
    secret: str = field(repr=False)
    expires_at: float


class Gateway:
    """Made once a process; mount `route`, and `close` it when the process ends.

    `connect_s`: how long a provider's leg may take to come up. `admits`: asked when a device connects, for
    it may have been revoked since the mint.
    """

    def __init__(self, connect_s: float = CONNECT_S, admits: Admits | None = None) -> None:
        self._connect_s = connect_s
        self._admits = admits
        self._tickets: dict[str, _Ticket] = {}
        self._live: set[Bridge] = set()
        self._none_live = asyncio.Event()
        self._none_live.set()
        self.route = WebSocketRoute(f"{PATH}/{{session}}", self.serve)

    def add(self, leg: Leg, device: str, expires_at: float) -> tuple[str, str]:
        """Return (path, secret): a WebSocket there, with the secret as a bearer, opens the leg, once."""
        now = time.time()
        self._tickets = {name: ticket for name, ticket in self._tickets.items() if ticket.expires_at > now}
        name, secret = secrets.token_hex(8), f"gw_{secrets.token_urlsafe(24)}"
        self._tickets[name] = _Ticket(leg, device, secret, expires_at)
        return f"{PATH}/{name}", secret

    @property
    def live(self) -> int:
        """How many sessions there are."""
        return len(self._live)

    async def serve(self, socket: WebSocket) -> None:
        """Serve one device, or refuse the upgrade with one line."""
        ticket = self._claim(socket)
        if ticket is None or (self._admits and not await self._admits(ticket.device)):
            text = "this gateway session is unknown, used or expired; mint a new one"
            body = {"error": {"type": "invalid_request_error", "code": "unauthorized", "message": text}}
            await socket.send_denial_response(JSONResponse(body, 401))
            return
        await socket.accept()
        bridge = self._bridge(socket, ticket)
        self._live.add(bridge)
        self._none_live.clear()
        try:
            await bridge.run()
        finally:
            self._live.discard(bridge)
            if not self._live:
                self._none_live.set()

    async def close(self) -> None:
        """End every session."""
        for bridge in self._live:
            bridge.end(RESTARTING, "the companion stops")
        await self._none_live.wait()

    def _bridge(self, socket: WebSocket, ticket: _Ticket) -> Bridge:
        if ticket.leg.shape == "call":
            return CallBridge(socket, ticket.leg, ticket.device, self._connect_s)
        return EventBridge(socket, ticket.leg, ticket.device, ticket.leg.shape, self._connect_s)

    def _claim(self, socket: WebSocket) -> _Ticket | None:
        kind, _, value = socket.headers.get("authorization", "").partition(" ")
        name = socket.path_params["session"]
        ticket = self._tickets.get(name)
        if ticket is None or kind.lower() != "bearer":
            return None
        if not hmac.compare_digest(ticket.secret.encode(), value.strip().encode()):
            return None
        del self._tickets[name]
        return ticket if ticket.expires_at > time.time() else None
