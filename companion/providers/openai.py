"""Mint sessions at OpenAI, or at any service with its GA client_secrets call.

Source: OpenAI API reference, POST /v1/realtime/client_secrets.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import msgspec

from companion.errors import ConfigError, RequestError
from companion.realtime import ga_session
from companion.wire import Auth, Grant, without_live

if TYPE_CHECKING:
    from companion.config import OpenAISettings
    from companion.providers import MintRequest

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


class UpstreamFault(msgspec.Struct, frozen=True):
    """`error` of an upstream refusal."""

    message: str = ""
    code: str | None = None
    type: str | None = None


class UpstreamError(msgspec.Struct, frozen=True):
    """The usual envelope."""

    error: UpstreamFault | str


class OpenAI:
    """A Provider over HTTPS. The key goes into one header and nowhere else."""

    def __init__(self, settings: OpenAISettings) -> None:
        self._settings = settings
        headers = {"Authorization": f"Bearer {_key(settings)}", "Content-Type": "application/json"}
        self._http = httpx.AsyncClient(
            base_url=settings.base_url, headers=headers, timeout=settings.timeout_s
        )

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
        await self._http.aclose()

    async def _ask(self, session: dict[str, Any]) -> SecretAnswer:
        body = SecretRequest(ExpiresAfter(self._settings.secret_seconds), session)
        try:
            answer = await self._http.post("/v1/realtime/client_secrets", content=msgspec.json.encode(body))
        except httpx.TimeoutException as error:
            text = f"the provider gave no answer within {self._settings.timeout_s:g} s"
            raise RequestError(503, "provider_timeout", text, retry_after_s=2) from error
        except httpx.HTTPError as error:
            text = f"the provider at {self._settings.base_url} cannot be reached: {type(error).__name__}"
            raise RequestError(502, "provider_unreachable", text) from error
        if not answer.is_success:
            raise _refusal(answer)
        try:
            return msgspec.json.decode(answer.content, type=SecretAnswer)
        except msgspec.MsgspecError as error:
            text = f"the provider's answer is no client secret: {error}"
            raise RequestError(502, "provider_answer", text) from error

    def _socket_url(self) -> str:
        if self._settings.realtime_url:
            return self._settings.realtime_url
        scheme, _, rest = self._settings.base_url.rstrip("/").partition("://")
        return f"{'wss' if scheme == 'https' else 'ws'}://{rest}/v1/realtime"


def _key(settings: OpenAISettings) -> str:
    if settings.key_env:
        key, where = os.environ.get(settings.key_env, ""), f"the environment variable {settings.key_env}"
    else:
        where = settings.key_file
        try:
            key = Path(where).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"providers.openai: cannot read key_file {where}: {type(error).__name__}"
            ) from error
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(f"providers.openai: {where} holds no usable key")
    return key


def _refusal(answer: httpx.Response) -> RequestError:
    """Pass the status on: a device can act on 429 and 503, and must not try again after 401."""
    try:
        fault = msgspec.json.decode(answer.content, type=UpstreamError).error
        text = fault if isinstance(fault, str) else fault.message
    except msgspec.MsgspecError:
        text = answer.reason_phrase
    line = " ".join(text.split())[:300] or "no reason given"
    wait = answer.headers.get("Retry-After", "")
    return RequestError(
        answer.status_code if answer.status_code >= 400 else 502,
        "provider_refused",
        f"the provider answered {answer.status_code}: {line}",
        retry_after_s=float(wait) if wait.isdigit() else None,
    )
