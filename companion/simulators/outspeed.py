"""Outspeed's stand-in: the mint, a user's own backend that passes it through, the socket, the older server.

Source: docs.outspeed.com (resume-session), outspeed-ai/voice-devtools, OutspeedSwift. Events have the shape
of OpenAI's beta. Where the socket of a client without WebRTC would be is not documented: here /v1/realtime.
"""

from __future__ import annotations

import hmac
import time
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute

from companion.local.engine import Engine
from companion.local.events import WireError
from companion.local.items import new_id
from companion.local.secrets import Pass
from companion.local.server import serve
from companion.local.settings import DEFAULTS, updated
from companion.realtime import GaSession
from companion.settings import LocalSettings
from companion.simulators import openai_mistakes, outspeed_legacy
from companion.simulators.beta import Beta, BetaSocket, Temperature
from companion.simulators.beta import ga_session as nested_session
from companion.simulators.openai_mistakes import MistakenSocket
from companion.simulators.outspeed_extras import VERBATIM, Minted, OutspeedSocket, split_turns

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from starlette.websockets import WebSocket

    from companion.local.brain import Brain
    from companion.local.items import Item, Turn
    from companion.simulators import Options
    from companion.simulators.openai_mistakes import Mistake

_ON_SOCKET = openai_mistakes.MISTAKES.keys() | openai_mistakes.ONCE.keys()  # the beta shape's
MISTAKES = (
    outspeed_legacy.MISTAKES
    | _ON_SOCKET
    | {
        "mint-fails",  # 500, which the user's own backend passes on with 200
        "busy",  # 429
        "no-secret",  # 200 with an empty session
        "unknown-session",  # no session is known any more
        "resumed-as-new-id",
        "restored-as-parts",
        "restored-first",  # before session.created
        "restored-late",  # after session.updated
        "secret-expired",
        "expires",
    }
)
_DEVICE = "outspeed"  # the local engine keeps sessions apart by device; here there is one key
_SECRET_S = 60
Name = Literal["tara", "leah", "jess", "leo", "dan", "mia", "zac", "zoe", "julia"]


class Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A name that the service does not know is refused."""


class TurnDetection(Wire, frozen=True):
    """OpenAI's fields and two of the vendor's own."""

    type: Literal["server_vad", "semantic_vad"]
    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    prefix_padding_ms: Annotated[int, Meta(ge=0)] = 300
    silence_duration_ms: Annotated[int, Meta(ge=0)] = 500
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True
    send_event_on_vad_state_change: bool = False
    rms_threshold: Annotated[float, Meta(ge=0)] = 0.0


class Transcription(Wire, frozen=True):
    """Who writes down what the user says."""

    model: Literal["whisper-v3-turbo"]


class MintBody(Wire, frozen=True):
    """POST /v1/realtime/sessions."""

    model: Literal["Orpheus-3b", "outspeed-v1"]
    modalities: tuple[Literal["text", "audio"], ...] = ("text", "audio")
    voice: Name = "tara"
    instructions: str = ""
    first_message: str = ""
    temperature: Temperature = 0.6
    tools: list[dict[str, Any]] = []
    tool_choice: str = "auto"
    max_response_output_tokens: int | Literal["inf"] = "inf"
    turn_detection: TurnDetection | None = None
    input_audio_format: Literal["pcm16"] = "pcm16"
    output_audio_format: Literal["pcm16"] = "pcm16"
    input_audio_transcription: Transcription | None = None


class RefusalError(Exception):
    """No session: a status and the words."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.answer = {"error": {"type": "invalid_request_error", "message": text, "code": None}}


class Verbatim:
    """A Brain that says what the service was told to say, and has another one think."""

    def __init__(self, brain: Brain) -> None:
        self._brain = brain

    async def reply(self, turns: Sequence[Turn], instructions: str) -> AsyncGenerator[str]:
        if instructions.startswith(VERBATIM):
            yield instructions.removeprefix(VERBATIM)
            return
        async with aclosing(self._brain.reply(turns, instructions)) as sentences:
            async for sentence in sentences:
                yield sentence

    async def close(self) -> None:
        await self._brain.close()


class Outspeed:
    """The service. Sessions are on disk; secrets and what their mint settled are in memory."""

    def __init__(self, options: Options, engine: Engine) -> None:
        self.engine = engine
        self.mistakes = options.mistakes
        self._key = options.key
        self._minted: dict[str, Minted] = {}
        self._made: set[str] = set()  # mistakes that are made once, and were

    async def sessions(self, request: Request) -> Response:
        """POST /v1/realtime/sessions[?resume_session=ID]"""
        try:
            self._check(request.headers.get("authorization", ""))
            return JSONResponse(await self.mint(request))
        except RefusalError as refusal:
            headers = {"Retry-After": "1"} if refusal.status == 429 else {}
            return JSONResponse(refusal.answer, refusal.status, headers)

    async def token(self, request: Request) -> Response:
        """POST /token[?resume_session=ID]: a user's backend that passes all on with 200, unread."""
        try:
            return JSONResponse(await self.mint(request))
        except RefusalError as refusal:
            return JSONResponse(refusal.answer)

    async def mint(self, request: Request) -> dict[str, Any]:
        """Return the session with its secret."""
        self._fail()
        body = _body(await request.body())
        resume = request.query_params.get("resume_session")
        session_id = new_id("sess") if resume is None else await self._resumed(resume)
        now, effective = time.time(), _effective(body)
        expires_at = now + (0 if "secret-expired" in self.mistakes else _SECRET_S)
        secret = self.engine.passes.add(Pass(session_id, _DEVICE, effective, expires_at), now)
        self._minted[session_id] = _minted(body, resumed=resume is not None)
        shown = {**msgspec.to_builtins(body), "id": session_id, "object": "realtime.session"}
        if "no-secret" in self.mistakes:
            return shown
        return {**shown, "client_secret": {"value": secret, "expires_at": int(expires_at)}}

    async def socket(self, socket: WebSocket) -> None:
        """GET /v1/realtime?client_secret=.."""
        secret = socket.query_params.get("client_secret", "")
        opens = self.engine.passes.find(secret, time.time())
        if opens is None:
            answer = RefusalError(401, "The client secret is unknown or has expired.").answer
            await socket.send_denial_response(JSONResponse(answer, 401))
            return
        await socket.accept()
        await self.talk(socket, opens)

    async def talk(self, socket: WebSocket, opens: Pass) -> None:
        """Serve an open socket, or what stands in for one."""

        async def past() -> Sequence[Item]:
            known = await self.engine.remembered(opens.session_id, _DEVICE)
            return known.items if known else ()

        mistaken: Any = MistakenSocket(socket, self._on_socket())
        outer: Any = OutspeedSocket(mistaken, self._minted[opens.session_id], past, self.mistakes)
        inner: Any = BetaSocket(outer, Beta(self._minted[opens.session_id].temperature))
        await serve(self.engine, inner, opens)

    async def legacy(self, socket: WebSocket) -> None:
        """The older server's socket."""
        await outspeed_legacy.talk(socket, self.engine, self.mistakes)

    def _check(self, given: str) -> None:
        if not hmac.compare_digest(given.encode(), f"Bearer {self._key}".encode()):
            raise RefusalError(401, "Incorrect API key provided")

    def _on_socket(self) -> list[Mistake]:
        once = self.mistakes & openai_mistakes.ONCE.keys() - self._made
        self._made |= once
        makers = {**openai_mistakes.MISTAKES, **{name: openai_mistakes.ONCE[name] for name in once}}
        return [make() for name, make in makers.items() if name in self.mistakes]

    def _fail(self) -> None:
        if "mint-fails" in self.mistakes:
            raise RefusalError(500, "The server had an error while processing your request")
        if "busy" in self.mistakes:
            raise RefusalError(429, "No free capacity")

    async def _resumed(self, wanted: str) -> str:
        past = await self.engine.remembered(wanted, _DEVICE)
        live = await self.engine.knows(wanted, _DEVICE)
        if not live or "unknown-session" in self.mistakes:
            raise RefusalError(404, f"Session {wanted} was not found")
        if past is None or "resumed-as-new-id" not in self.mistakes:
            return wanted
        renamed = msgspec.structs.replace(past, session_id=new_id("sess"))
        await self.engine.work(self.engine.memory.save, renamed)
        return renamed.session_id


def _body(raw: bytes) -> MintBody:
    try:
        return msgspec.json.decode(raw, type=MintBody)
    except msgspec.MsgspecError as error:
        raise RefusalError(400, f"bad session: {error}") from error


def _minted(body: MintBody, *, resumed: bool) -> Minted:
    own = split_turns(msgspec.to_builtins(body.turn_detection))[1] if body.turn_detection else {}
    return Minted(
        voice=body.voice,
        temperature=body.temperature,
        first_message="" if resumed else body.first_message,
        restores=resumed,
        turns=own,
    )


def _effective(body: MintBody) -> dict[str, Any]:
    """Return the GA session that the mint settled, without what only Outspeed knows."""
    flat = msgspec.to_builtins(body)
    for name in ("model", "voice", "temperature", "first_message"):
        del flat[name]
    if flat["turn_detection"]:
        flat["turn_detection"] = split_turns(flat["turn_detection"])[0]
    nested = {"type": "realtime", **nested_session(flat)}
    try:
        settled = updated(DEFAULTS, msgspec.convert(nested, GaSession))
    except (msgspec.ValidationError, WireError) as error:
        raise RefusalError(400, f"bad session: {error}") from error
    return {**settled, "model": body.model}


def build(options: Options) -> Starlette:
    """Return the application."""
    return serving(make(options))


def make(options: Options) -> Outspeed:
    """Return the service."""
    minutes = 0.05 if "expires" in options.mistakes else 60.0
    engine = Engine(LocalSettings(session_minutes=minutes), options.folder)
    engine.brain = Verbatim(engine.brain)
    return Outspeed(options, engine)


def serving(service: Outspeed, *more: BaseRoute) -> Starlette:
    """Return the application of a service, with more routes."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.engine.warm()
        yield
        await service.engine.close()

    routes = [
        Route("/v1/realtime/sessions", service.sessions, methods=["POST"]),
        Route("/token", service.token, methods=["POST"]),
        WebSocketRoute("/v1/realtime", service.socket),
        Route("/legacy", outspeed_legacy.address, methods=["GET"]),
        WebSocketRoute("/", service.legacy),
        *more,
    ]
    return Starlette(routes=routes, lifespan=lifespan)
