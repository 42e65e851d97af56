"""Mint sessions at a service that speaks OpenAI's beta shape.

Source: OpenAI API reference, POST /v1/realtime/sessions (deprecated).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from companion.providers.openai import VENDOR, ExpiresAfter, check_names
from companion.realtime_beta import beta_session, check_beta
from companion.realtime_ga import audio_format, check_session, minted
from companion.upstream import Epoch, Secret, Upstream, epoch, read_key, socket_url
from companion.wire import Auth, Grant, without_live

if TYPE_CHECKING:
    from companion.providers import MintRequest
    from companion.settings import Endpoint, OpenAIBetaSettings

MODEL = "gpt-4o-realtime-preview"
TRANSCRIPTION = "whisper-1"
VOICES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse")
_MENDS = {"beta_api_shape_disabled": '; use the GA profile: provider = "openai"'}
MARK = {"OpenAI-Beta": "realtime=v1"}


class ClientSecret(msgspec.Struct, frozen=True):
    """`client_secret` of the answer."""

    value: Secret
    expires_at: Epoch | None = None

    def __repr__(self) -> str:
        """Keep the secret out of logs and tracebacks."""
        return f"ClientSecret(value=…, expires_at={self.expires_at})"


class SessionAnswer(msgspec.Struct, frozen=True):
    """The mint's answer; `expires_at` is the session's, where a service says it."""

    client_secret: ClientSecret
    id: str | None = None
    expires_at: Epoch | None = None


class OpenAIBeta:
    """A Provider over HTTPS. The key goes into one header and nowhere else."""

    def __init__(self, settings: OpenAIBetaSettings) -> None:
        self._settings = settings
        key = read_key("openai-beta", settings)
        headers = {"Authorization": f"Bearer {key}", **MARK}
        self._upstream = Upstream(settings.base_url, settings.timeout_s, headers, mends=_MENDS)

    async def mint(self, request: MintRequest) -> Grant:
        """Ask for a session; the provider restores nothing, so the rung is seeded or fresh."""
        model = request.endpoint.model or MODEL
        settings, wish = request.endpoint.session, request.wish
        session = beta_session(
            settings, server_turns=wish.server_turns, transcription=TRANSCRIPTION, codec=wish.codec
        )
        answer = await self._ask(minted(session, settings, model))
        secret = answer.client_secret
        return Grant(
            dialect="openai-beta",
            provider="openai-beta",
            session_id=answer.id or "",
            resume=without_live(wish.turns),
            url=f"{self._socket_url()}?model={quote(model)}",
            auth=Auth("bearer", secret.value),
            headers=MARK,
            expires_at=epoch(secret.expires_at),
            session_ends_at=epoch(answer.expires_at),
            session=session,
            input=audio_format(wish.codec or settings.input_codec),
            output=audio_format(wish.codec or settings.output_codec),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._upstream.close()

    async def _ask(self, session: dict[str, Any]) -> SessionAnswer:
        life = {"expires_after": ExpiresAfter(self._settings.secret_seconds)}
        body = {**session, "client_secret": life}
        return await self._upstream.post("/v1/realtime/sessions", body, answer=SessionAnswer)

    def _socket_url(self) -> str:
        return self._settings.realtime_url or socket_url(self._settings.base_url, "/v1/realtime")


def make(settings: OpenAIBetaSettings, endpoints: dict[str, Endpoint]) -> OpenAIBeta:
    """Return the provider; ConfigError when its key or an endpoint's settings cannot be used."""
    for name, endpoint in endpoints.items():
        at = f"endpoints.{name}.session"
        check_session(at, endpoint.session)
        check_beta(at, endpoint.session)
        if settings.base_url.rstrip("/") == VENDOR:
            check_names(name, endpoint, VOICES)
    return OpenAIBeta(settings)
