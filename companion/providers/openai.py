"""Mint sessions at OpenAI, or at any service with its GA client_secrets call.

Source: OpenAI API reference, POST /v1/realtime/client_secrets.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from companion.errors import ConfigError
from companion.realtime_ga import audio_format, check_session, ga_session, minted
from companion.upstream import Epoch, Secret, Upstream, epoch, read_key, socket_url
from companion.wire import Auth, Grant, without_live

if TYPE_CHECKING:
    from collections.abc import Sequence

    from companion.gateway.gateway import Gateway
    from companion.providers import MintRequest
    from companion.settings import Codec, Endpoint, OpenAISettings

VENDOR = "https://api.openai.com"
MODEL = "gpt-realtime"
FAMILIES = ("gpt-realtime", "gpt-audio", "gpt-4o-realtime-preview", "gpt-4o-mini-realtime-preview")
VOICES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")
TRANSCRIPTION = "gpt-4o-mini-transcribe"

_PLAIN = "the way to OpenAI over WebRTC takes pcm16 alone: backend.codec is not honoured there"


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

    id: str | None = None
    expires_at: Epoch | None = None


class SecretAnswer(msgspec.Struct, frozen=True):
    """The mint's answer; of the many services that speak it, some send the secret alone."""

    value: Secret
    expires_at: Epoch | None = None
    session: MintedSession | None = None

    def __repr__(self) -> str:
        """Keep the secret out of logs and tracebacks."""
        return f"SecretAnswer(value=…, expires_at={self.expires_at})"


class OpenAI:
    """A Provider over HTTPS. The key goes into one header and nowhere else."""

    def __init__(self, settings: OpenAISettings, gateway: Gateway | None = None) -> None:
        self._settings = settings
        self._gateway = gateway
        key = read_key("openai", settings)
        self._upstream = Upstream(settings.base_url, settings.timeout_s, {"Authorization": f"Bearer {key}"})

    async def mint(self, request: MintRequest) -> Grant:
        """Ask for a client secret; the provider restores nothing, so the rung is seeded or fresh."""
        model = request.endpoint.model or MODEL
        settings, wish = request.endpoint.session, request.wish
        rtc = request.endpoint.openai.transport == "webrtc"
        codec: Codec | None = "pcm16" if rtc else wish.codec  # the gateway carries nothing else
        session = ga_session(
            settings, server_turns=wish.server_turns, transcription=TRANSCRIPTION, codec=codec
        )
        answer = await self._ask(minted(session, settings, model))
        url, secret = self._way(request, answer, model)
        known = answer.session or MintedSession()
        return Grant(
            provider="openai",
            session_id=known.id or "",
            resume=without_live(request.wish.turns),
            url=url,
            auth=Auth("bearer", secret),
            expires_at=epoch(answer.expires_at),
            session_ends_at=epoch(known.expires_at),
            session=session,
            input=audio_format(codec or settings.input_codec),
            output=audio_format(codec or settings.output_codec),
            notice=_PLAIN if rtc and wish.codec not in (None, "pcm16") else "",
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._upstream.close()

    async def _ask(self, session: dict[str, Any]) -> SecretAnswer:
        body = SecretRequest(ExpiresAfter(self._settings.secret_seconds), session)
        return await self._upstream.post("/v1/realtime/client_secrets", body, answer=SecretAnswer)

    def _way(self, request: MintRequest, answer: SecretAnswer, model: str) -> tuple[str, str]:
        """Return where the device connects, and the secret that it shows there."""
        if request.endpoint.openai.transport == "webrtc":
            from companion.gateway.openai import OpenAICallLeg  # noqa: PLC0415 - only WebRTC has it

            assert self._gateway  # noqa: S101 - `make` has looked
            leg = OpenAICallLeg(f"{self._settings.base_url.rstrip('/')}/v1/realtime/calls", answer.value)
            ends_at = epoch(answer.expires_at) or time.time() + self._settings.secret_seconds
            path, secret = self._gateway.add(leg, request.device, ends_at)
            return socket_url(request.base_url, path), secret
        base = self._settings.realtime_url or socket_url(self._settings.base_url, "/v1/realtime")
        return f"{base}?model={quote(model)}", answer.value


def make(settings: OpenAISettings, endpoints: dict[str, Endpoint], gateway: Gateway | None = None) -> OpenAI:
    """Return the provider; ConfigError when its key or an endpoint's settings cannot be used."""
    for name, endpoint in endpoints.items():
        at = f"endpoints.{name}.session"
        check_session(at, endpoint.session)
        if settings.base_url.rstrip("/") == VENDOR:  # other services have names of their own
            check_names(name, endpoint, VOICES)
        if endpoint.session.temperature is not None:
            raise ConfigError(f'{at}.temperature: GA has none; it is for provider = "openai-beta"')
        if endpoint.openai.transport == "webrtc" and gateway is None:
            raise ConfigError(
                f'endpoints.{name}.openai: WebRTC needs the gateway: pip install "pressel[webrtc]"'
            )
    return OpenAI(settings, gateway)


def check_names(name: str, endpoint: Endpoint, voices: Sequence[str]) -> None:
    """Raise ConfigError for a model or a voice that OpenAI does not have."""
    model, voice = endpoint.model, endpoint.session.voice_name
    if model and not model.startswith(FAMILIES):
        at = f'endpoints.{name}.model = "{model}"'
        raise ConfigError(f"{at}: OpenAI's realtime models begin with {', '.join(FAMILIES)}")
    if voice and voice not in voices:
        at = f'endpoints.{name}.session.voice = "{voice}"'
        raise ConfigError(f"{at}: OpenAI has {', '.join(voices)}")
