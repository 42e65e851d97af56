"""OpenAI's WebRTC door: POST /v1/realtime/calls takes an SDP offer and a peer serves the session.

Source: OpenAI API reference, "Create call"; the guide "Realtime API with WebRTC".
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from companion.local.engine import Engine
from companion.local.events import WireError
from companion.local.items import new_id
from companion.local.secrets import Pass
from companion.local.server import serve
from companion.local.settings import DEFAULTS, updated
from companion.realtime import GaSession
from companion.simulators import rtc
from companion.simulators.rtc import RtcSocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request

    from companion.simulators import Options

log = logging.getLogger(__name__)

MISTAKES = rtc.MISTAKES | {"busy", "refuses"}
_DEVICE = "openai"
_SECRET_S = 600


class Calls:
    """The route for one service. `key`: the long-lived one, which may bring a session along.

    `wrap` puts what the vendor adds between the peer and the server.
    """

    def __init__(
        self,
        engine: Engine,
        key: str,
        mistakes: frozenset[str] = frozenset(),
        wrap: Callable[[Any], Any] = lambda socket: socket,
        device: str = _DEVICE,
    ) -> None:
        self.route = Route("/v1/realtime/calls", self.create, methods=["POST"])
        self.live: set[asyncio.Task[None]] = set()
        self._engine = engine
        self._key = key
        self._mistakes = mistakes
        self._wrap = wrap
        self._device = device

    async def create(self, request: Request) -> Response:
        """POST /v1/realtime/calls: application/sdp, or multipart with `sdp` and `session`."""
        if "busy" in self._mistakes:
            return _error(429, "rate_limit_exceeded", "Too many calls")
        if "refuses" in self._mistakes:
            return _error(403, "not_allowed", "This project has no WebRTC")
        try:
            sdp, session = await _parts(request)
            opens = self._pass(request.headers.get("authorization", ""), session)
        except (msgspec.DecodeError, WireError, ValueError) as error:
            return _error(400, "invalid_request", f"bad call: {error}")
        if opens is None:
            return _error(401, "invalid_api_key", "Incorrect API key provided")
        socket = RtcSocket(self._mistakes)
        try:
            answer = await socket.answer(sdp)
        except (ValueError, AssertionError) as error:
            return _error(400, "invalid_offer", f"bad SDP: {error}")
        task = asyncio.create_task(self._serve(socket, opens))
        self.live.add(task)
        task.add_done_callback(self.live.discard)
        where = f"/v1/realtime/calls/{new_id('rtc')}"
        return Response(answer, 201, {"Location": where}, media_type="application/sdp")

    async def close(self) -> None:
        """End every call."""
        for task in self.live:
            task.cancel()
        await asyncio.gather(*self.live, return_exceptions=True)

    async def _serve(self, socket: RtcSocket, opens: Pass) -> None:
        try:
            if await socket.connected():
                await serve(self._engine, self._wrap(socket), opens)
            else:
                log.warning("a peer never connected")
        finally:
            await socket.close()

    def _pass(self, given: str, session: dict[str, Any] | None) -> Pass | None:
        secret = given.removeprefix("Bearer ")
        opens = self._engine.passes.find(secret, time.time())
        if opens is None and hmac.compare_digest(secret.encode(), self._key.encode()):
            opens = Pass(new_id("sess"), self._device, DEFAULTS, time.time() + _SECRET_S)
        if opens is None or session is None:
            return opens
        return msgspec.structs.replace(opens, effective=_settled(session))


async def _parts(request: Request) -> tuple[str, dict[str, Any] | None]:
    kind = request.headers.get("content-type", "").partition(";")[0]
    if kind == "application/sdp":
        return (await request.body()).decode(), None
    if kind != "multipart/form-data":
        raise ValueError("Content-Type is application/sdp or multipart/form-data")
    async with request.form() as form:
        sdp = await _text(form.get("sdp"))
        session = await _text(form.get("session"))
    return sdp, msgspec.json.decode(session, type=dict[str, Any]) if session else None


async def _text(part: Any) -> str:
    return (await part.read()).decode() if isinstance(part, UploadFile) else part or ""


def _settled(session: dict[str, Any]) -> dict[str, Any]:
    change = msgspec.convert(session, GaSession)
    model = session.get("model", DEFAULTS["model"])
    return updated({**DEFAULTS, "model": model}, change)


def _error(status: int, code: str, text: str) -> JSONResponse:
    kind = "rate_limit_error" if status == 429 else "invalid_request_error"
    return JSONResponse({"error": {"type": kind, "code": code, "message": text, "param": None}}, status)


def build(options: Options) -> Starlette:
    """Return a service that has calls alone: the key opens them, and the session comes along."""
    from companion.settings import LocalSettings  # noqa: PLC0415

    engine = Engine(LocalSettings(), options.folder)
    calls = Calls(engine, options.key, options.mistakes)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        engine.warm()
        yield
        await calls.close()
        await engine.close()

    return Starlette(routes=[calls.route], lifespan=lifespan)
