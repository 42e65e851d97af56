"""Mint sessions at OpenAI, or at any service with its GA client_secrets call.

Source: OpenAI API reference, POST /v1/realtime/client_secrets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from companion.realtime import ga_session
from companion.upstream import Upstream, read_key, socket_url
from companion.wire import Auth, Grant, without_live

if TYPE_CHECKING:
    from companion.providers import MintRequest
    from companion.settings import Endpoint, OpenAISettings

MODEL = "gpt-realtime"
TRANSCRIPTION = "gpt-4o-mini-transcribe"


class ExpiresAfter(msgspec.Struct, frozen=True):
    """`seconds`: 10 to 7200."""

    seconds: int
    anchor: str = "created_at"


class SecretRequest(msgspec.Struct, frozen=True):
    """The mint's body."""

    expires_after: ExpiresAfter
    session: dict[str, Any]


class MintedSession(msgspec.Struct, frozen=True):
    """The parts of the session that matter here; `expires_at` 0 means that it is not known yet."""

    id: str = ""
    expires_at: int | None = None


class SecretAnswer(msgspec.Struct, frozen=True):
    """The mint's answer."""

    value: str
    expires_at: int
    session: MintedSession = MintedSession()


class OpenAI:
    """A Provider over HTTPS. The key goes into one header and nowhere else."""

    def __init__(self, settings: OpenAISettings) -> None:
        self._settings = settings
        key = read_key("openai", settings)
        self._upstream = Upstream(settings.base_url, settings.timeout_s, {"Authorization": f"Bearer {key}"})

    async def mint(self, request: MintRequest) -> Grant:
        """Ask for a client secret; the provider restores nothing, so the rung is seeded or fresh."""
        model = request.endpoint.model or MODEL
        settings = request.endpoint.session
        session = ga_session(settings, server_turns=request.wish.server_turns, transcription=TRANSCRIPTION)
        answer = await self._ask({**session, "model": model})
        return Grant(
            provider="openai",
            session_id=answer.session.id,
            resume=without_live(request.wish.turns),
            url=f"{self._socket_url()}?model={quote(model)}",
            auth=Auth("bearer", answer.value),
            expires_at=answer.expires_at,
            session_ends_at=answer.session.expires_at or None,
            session=session,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._upstream.close()

    async def _ask(self, session: dict[str, Any]) -> SecretAnswer:
        body = SecretRequest(ExpiresAfter(self._settings.secret_seconds), session)
        return await self._upstream.post("/v1/realtime/client_secrets", body, answer=SecretAnswer)

    def _socket_url(self) -> str:
        if self._settings.realtime_url:
            return self._settings.realtime_url
        return socket_url(self._settings.base_url, "/v1/realtime")


def make(settings: OpenAISettings, _endpoints: dict[str, Endpoint]) -> OpenAI:
    """Return the provider; ConfigError when its key or an endpoint's settings cannot be used."""
    return OpenAI(settings)
