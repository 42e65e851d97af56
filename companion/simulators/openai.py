"""OpenAI's stand-in, GA shape: POST /v1/realtime/client_secrets and the socket /v1/realtime.

Source: OpenAI API reference, "Realtime": client_secrets, "Realtime with WebSockets".
"""

from __future__ import annotations

import hmac
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from companion.local.engine import Engine
from companion.local.events import WireError
from companion.local.items import new_id
from companion.local.secrets import Pass
from companion.local.server import disable_beta, secret_of, serve
from companion.local.settings import DEFAULTS, updated
from companion.realtime import GaSession
from companion.settings import LocalSettings
from companion.simulators import openai_mistakes
from companion.simulators.openai_mistakes import MistakenSocket
from companion.simulators.openai_vendor import VendorSocket, for_local, with_shown
from companion.strict import fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.websockets import WebSocket

    from companion.simulators import Options
    from companion.simulators.openai_mistakes import Mistake

Json = dict[str, Any]
T = TypeVar("T")

# What goes wrong before the first event; what goes wrong after it is in openai_mistakes.
_AT_THE_DOOR = {
    "rate-limited",  # the first mint is 429 with Retry-After
    "server-error",  # the first mint is 500 with a page for people
    "no-secret",  # 200, and no secret in it
    "stale-secret",  # the secret has expired when it is handed out
    "key-refused",  # the socket is accepted, then closed with 3000
    "beta-disabled",  # the socket is accepted, told so, then closed with 4000
    "upgrade-fails",  # HTTP 500 on the upgrade
    "calls-a-tool",  # the first reply is a function call
}
MISTAKES = frozenset(_AT_THE_DOOR | set(openai_mistakes.MISTAKES) | set(openai_mistakes.ONCE))
_DEVICE = "openai"  # the local engine keeps sessions apart by device; here there is one key
MODELS = ("gpt-realtime", "gpt-4o-realtime-preview", "gpt-4o-mini-realtime-preview")  # and what begins so


class ExpiresAfter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long the secret opens sessions."""

    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Meta(ge=10, le=7200)] = 600


class MintBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v1/realtime/client_secrets."""

    session: GaSession
    expires_after: ExpiresAfter = ExpiresAfter()


class RefusalError(Exception):
    """No secret: a status and OpenAI's envelope."""

    def __init__(self, status: int, code: str, text: str, param: str | None = None) -> None:
        super().__init__(text)
        self.status = status
        error = {"type": "invalid_request_error", "code": code, "message": text, "param": param}
        self.envelope = {"error": error}


class Service:
    """The service; its secrets are in memory. A secret opens any number of sessions until it expires."""

    mint_path = "/v1/realtime/client_secrets"

    def __init__(self, options: Options, engine: Engine) -> None:
        self.engine = engine
        self.mistakes = options.mistakes
        self._key = options.key
        self._shown: dict[str, Json] = {}  # minted session id -> as `for_local` says
        self._opened: set[str] = set()  # minted session ids
        self._made: set[str] = set()  # mistakes that are made once, and were

    async def mint(self, request: Request) -> Response:
        """POST the session; the answer holds the secret."""
        failed = self._failure()
        if failed:
            return failed
        try:
            self._check(request.headers.get("authorization", ""))
            return JSONResponse(self.answer(await request.body()))
        except RefusalError as refusal:
            return JSONResponse(refusal.envelope, refusal.status)

    def answer(self, raw: bytes) -> Json:
        """Return the answer to a mint's body."""
        body = read(raw, MintBody)
        secret, session, expires_at = self.settle(msgspec.to_builtins(body.session), body.expires_after)
        answer = {"value": secret, "expires_at": expires_at, "session": {**session, "expires_at": 0}}
        return {"session": answer["session"]} if "no-secret" in self.mistakes else answer

    def settle(self, session: Json, life: ExpiresAfter) -> tuple[str, Json, int]:
        """Return the secret for a checked GA session, that session as it is shown, and the secret's end."""
        model = session.pop("model", MODELS[0])
        if not model.startswith(MODELS):
            raise RefusalError(
                404, "model_not_found", f"The model '{model}' does not exist.", "session.model"
            )
        plain, shown = for_local(session)
        try:
            effective = {**updated(DEFAULTS, msgspec.convert(plain, GaSession)), "model": model}
        except WireError as error:
            raise RefusalError(400, error.code, error.message, error.param) from None
        now = time.time()
        expires_at = now - 1 if "stale-secret" in self.mistakes else now + life.seconds
        opens = Pass(new_id("sess"), _DEVICE, effective, expires_at)
        self._shown[opens.session_id] = shown
        session = with_shown({**effective, "id": opens.session_id}, shown)
        return self.engine.passes.add(opens, now), session, int(expires_at)

    async def socket(self, socket: WebSocket) -> None:
        """GET /v1/realtime?model=.. with the secret as a bearer or as a subprotocol."""
        opens = self.engine.passes.find(secret_of(socket), time.time())
        if "upgrade-fails" in self.mistakes:
            await socket.send_denial_response(Response("Internal Server Error", 500))
        elif opens is None:
            await refuse(socket, 401, "invalid_api_key", "Incorrect API key provided.")
        elif socket.query_params.get("model", opens.effective["model"]) != opens.effective["model"]:
            await refuse(socket, 400, "model_not_found", "The secret was made for another model.")
        else:
            await self.accepted(socket, opens, wants_beta=_wants_beta(socket))

    async def accepted(self, socket: WebSocket, opens: Pass, *, wants_beta: bool) -> None:
        """Serve a client that showed its secret."""
        await socket.accept(subprotocol="realtime" if "realtime" in socket.scope["subprotocols"] else None)
        if "key-refused" in self.mistakes:
            await socket.close(3000, "invalid_request_error.invalid_api_key")
        elif wants_beta or "beta-disabled" in self.mistakes:
            await disable_beta(socket)
        else:
            await self.talk(MistakenSocket(socket, self._on_socket()), opens)

    async def talk(self, socket: Any, opens: Pass) -> None:
        """Serve an open socket of the GA shape: the minted session, or another one with its settings."""
        vendor: Any = VendorSocket(
            socket, self._shown[opens.session_id], calls_a_tool="calls-a-tool" in self.mistakes
        )
        if opens.session_id in self._opened:
            opens = msgspec.structs.replace(opens, session_id=new_id("sess"))
        self._opened.add(opens.session_id)
        await serve(self.engine, vendor, opens)

    def _on_socket(self) -> list[Mistake]:
        made = [make() for name, make in openai_mistakes.MISTAKES.items() if name in self.mistakes]
        return made + [make() for name, make in openai_mistakes.ONCE.items() if self._first(name)]

    def _failure(self) -> Response | None:
        if self._first("rate-limited"):
            envelope = RefusalError(429, "rate_limit_exceeded", "Rate limit reached for requests.").envelope
            return JSONResponse(envelope, 429, {"Retry-After": "1"})
        if self._first("server-error"):
            return HTMLResponse("<html><body>Bad things happened.</body></html>", 500)
        return None

    def _first(self, mistake: str) -> bool:
        due = mistake in self.mistakes and mistake not in self._made
        self._made.add(mistake)
        return due

    def _check(self, given: str) -> None:
        if not hmac.compare_digest(given.encode(), f"Bearer {self._key}".encode()):
            raise RefusalError(401, "invalid_api_key", "Incorrect API key provided.")


def read(raw: bytes, kind: type[T]) -> T:
    """Read a mint's body strictly, or refuse it with the parameter named."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        found = fault(error)
        code = "unknown_parameter" if found.kind == "unknown" else "invalid_value"
        text = f"Invalid '{found.path}': {found.text}."
        raise RefusalError(400, code, text, found.path) from None
    except msgspec.DecodeError:
        raise RefusalError(400, "invalid_json", "We could not parse the JSON body of your request.") from None


async def refuse(socket: WebSocket, status: int, code: str, text: str) -> None:
    """Refuse an upgrade with OpenAI's envelope."""
    await socket.send_denial_response(JSONResponse(RefusalError(status, code, text).envelope, status))


def _wants_beta(socket: WebSocket) -> bool:
    return "openai-beta.realtime-v1" in socket.scope["subprotocols"] or "openai-beta" in socket.headers


def build(options: Options) -> Starlette:
    """Return the application."""
    engine = new_engine(options)
    return serving(engine, routes(Service(options, engine)))


def new_engine(options: Options) -> Engine:
    """Return an engine that sends as fast as it can, as the vendor does."""
    return Engine(LocalSettings(send_ahead_ms=600_000, replies_per_minute=6000), options.folder)


def routes(service: Service) -> list[BaseRoute]:
    """Return the service's two paths."""
    return [
        Route(service.mint_path, service.mint, methods=["POST"]),
        WebSocketRoute("/v1/realtime", service.socket),
    ]


def serving(engine: Engine, paths: list[BaseRoute]) -> Starlette:
    """Return an application that ends with its engine."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        engine.warm()
        yield
        await engine.close()

    return Starlette(routes=paths, lifespan=lifespan)
