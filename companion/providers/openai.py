"""Mint sessions at OpenAI, or at any service with its GA client_secrets call.

Source: OpenAI API reference, POST /v1/realtime/client_secrets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from companion.errors import ConfigError
from companion.realtime_ga import audio_format, check_session, ga_session, minted
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
        settings, wish = request.endpoint.session, request.wish
        session = ga_session(
            settings, server_turns=wish.server_turns, transcription=TRANSCRIPTION, codec=wish.codec
        )
        answer = await self._ask(minted(session, settings, model))
        return Grant(
            provider="openai",
            session_id=answer.session.id,
            resume=without_live(request.wish.turns),
            url=f"{self._socket_url()}?model={quote(model)}",
            auth=Auth("bearer", answer.value),
            expires_at=answer.expires_at,
            session_ends_at=answer.session.expires_at or None,
            session=session,
            input=audio_format(wish.codec or settings.input_codec),
            output=audio_format(wish.codec or settings.output_codec),
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


def make(settings: OpenAISettings, endpoints: dict[str, Endpoint]) -> OpenAI:
    """Return the provider; ConfigError when its key or an endpoint's settings cannot be used."""
    for name, endpoint in endpoints.items():
        at = f"endpoints.{name}.session"
        check_session(at, endpoint.session)
        if endpoint.session.temperature is not None:
            raise ConfigError(f'{at}.temperature: GA has none; it is for provider = "openai-beta"')
    return OpenAI(settings)
