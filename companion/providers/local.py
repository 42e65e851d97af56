"""Mint sessions for the embedded realtime server."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec

from companion.errors import ConfigError, RequestError
from companion.local.events import WireError
from companion.local.items import new_id
from companion.local.secrets import Pass
from companion.local.settings import DEFAULTS, MODEL, TRANSCRIPTION, updated
from companion.realtime import GaSession
from companion.realtime_ga import audio_format, ga_session
from companion.wire import Auth, Grant, without_live

if TYPE_CHECKING:
    from companion.local.engine import Engine
    from companion.providers import MintRequest
    from companion.settings import Codec, Endpoint


class Local:
    """A Provider whose sessions live in this process and are restored from disk."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def mint(self, request: MintRequest) -> Grant:
        """Hand out a secret: for the session to resume if this device has it, else for a new one."""
        await asyncio.sleep(self._engine.settings.mint_delay_ms / 1000)
        wanted, now = request.wish.resume_session or "", time.time()
        known = await self._engine.knows(wanted, request.device)
        session_id = wanted if known else new_id("sess")
        self._check_room(session_id)
        wish, settings = request.wish, request.endpoint.session
        session, effective = _session(request.endpoint, wish.codec, server_turns=wish.server_turns)
        limits = self._engine.settings
        secret = self._engine.passes.add(
            Pass(session_id, request.device, effective, now + limits.secret_seconds), now
        )
        return Grant(
            provider="local",
            session_id=session_id,
            resume="live" if known else without_live(request.wish.turns),
            url=f"{_socket_base(request.base_url)}/v1/realtime?model={MODEL}",
            auth=Auth("bearer", secret),
            expires_at=int(now + limits.secret_seconds),
            session_ends_at=int(now + limits.session_minutes * 60),
            session=session,
            input=audio_format(wish.codec or settings.input_codec),
            output=audio_format(wish.codec or settings.output_codec),
        )

    async def close(self) -> None:
        """Stop the engine."""
        await self._engine.close()

    def _check_room(self, session_id: str) -> None:
        live, most = self._engine.live, self._engine.settings.max_sessions
        if len(live) >= most and session_id not in live:
            text = f"all {most} local sessions are taken; try again later or raise max_sessions"
            raise RequestError(503, "busy", text, retry_after_s=5)


def check_endpoint(name: str, endpoint: Endpoint) -> None:
    """Raise ConfigError when the local server would refuse this endpoint's settings."""
    if endpoint.model not in ("", MODEL):
        raise ConfigError(
            f'endpoints.{name}.model = "{endpoint.model}": the local provider has only "{MODEL}"'
        )
    try:
        _session(endpoint, None, server_turns=endpoint.session.vad != "none")
    except WireError as error:
        raise ConfigError(f"endpoints.{name}.session: {error.message} ({error.param})") from error


def _session(
    endpoint: Endpoint, codec: Codec | None, *, server_turns: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the session object for the grant, and the whole effective session."""
    session = ga_session(
        endpoint.session, server_turns=server_turns, transcription=TRANSCRIPTION, codec=codec
    )
    return session, updated(DEFAULTS, msgspec.convert(session, GaSession))


def _socket_base(base_url: str) -> str:
    scheme, _, rest = base_url.rstrip("/").partition("://")
    return f"{'wss' if scheme == 'https' else 'ws'}://{rest}"
