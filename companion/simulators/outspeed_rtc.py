"""Outspeed's stand-in as its public service is: the mint, a signalling WebSocket, and a peer behind it.

Source: outspeed-ai/voice-devtools, OutspeedSwift: wss://…/v1/realtime/ws?client_secret=…&model=…
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import JSONResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from companion.simulators import outspeed, rtc
from companion.simulators.rtc import RtcSocket, candidates_of, without_candidates

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.websockets import WebSocket

    from companion.simulators import Options
    from companion.simulators.outspeed import Outspeed

log = logging.getLogger(__name__)

MISTAKES = (
    outspeed.MISTAKES
    | rtc.MISTAKES
    | {
        "no-pong",  # takes the offer without it
        "trickles",  # its candidates come one by one, the first before the answer
        "signal-error",  # an error in place of the answer
        "signal-closes",  # 1011 in place of the answer
        "signal-nonsense",  # no JSON in place of the answer
    }
)


class Signalling:
    """The route /v1/realtime/ws of the service."""

    def __init__(self, service: Outspeed) -> None:
        self._service = service
        self.route = WebSocketRoute("/v1/realtime/ws", self.socket)

    async def socket(self, socket: WebSocket) -> None:
        """Serve a client's signalling and, when it has ended well, its session."""
        secret = socket.query_params.get("client_secret", "")
        opens = self._service.engine.passes.find(secret, time.time())
        if opens is None:
            await socket.send_denial_response(JSONResponse({"error": "invalid client secret"}, 401))
            return
        await socket.accept()
        peer = RtcSocket(self._service.mistakes)
        try:
            if await self._signal(socket, peer) and await peer.connected():
                await self._service.talk(peer, opens)  # type: ignore[arg-type]  # it stands in for a WebSocket
        finally:
            await peer.close()

    async def _signal(self, socket: WebSocket, peer: RtcSocket) -> bool:
        """Return whether the client closed the signalling after an answer."""
        answered = False
        try:
            while True:
                message = msgspec.json.decode(await socket.receive_text())
                match message["type"]:
                    case "ping" if "no-pong" not in self._service.mistakes:
                        await socket.send_json({"type": "pong"})
                    case "offer":
                        await self._answer(socket, peer, message["sdp"])
                        answered = True
                    case "candidate":
                        await peer.candidate(message["candidate"], message["sdpMid"])
        except WebSocketDisconnect as gone:
            log.info("signalling closed with %d", gone.code)
            return answered and gone.code == 1000

    async def _answer(self, socket: WebSocket, peer: RtcSocket, offer: str) -> None:
        mistakes = self._service.mistakes
        if "signal-error" in mistakes:
            await socket.send_json({"type": "error", "message": "no worker is free"})
        elif "signal-closes" in mistakes:
            await socket.close(1011, "worker lost")
        elif "signal-nonsense" in mistakes:
            await socket.send_text("<html>")
        else:
            sdp = await peer.answer(offer)
            trickled = candidates_of(sdp) if "trickles" in mistakes else []
            for line in trickled[:1]:
                await _trickle(socket, line)
            await socket.send_json({"type": "answer", "sdp": without_candidates(sdp) if trickled else sdp})
            for line in trickled[1:]:
                await _trickle(socket, line)


async def _trickle(socket: WebSocket, line: str) -> None:
    message: dict[str, Any] = {"type": "candidate", "candidate": line, "sdpMid": "0", "sdpMLineIndex": 0}
    await socket.send_json(message)


def build(options: Options) -> Starlette:
    """Return the application."""
    service = outspeed.make(options)
    return outspeed.serving(service, Signalling(service).route)
