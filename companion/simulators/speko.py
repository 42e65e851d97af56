"""Speko's stand-in: the mint in both shapes, the proxy socket, xAI's socket, and a user's own backend.

Source: Speko's API pages and SDKs (see `speko_mint`, `speko_proxy`); spekoai 0.2.2 for xAI's socket.
"""

from __future__ import annotations

import hmac
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from companion.local.engine import Engine
from companion.settings import LocalSettings
from companion.simulators.mind import Mind
from companion.simulators.openai_rtc import Calls
from companion.simulators.speko_calls import DirectOpenAI
from companion.simulators.speko_mint import Minted, SessionsRequest, direct_answer, minted, proxy_answer
from companion.simulators.speko_proxy import Proxy
from companion.simulators.speko_xai import PREFIX, serve_xai

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.websockets import WebSocket

    from companion.simulators import Options

MISTAKES = frozenset(
    {
        "provider-direct",  # no mistake: the newer shape of the mint's answer
        "unauthorized",
        "rate-limited",
        "create-failed",
        "not-json",
        "no-token",
        "expired-token",
        "no-echo",
        "no-ready",
        "error-before-ready",
        "error-after-ready",
        "bad-rates",
        "no-rates",
        "other-rates",
        "odd-frames",
        "unknown-frames",
        "late-transcripts",
        "no-transcripts",
        "rewritten-transcripts",
        "server-turns",  # no mistake: the proxy finds where the user's turns end
        "interrupts",  # before the sound can have been heard
        "interrupts-late",  # in the middle of it
        "falls",
        "ends-at-ttl",
        "older-xai",  # it greets with conversation.created alone
    }
)
_SIX = ("sessionId", "wsUrl", "wsToken", "expiresAt", "inputSampleRate", "outputSampleRate")
_REFUSALS = {
    "unauthorized": (401, "Unauthorized", "UNAUTHORIZED", {}),
    "rate-limited": (429, "Too many requests", "RATE_LIMITED", {"Retry-After": "2"}),
    "create-failed": (502, "No provider answered", "SESSION_CREATE_FAILED", {}),
}
_OWN_BACKEND = {"mode": "s2s", "s2s": {"provider": "openai", "model": "gpt-realtime"}, "ttlSeconds": 900}


class Speko:
    """The service: what was minted and not used yet, and what was reported to it."""

    def __init__(self, options: Options, engine: Engine) -> None:
        self._options = options
        self._engine = engine
        self._minted: dict[str, Minted] = {}
        self._reports: list[dict[str, Any]] = []

    async def sessions(self, request: Request) -> Response:
        """POST /v1/sessions"""
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        known = hmac.compare_digest(key.strip().encode(), self._options.key.encode())
        if kind.lower() != "bearer" or not known:
            return _refusal("unauthorized")
        return self._mint(await request.body(), _http_url(request))

    async def own_backend(self, request: Request) -> Response:
        """POST /api/realtime-session, the backend of the browser client's guide: no body, no token."""
        answer = self._mint(msgspec.json.encode(_OWN_BACKEND), _http_url(request))
        if answer.status_code >= 400:
            return JSONResponse({"error": "Could not start realtime session"}, answer.status_code)
        body = msgspec.json.decode(answer.body)
        direct = body.get("transport") == "provider_direct"
        return JSONResponse(body if direct else {name: body.get(name) for name in _SIX})

    async def report(self, request: Request) -> Response:
        """POST /v1/runtime-events and the sideband: telemetry of provider-direct sessions."""
        if not request.headers.get("authorization", "").startswith("Bearer tel_"):
            return _refusal("unauthorized")
        self._reports.append({"path": request.url.path, "body": await request.json()})
        return JSONResponse({"ok": True})

    async def reports(self, _: Request) -> Response:
        """GET /reports, for tests: what was reported so far."""
        return JSONResponse(self._reports)

    async def proxy(self, socket: WebSocket) -> None:
        """The older shape's socket: /v1/realtime/{session_id}/ws"""
        offered = socket.scope["subprotocols"]
        one = self.take(offered[0] if offered else "", socket.path_params["session_id"])
        if one is None:
            await socket.send_denial_response(_refusal("unauthorized"))
            return
        mistakes = self._options.mistakes
        await socket.accept(None if "no-echo" in mistakes else offered[0])
        other = 16_000 if "other-rates" in mistakes else None
        rates = other or one.asked.input_sample_rate, other or one.asked.output_sample_rate
        await Proxy(socket, Mind(self._engine, rate=rates[0]), one, rates, mistakes).run()

    async def xai(self, socket: WebSocket) -> None:
        """The newer shape's socket for xAI: /v1/realtime?model="""
        offered = socket.scope["subprotocols"]
        token = next((name.removeprefix(PREFIX) for name in offered if name.startswith(PREFIX)), "")
        one = self.take(token, None)
        if one is None or socket.query_params.get("model") != one.asked.model:
            await socket.send_denial_response(_refusal("unauthorized"))
            return
        await serve_xai(socket, self._engine, one, older="older-xai" in self._options.mistakes)

    def _mint(self, body: bytes, http_url: str) -> Response:
        mistakes, now = self._options.mistakes, time.time()
        for mistake in mistakes & _REFUSALS.keys():
            return _refusal(mistake)
        if "not-json" in mistakes:
            return Response("<html>It works!</html>", media_type="text/html")
        try:
            one = minted(msgspec.json.decode(body, type=SessionsRequest), now)
        except msgspec.MsgspecError as error:
            text = f"Invalid request body: {error}"
            return JSONResponse({"error": text, "code": "VALIDATION_ERROR"}, 400)
        if "expired-token" in mistakes:
            one = msgspec.structs.replace(one, expires_at=now)
        self._minted = {token: old for token, old in self._minted.items() if old.expires_at > now}
        self._minted[one.token] = one
        direct = "provider-direct" in mistakes
        answer = direct_answer(one, http_url, now) if direct else proxy_answer(one, http_url)
        if "expired-token" in mistakes:  # the client is not told
            answer["expiresAt"] = "2099-01-01T00:00:00Z"
        if "no-token" in mistakes:
            answer["wsToken"] = ""
        return JSONResponse(answer)

    def take(self, token: str, session_id: str | None) -> Minted | None:
        """Return what the token opens, once."""
        one = self._minted.get(token)
        if one is None or one.expires_at <= time.time() or session_id not in (None, one.session_id):
            return None
        return self._minted.pop(token)


def build(options: Options) -> Starlette:
    """Return the service."""
    engine = Engine(LocalSettings(), options.folder)
    service = Speko(options, engine)
    calls = Calls(DirectOpenAI(engine, service.take))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        engine.warm()
        yield
        await calls.close()
        await engine.close()

    return Starlette(routes=[*routes(service), calls.route], lifespan=lifespan)


def routes(service: Speko) -> list[BaseRoute]:
    """Return the service's paths."""
    return [
        Route("/v1/sessions", service.sessions, methods=["POST"]),
        Route("/api/realtime-session", service.own_backend, methods=["POST"]),
        Route("/v1/runtime-events", service.report, methods=["POST"]),
        Route("/v1/sessions/{session_id}/sidebands/openai", service.report, methods=["POST"]),
        Route("/reports", service.reports, methods=["GET"]),
        WebSocketRoute("/v1/realtime/{session_id}/ws", service.proxy),
        WebSocketRoute("/v1/realtime", service.xai),
    ]


def _refusal(mistake: str) -> Response:
    status, text, code, headers = _REFUSALS[mistake]
    return JSONResponse({"error": text, "code": code}, status, headers)


def _http_url(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}{request.scope['root_path']}"
