"""The HTTP side of the simulated Speko: what a mint may ask for, and both shapes of its answer.

Source: Speko's API pages (POST /v1/sessions, mode s2s) and its SDKs: the proxy's answer of spekoai 0.1,
the provider-direct one of spekoai 0.2.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

LONGEST_S = 1800  # what the service grants, whatever was asked for
TOKEN_S = 60

Rate = Literal[16000, 24000]


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What a client may send; names that the service's pages do not have are refused."""


class Tool(Asked, frozen=True):
    """A function that the client carries out."""

    name: Annotated[str, Meta(min_length=1)]
    description: str
    parameters: dict[str, Any]


class S2s(Asked, frozen=True):
    """The model behind the session."""

    provider: Literal["openai", "google", "xai", "inworld", "alibaba", "speko-lab"]
    model: Annotated[str, Meta(min_length=1)]
    voice: str | None = None
    system_prompt: str | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    input_sample_rate: Rate = 24_000
    output_sample_rate: Rate = 24_000
    tools: list[Tool] = []


class SessionsRequest(Asked, frozen=True):
    """POST /v1/sessions."""

    mode: Literal["s2s"]
    s2s: S2s
    agent_id: str | None = None
    webhook_tags: dict[str, str] | None = None
    metadata: dict[str, Any] | None = None
    ttl_seconds: Annotated[int, Meta(ge=1, le=86_400)] = 900

    def __post_init__(self) -> None:
        """The tags choose among the agent's webhooks."""
        if self.webhook_tags and not self.agent_id:
            raise ValueError("webhookTags need an agentId")


class Minted(msgspec.Struct, frozen=True):
    """A session that may be connected to, once, with `token` until `expires_at` (epoch seconds)."""

    session_id: str
    token: str
    asked: S2s
    ttl_s: float
    expires_at: float


def minted(asked: SessionsRequest, now: float) -> Minted:
    """Return a new session; its length is the wished one, cut to what the service grants."""
    session_id, token = f"sess_{secrets.token_hex(8)}", secrets.token_urlsafe(24)
    return Minted(session_id, token, asked.s2s, min(asked.ttl_seconds, LONGEST_S), now + TOKEN_S)


def proxy_answer(one: Minted, http_url: str) -> dict[str, Any]:
    """Return the older shape: the service's own socket."""
    return {
        "mode": "s2s",
        "sessionId": one.session_id,
        "wsUrl": f"{http_url.replace('http', 'ws', 1)}/v1/realtime/{one.session_id}/ws",
        "wsToken": one.token,
        "inputSampleRate": one.asked.input_sample_rate,
        "outputSampleRate": one.asked.output_sample_rate,
        "expiresAt": _iso(one.expires_at),
    }


def direct_answer(one: Minted, http_url: str, now: float) -> dict[str, Any]:
    """Return the newer shape: a credential for the model's own provider, and where to report the use."""
    asked = one.asked
    adapter, transport, endpoint = _doors(http_url)[asked.provider]
    sideband = f"{http_url}/v1/sessions/{one.session_id}/sidebands/openai"
    return {
        "mode": "s2s",
        "transport": "provider_direct",
        "sessionId": one.session_id,
        "planId": "plan_1",
        "attemptId": f"att_{one.session_id}",
        "provider": asked.provider,
        "model": asked.model,
        "adapter": adapter,
        "providerTransport": transport,
        "endpoint": endpoint,
        "sidebandUrl": sideband if transport == "webrtc" else None,
        "credential": {"kind": "bearer", "value": one.token, "expiresAt": _iso(one.expires_at)},
        "telemetry": {
            "endpoint": f"{http_url}/v1/runtime-events",
            "token": f"tel_{secrets.token_hex(8)}",
            "flushIntervalMs": 5000,
        },
        "reservation": _reservation(one, now),
        "session": {
            "voice": asked.voice,
            "instructions": asked.system_prompt,
            "temperature": asked.temperature,
            "tools": [msgspec.to_builtins(tool) for tool in asked.tools],
        },
        "inputSampleRate": asked.input_sample_rate,
        "outputSampleRate": asked.output_sample_rate,
        "expiresAt": _iso(now + one.ttl_s),
    }


def _doors(http_url: str) -> dict[str, tuple[str, str, str]]:
    """Return adapter, transport and endpoint of the providers that are reached directly."""
    google = "google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContentConstrained"
    return {
        "openai": ("openai.realtime.v1", "webrtc", f"{http_url}/v1/realtime/calls"),
        "xai": ("xai.realtime.v1", "websocket", f"{http_url.replace('http', 'ws', 1)}/v1/realtime"),
        "google": ("google.live.v1", "websocket", f"wss://generativelanguage.googleapis.com/ws/{google}"),
    }


def _reservation(one: Minted, now: float) -> dict[str, Any]:
    billing = {
        "mode": "direct_entitlement",
        "state": "estimated",
        "maximumAmountMicros": "1000",
        "currency": "USD",
        "renewalUrl": None,
        "renewableUntil": None,
    }
    return {
        "id": f"r_{one.session_id}",
        "authorizedDurationSeconds": int(one.ttl_s),
        "leaseExpiresAt": _iso(now + one.ttl_s),
        "billing": billing,
    }


def _iso(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
