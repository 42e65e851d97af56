"""OpenAI's stand-in with its WebRTC door: POST /v1/realtime/calls takes an offer, a peer serves the session.

Source: OpenAI API reference, "Create call"; the guide "Realtime API with WebRTC".
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from companion.local.engine import Engine
from companion.local.items import new_id
from companion.realtime import GaSession
from companion.settings import LocalSettings
from companion.simulators import openai, rtc
from companion.simulators.openai import ExpiresAfter, RefusalError, Service, read
from companion.simulators.rtc import RtcSocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from companion.local.secrets import Pass
    from companion.simulators import Options

log = logging.getLogger(__name__)

MISTAKES = openai.MISTAKES | rtc.MISTAKES | {"busy", "refuses"}


class Callee(Protocol):
    """A service that can be called."""

    @property
    def mistakes(self) -> frozenset[str]:
        """What it does wrong."""
        ...

    def opens(self, secret: str, session: bytes) -> Pass:
        """Return what the secret opens, with the session that came along, if any. Raises RefusalError."""
        ...

    async def talk(self, socket: Any, opens: Pass) -> None:
        """Serve an open socket."""
        ...


class Calls:
    """The route `/v1/realtime/calls` of a service."""

    def __init__(self, service: Callee) -> None:
        self.route = Route("/v1/realtime/calls", self.create, methods=["POST"])
        self._service = service
        self._live: set[asyncio.Task[None]] = set()

    async def create(self, request: Request) -> Response:
        """POST: application/sdp, or multipart with `sdp` and `session`; 201, the answer, and Location."""
        try:
            self._fail()
            sdp, session = await _parts(request)
            secret = request.headers.get("authorization", "").removeprefix("Bearer ")
            opens = self._service.opens(secret, session)
            socket = RtcSocket(self._service.mistakes)
            answer = await _answer(socket, sdp)
        except RefusalError as refusal:
            return JSONResponse(refusal.envelope, refusal.status)
        task = asyncio.create_task(self._serve(socket, opens))
        self._live.add(task)
        task.add_done_callback(self._live.discard)
        where = f"/v1/realtime/calls/{new_id('rtc')}"
        return Response(answer, 201, {"Location": where}, media_type="application/sdp")

    async def close(self) -> None:
        """End every call."""
        for task in self._live:
            task.cancel()
        await asyncio.gather(*self._live, return_exceptions=True)

    async def _serve(self, socket: RtcSocket, opens: Pass) -> None:
        try:
            if await socket.connected():
                await self._service.talk(socket, opens)
            else:
                log.warning("a peer never connected")
        finally:
            await socket.close()

    def _fail(self) -> None:
        if "busy" in self._service.mistakes:
            raise RefusalError(429, "rate_limit_exceeded", "Too many calls.")
        if "refuses" in self._service.mistakes:
            raise RefusalError(403, "not_allowed", "This project has no WebRTC.")


class OpenAI(Service):
    """The service with calls; with the long-lived key a call brings its session along."""

    def opens(self, secret: str, session: bytes) -> Pass:
        if session and hmac.compare_digest(secret.encode(), self._key.encode()):
            asked = msgspec.to_builtins(read(session, GaSession))
            secret = self.settle(asked, ExpiresAfter())[0]
        opens = self.engine.passes.find(secret, time.time())
        if opens is None:
            raise RefusalError(401, "invalid_api_key", "Incorrect API key provided.")
        return opens


async def _parts(request: Request) -> tuple[str, bytes]:
    kind = request.headers.get("content-type", "").partition(";")[0]
    if kind == "application/sdp":
        return (await request.body()).decode(), b""
    if kind != "multipart/form-data":
        text = "Content-Type is application/sdp or multipart/form-data."
        raise RefusalError(400, "unsupported_content_type", text)
    async with request.form() as form:
        return (await _bytes(form.get("sdp"))).decode(), await _bytes(form.get("session"))


async def _bytes(part: Any) -> bytes:
    return await part.read() if isinstance(part, UploadFile) else (part or "").encode()


async def _answer(socket: RtcSocket, sdp: str) -> str:
    try:
        return await socket.answer(sdp)
    except (ValueError, AssertionError, IndexError) as error:
        await socket.close()
        raise RefusalError(400, "invalid_offer", f"The SDP makes no sense: {error}") from None


def build(options: Options) -> Starlette:
    """Return the application."""
    service = OpenAI(options, Engine(LocalSettings(send_ahead_ms=600_000), options.folder))
    calls = Calls(service)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.engine.warm()
        yield
        await calls.close()
        await service.engine.close()

    routes = [
        Route("/v1/realtime/client_secrets", service.mint, methods=["POST"]),
        WebSocketRoute("/v1/realtime", service.socket),
        calls.route,
    ]
    return Starlette(routes=routes, lifespan=lifespan)
