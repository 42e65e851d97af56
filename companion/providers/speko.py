"""Mint speech-to-speech sessions at Speko: its proxy socket, or the model's own provider directly.

Source: docs.speko.dev (sdk/realtime, api-reference/sessions), spekoai 0.1.3 and 0.2.2.
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
from msgspec import UNSET

from companion.errors import ConfigError, RequestError
from companion.providers.speko_use import Reporter
from companion.providers.speko_wire import (
    GOOGLE,
    Credential,
    Minted,
    S2s,
    SessionsBody,
    direct_settings,
    epoch,
    senseless,
)
from companion.upstream import Upstream, read_key, socket_url
from companion.wire import AudioFormat, Auth, Grant, without_live

if TYPE_CHECKING:
    from typing import Any

    from companion.gateway.gateway import Gateway
    from companion.providers import MintRequest
    from companion.settings import Endpoint, SessionSettings, SpekoSettings, Tool

MODELS = {"openai": "gpt-realtime", "xai": "grok-voice-latest"}
_RATES = (16_000, 24_000)
_ITS_OWN = {"voice", "instructions", "tools"}  # of the session's settings; the others are not Speko's


class Speko:
    """A Provider over HTTPS. The key goes into one header and nowhere else."""

    def __init__(self, settings: SpekoSettings, gateway: Gateway | None = None) -> None:
        self._gateway = gateway
        self._reporter = Reporter()
        headers = {"Authorization": f"Bearer {read_key('speko', settings)}"}
        self._upstream = Upstream(settings.base_url, settings.timeout_s, headers)

    async def mint(self, request: MintRequest) -> Grant:
        """Ask for a session and say how the device reaches it, whichever shape the answer has."""
        body = sessions_body(request)
        key = {"Idempotency-Key": str(uuid.uuid4())}
        minted = await self._upstream.post("/v1/sessions", body, answer=Minted, headers=key)
        if minted.transport == "provider_direct":
            return self._direct(request, minted)
        if minted.transport:
            raise senseless(f"the transport {minted.transport!r:.60} is not known here")
        return _proxied(request, body, minted)

    async def close(self) -> None:
        """Close the connections, once the last reports are out."""
        await self._reporter.close()
        await self._upstream.close()

    def _direct(self, request: MintRequest, minted: Minted) -> Grant:
        """Grant a session at the model's own provider, in OpenAI's GA shape or something close to it."""
        if minted.provider == GOOGLE:
            text = (
                "Speko leads to Google's own socket, which is not spoken here; choose another speko.provider"
            )
            raise RequestError(422, "provider_unsupported", text)
        credential = minted.credential
        if credential is None or not credential.value:
            raise senseless("there is no credential")
        session = direct_settings(minted, server_turns=request.wish.server_turns)
        expires_at = epoch(credential.expires_at or minted.expires_at, "credential.expiresAt")
        url, auth = self._way(request, minted, credential, session, expires_at)
        return Grant(
            provider="speko",
            dialect="openai",
            session_id=minted.session_id,
            resume=without_live(request.wish.turns),
            url=url,
            auth=auth,
            expires_at=expires_at,
            session_ends_at=_ends_at(request, minted.reservation.authorized_duration_seconds),
            session=session,
        )

    def _way(
        self,
        request: MintRequest,
        minted: Minted,
        credential: Credential,
        session: dict[str, Any],
        expires_at: int,
    ) -> tuple[str, Auth]:
        """Return where the device connects: xAI's socket, or the gateway to OpenAI's WebRTC."""
        match minted.provider, minted.provider_transport:
            case "xai", "websocket" if minted.endpoint.startswith(("wss://", "ws://")):
                url = f"{minted.endpoint}?model={quote(minted.model)}"
                return url, Auth("subprotocol", f"xai-client-secret.{credential.value}")
            case "openai", "webrtc":
                return self._call(request, minted, credential, session, expires_at)
        way = f"{minted.provider!r:.60} by {minted.provider_transport!r:.60} at {minted.endpoint!r:.200}"
        raise senseless(f"there is no way to {way}")

    def _call(
        self,
        request: MintRequest,
        minted: Minted,
        credential: Credential,
        session: dict[str, Any],
        expires_at: int,
    ) -> tuple[str, Auth]:
        if self._gateway is None:
            text = 'Speko leads to OpenAI over WebRTC, which needs the gateway: pip install "pressel[webrtc]"'
            raise RequestError(503, "gateway_missing", text)
        from companion.providers.speko_leg import make_leg  # noqa: PLC0415 - only WebRTC has it

        leg = make_leg(minted, credential.value, session, self._reporter)
        path, secret = self._gateway.add(leg, request.device, expires_at)
        return socket_url(request.base_url, path), Auth("bearer", secret)


def sessions_body(request: MintRequest) -> SessionsBody:
    """Return what is asked for. A device that wants a thin link sends 16 kHz: there is nothing thinner."""
    endpoint, own = request.endpoint, request.endpoint.speko
    thin = request.wish.codec in ("g711_ulaw", "g711_alaw")
    model = S2s(
        provider=own.provider,
        model=endpoint.model or MODELS[own.provider],
        voice=endpoint.session.voice_name or UNSET,
        system_prompt=endpoint.session.instructions or UNSET,
        temperature=UNSET if own.temperature is None else own.temperature,
        input_sample_rate=16_000 if thin else own.input_rate,
        output_sample_rate=own.output_rate,
        tools=[_tool(one) for one in endpoint.session.tools] or UNSET,
    )
    return SessionsBody(
        s2s=model,
        agent_id=own.agent_id or UNSET,
        webhook_tags=own.webhook_tags or UNSET,
        metadata={"device": request.device, **own.metadata},
        ttl_seconds=own.session_seconds,
    )


def _tool(tool: Tool) -> dict[str, Any]:
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters or {"type": "object", "properties": {}},
    }


def _proxied(request: MintRequest, body: SessionsBody, minted: Minted) -> Grant:
    """Grant Speko's own socket; it restores nothing and takes no turns, so the rung is fresh."""
    if not minted.ws_url.startswith(("wss://", "ws://")) or not minted.ws_token:
        raise senseless("there is no wsUrl with a wsToken")
    notice = ""
    if request.wish.server_turns:
        notice = 'Speko cannot be asked to find where turns end: talk.turn_end = "client" is safe'
    return Grant(
        provider="speko",
        dialect="speko",
        session_id=minted.session_id,
        resume="fresh",
        url=minted.ws_url,
        auth=Auth("subprotocol", minted.ws_token),
        expires_at=epoch(minted.expires_at, "expiresAt"),
        session_ends_at=_ends_at(request),
        session={},
        input=_rate(minted.input_sample_rate, body.s2s.input_sample_rate),
        output=_rate(minted.output_sample_rate, body.s2s.output_sample_rate),
        notice=notice,
    )


def _rate(given: Any, asked: int) -> AudioFormat:
    return AudioFormat(rate=next((rate for rate in _RATES if rate == given), asked))


def _ends_at(request: MintRequest, most_s: int = 1800) -> int:
    """The answer does not tell when the session ends; its wished length counts from the mint on."""
    return int(time.time()) + min(request.endpoint.speko.session_seconds, most_s)


def make(settings: SpekoSettings, endpoints: dict[str, Endpoint], gateway: Gateway | None = None) -> Speko:
    """Return the provider; ConfigError when its key or an endpoint's settings cannot be used."""
    for name, endpoint in endpoints.items():
        _check(name, endpoint)
    return Speko(settings, gateway)


def _check(name: str, endpoint: Endpoint) -> None:
    own = endpoint.speko
    if not endpoint.model and own.provider not in MODELS:
        raise ConfigError(
            f'endpoints.{name}.model is missing: Speko wants the name of a model of "{own.provider}"'
        )
    if own.webhook_tags and not own.agent_id:
        raise ConfigError(f"endpoints.{name}.speko.webhook_tags: they need an agent_id")
    if endpoint.session.voice and not endpoint.session.voice_name:
        raise ConfigError(f"endpoints.{name}.session.voice: Speko takes a voice's name alone")
    for key in _changed(endpoint.session):
        raise ConfigError(f"endpoints.{name}.session.{key}: Speko has no such setting; leave it out")


def _changed(session: SessionSettings) -> list[str]:
    """Return the settings that are not left alone and that Speko has not."""
    plain = type(session)()
    names = (field.name for field in msgspec.structs.fields(session))
    return [one for one in names if one not in _ITS_OWN and getattr(session, one) != getattr(plain, one)]
