"""Delphi's stand-in: session tokens, capabilities, and the session channel with a runtime behind it.

Source: the vendor's client SDK 0.1.3 (types.ts, SessionClient.ts). Close codes 4001 and 4002 for a token are
this simulator's choice out of the client errors 4001 to 4099.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from companion.local.engine import Engine
from companion.settings import LocalSettings
from companion.simulators import janus
from companion.simulators.delphi_stream import Stream
from companion.simulators.delphi_talk import CAPABILITIES, Talk
from companion.simulators.delphi_wire import Mode, Strict, read
from companion.simulators.janus import Janus
from companion.simulators.mind import Mind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.websockets import WebSocket

    from companion.simulators import Options
    from companion.simulators.delphi_wire import Envelope

ENDPOINT = "24599c70-1e79-4e52-9819-e2d97acf45a5"
MISTAKES = (
    frozenset(
        {
            "mint-429",  # the first mint; with Retry-After
            "mint-500",
            "no-gateway",  # a voice session without webrtcGatewayUrl
            "no-listen",  # no mistake: the endpoint does not offer the mode
            "short-token",  # wsTokenExpiresIn is 1
            "close-4001",  # the first token is refused
            "close-4001-always",
            "late-status",
            "never-ready",
            "close-1012-mid-reply",  # once in a session, as is the next
            "close-4000",
            "mp3",  # no mistake: audio/mpeg
            "no-mime",  # the same without its name
            "unaligned-base64",
            "segments",  # no mistake: one response a sentence, joined by requestId
            "out-of-order",
            "duplicate-messages",
            "late-words",
            "no-voice",
            "unknown-types",
            "not-json",
            "action",  # no mistake: the runtime wants something of the browser first
            "error-reply",  # once in a session
        }
    )
    | janus.MISTAKES
)
_SESSION_S = 3600
_TOKEN_S = 300


class TokenRequest(Strict, frozen=True):
    """The mint's body."""

    endpoint_id: str
    mode: Mode


class Delphi:
    """The service: sessions by id, and the tokens that open them."""

    def __init__(self, options: Options, engine: Engine) -> None:
        self._options = options
        self._mistakes = options.mistakes
        self._engine = engine
        self._talks: dict[str, Talk] = {}
        self._tokens: dict[str, tuple[str, float]] = {}
        self._minted = 0
        self._refused: set[str] = set()
        self.janus = Janus(engine, options.mistakes, self._talks.__contains__)

    # --- HTTP

    async def token(self, request: Request) -> Response:
        """POST /api/v1/sessions/token"""
        refusal = self._refusal(request)
        if refusal:
            return refusal
        try:
            wish = msgspec.json.decode(await request.body(), type=TokenRequest)
        except msgspec.MsgspecError as error:
            return JSONResponse({"error": f"Invalid request: {error}"}, 400)
        if wish.endpoint_id != ENDPOINT:
            return JSONResponse({"error": "Endpoint not found"}, 404)
        if not self._modes()[wish.mode]:
            return JSONResponse({"error": f"Mode {wish.mode} is not enabled for this endpoint"}, 400)
        return JSONResponse(self._mint(wish.mode, request.url.netloc))

    async def capabilities(self, request: Request) -> Response:
        """GET /api/v1/runtime/capabilities"""
        if not self._knows_key(request):
            return JSONResponse({"error": {"message": "Invalid API key"}}, 401)
        if request.query_params.get("endpointId") != ENDPOINT:
            return JSONResponse({"error": {"message": "Endpoint not found"}}, 404)
        modes = self._modes()
        return JSONResponse(
            {
                "endpointId": ENDPOINT,
                "flowDefinitionId": None,
                "runtime": {"sessionContinuity": "supported", "migration": []},
                "interactionModes": modes,
                "transports": {"preferred": ["websocket"], "available": ["rest", "websocket", "webrtc"]},
                "flows": {
                    "entryPoints": ["web_chat", "web_voice"],
                    "responseModes": ["audio_stream", "text_stream"],
                    "sideFlows": [],
                    "browserActions": [
                        one for one in CAPABILITIES if one["type"] != "listen" or modes["listen"]
                    ],
                },
            }
        )

    def _refusal(self, request: Request) -> Response | None:
        if not self._knows_key(request):
            return JSONResponse({"error": "Invalid API key"}, 401)
        self._minted += 1
        if "mint-500" in self._mistakes:
            return JSONResponse({"error": "Internal error"}, 500)
        if "mint-429" in self._mistakes and self._minted == 1:
            return JSONResponse({"error": "Too many requests"}, 429, {"Retry-After": "1"})
        return None

    def _knows_key(self, request: Request) -> bool:
        given = request.headers.get("x-api-key", "").encode()
        return hmac.compare_digest(given, self._options.key.encode())

    def _modes(self) -> dict[str, bool]:
        return {
            "text": True,
            "audio_playback": True,
            "voice_conversation": True,
            "browser_actions": True,
            "listen": "no-listen" not in self._mistakes,
        }

    def _mint(self, mode: Mode, netloc: str) -> dict[str, Any]:
        session_id, token = f"s-{secrets.token_hex(8)}", secrets.token_urlsafe(32)
        life_s = 1 if "short-token" in self._mistakes else _TOKEN_S
        self._tokens[token] = (session_id, time.time() + life_s)
        if "close-4001-always" in self._mistakes or ("close-4001" in self._mistakes and not self._talks):
            self._refused.add(token)
        stream = Stream(session_id, self._mistakes)
        self._talks[session_id] = Talk(mode, Mind(self._engine), stream, self._mistakes)
        answer = {
            "sessionId": session_id,
            "wsToken": token,
            "wsTokenExpiresIn": life_s,
            "expiresIn": _SESSION_S,
        }
        if mode == "voice_conversation":
            answer["telproDomain"] = netloc.partition(":")[0]
            if "no-gateway" not in self._mistakes:
                answer["webrtcGatewayUrl"] = f"ws://{netloc}/janus"
        return answer

    # --- the channel

    async def channel(self, socket: WebSocket) -> None:
        """Serve /ws/session for one connection."""
        await socket.accept()
        token = socket.query_params.get("token", "")
        session_id, ends_at = self._tokens.get(token, ("", 0.0))
        if token in self._refused or session_id != socket.query_params.get("sessionId"):
            await socket.close(4001, "invalid token")
        elif time.time() > ends_at:
            await socket.close(4002, "token expired")
        else:
            await self._serve(socket, self._talks[session_id])

    async def _serve(self, socket: WebSocket, talk: Talk) -> None:
        stream = talk.stream
        await stream.join(socket)
        await self._greet(socket, stream)
        try:
            while True:
                frame = await socket.receive_text()
                try:
                    await self._take(talk, read(frame, stream.session_id))
                except ValueError as error:  # msgspec's are ValueErrors too
                    await stream.tell("error", error={"code": "INVALID_MESSAGE", "message": str(error)})
        except (WebSocketDisconnect, RuntimeError, KeyError):  # gone, closed by us, or binary
            stream.leave(socket)

    async def _greet(self, socket: WebSocket, stream: Stream) -> None:
        if "unknown-types" in self._mistakes:
            await stream.tell("weather", weather={"sky": "clear"})
            await stream.tell("status", status={"state": "pondering", "metadata": {"load": 3}})
        if "not-json" in self._mistakes:
            await socket.send_text("{")
            await socket.send_bytes(b"\0\1")
        if "late-status" in self._mistakes:
            await stream.tell("status", status={"state": "reconnecting"})
            await asyncio.sleep(1)
        if "never-ready" not in self._mistakes:
            await stream.tell("status", status={"state": "connected"})

    async def _take(self, talk: Talk, said: Envelope) -> None:
        match said.type:
            case "ping":
                await talk.stream.tell("pong")
            case "pong":
                pass
            case "reconnect":
                await talk.stream.replay(said.payload.last_received_message_id or "0-0")
            case other:
                await getattr(talk, other)(said.payload)

    async def close(self) -> None:
        """End all sessions."""
        await asyncio.gather(*(talk.close() for talk in self._talks.values()))


def build(options: Options) -> Starlette:
    """Return the service as an application."""
    engine = Engine(LocalSettings(), options.folder)
    delphi = Delphi(options, engine)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        engine.warm()
        yield
        await delphi.close()
        await engine.close()

    return Starlette(routes=routes(delphi), lifespan=lifespan)


def routes(delphi: Delphi) -> list[BaseRoute]:
    """Return the service's calls and its socket."""
    return [
        Route("/api/v1/sessions/token", delphi.token, methods=["POST"]),
        Route("/api/v1/runtime/capabilities", delphi.capabilities, methods=["GET"]),
        WebSocketRoute("/ws/session", delphi.channel),
        delphi.janus.route,
    ]
