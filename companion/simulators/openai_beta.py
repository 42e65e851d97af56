"""OpenAI's stand-in, beta shape: POST /v1/realtime/sessions and the socket /v1/realtime with its beta marker.

Source: OpenAI API reference, POST /v1/realtime/sessions (deprecated); openai-realtime-api-beta.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from companion.realtime import GaSession
from companion.simulators import openai
from companion.simulators.beta import Beta, BetaSession, BetaSocket, beta_name, beta_session, ga_session
from companion.simulators.openai import (
    ExpiresAfter,
    RefusalError,
    Service,
    new_engine,
    read,
    refuse,
    routes,
    serving,
)
from companion.strict import fault

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.websockets import WebSocket

    from companion.local.engine import Engine
    from companion.local.secrets import Pass
    from companion.simulators import Options

Json = dict[str, Any]
MISTAKES = openai.MISTAKES


class ClientSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`client_secret` of the mint's body."""

    expires_after: ExpiresAfter = ExpiresAfter(seconds=60)


class MintBody(BetaSession, frozen=True, forbid_unknown_fields=True):
    """POST /v1/realtime/sessions: the flat session, and how long the secret lives."""

    client_secret: ClientSecret = ClientSecret()


class BetaService(Service):
    """The same service in its older clothes."""

    mint_path = "/v1/realtime/sessions"

    def __init__(self, options: Options, engine: Engine) -> None:
        super().__init__(options, engine)
        self._temperatures: dict[str, float] = {}  # of minted sessions

    def answer(self, raw: bytes) -> Json:
        """Return the answer to a mint's body."""
        flat = msgspec.to_builtins(read(raw, MintBody))
        life = msgspec.convert(flat.pop("client_secret")["expires_after"], ExpiresAfter)
        temperature = flat.pop("temperature", 0.8)
        secret, session, expires_at = self.settle(_ga(flat), life)
        self._temperatures[session["id"]] = temperature
        answer = beta_session(session, temperature)
        if "no-secret" in self.mistakes:
            return answer
        return {**answer, "client_secret": {"value": secret, "expires_at": expires_at}}

    async def accepted(self, socket: WebSocket, opens: Pass, *, wants_beta: bool) -> None:
        """Serve a client that showed its secret and says that it speaks beta."""
        if wants_beta:
            await super().accepted(socket, opens, wants_beta=False)
        else:
            text = "You must send the header OpenAI-Beta: realtime=v1."
            await refuse(socket, 400, "missing_beta_header", text)

    async def talk(self, socket: Any, opens: Pass) -> None:
        """Serve an open socket of the beta shape."""
        await super().talk(BetaSocket(socket, Beta(self._temperatures[opens.session_id])), opens)


def _ga(flat: Json) -> Json:
    """Return the flat session as a checked GA one, or refuse it in beta's names."""
    try:
        checked = msgspec.convert({"type": "realtime", **ga_session(flat)}, GaSession)
    except msgspec.ValidationError as error:
        found = fault(error)
        param = beta_name(found.path)
        code = "unknown_parameter" if found.kind == "unknown" else "invalid_value"
        raise RefusalError(400, code, f"Invalid '{param}': {found.text}.", param) from None
    session: Json = msgspec.to_builtins(checked)
    return session


def build(options: Options) -> Starlette:
    """Return the application."""
    engine = new_engine(options)
    return serving(engine, routes(BetaService(options, engine)))
