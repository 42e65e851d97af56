"""Speko's mint on the wire: what is asked, and the answer in its older and its newer shape.

Source: docs.speko.dev (api-reference/sessions), spekoai 0.1.3 (proxy) and 0.2.2 (provider-direct).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from companion.errors import RequestError

GOOGLE = "google"


class Wire(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Names are camelCase on the wire; what is unset is not sent, what is unknown is not read."""


class S2s(Wire, frozen=True):
    """The model behind the session; rates in Hz."""

    provider: str
    model: str
    voice: str | UnsetType = UNSET
    system_prompt: str | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    input_sample_rate: int = 24_000
    output_sample_rate: int = 24_000
    tools: list[dict[str, Any]] | UnsetType = UNSET


class SessionsBody(Wire, frozen=True):
    """POST /v1/sessions."""

    s2s: S2s
    mode: Literal["s2s"] = "s2s"
    agent_id: str | UnsetType = UNSET
    webhook_tags: dict[str, str] | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET
    ttl_seconds: int = 900


class Credential(Wire, frozen=True):
    """The provider's own short-lived key."""

    value: str
    expires_at: str = ""

    def __repr__(self) -> str:
        return "Credential(…)"


class Telemetry(Wire, frozen=True):
    """Where the use of a provider-direct session is reported."""

    endpoint: str
    token: str
    flush_interval_ms: Annotated[int, Meta(ge=100)] = 5000

    def __repr__(self) -> str:
        return "Telemetry(…)"


class Reservation(Wire, frozen=True):
    """What of it is paid for."""

    authorized_duration_seconds: int = 1800


class DirectSession(Wire, frozen=True):
    """What the session is to be set to at the provider, as Speko has decided."""

    voice: str | None = None
    instructions: str | None = None
    tools: list[dict[str, Any]] | None = None


class Minted(Wire, frozen=True):
    """Both shapes of the answer; `transport` "provider_direct" marks the newer one."""

    session_id: str
    expires_at: str
    transport: str = ""
    ws_url: str = ""
    ws_token: str = ""
    input_sample_rate: Any = None
    output_sample_rate: Any = None
    provider: str = ""
    model: str = ""
    attempt_id: str = ""
    provider_transport: str = ""
    endpoint: str = ""
    sideband_url: str | None = None
    credential: Credential | None = None
    telemetry: Telemetry | None = None
    reservation: Reservation = Reservation()
    session: DirectSession | None = None

    def __repr__(self) -> str:
        return f"Minted({self.session_id!r}, …)"


def epoch(text: str, name: str) -> int:
    """Return an ISO-8601 time in epoch seconds. Raises RequestError that names the field."""
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError) as error:
        raise senseless(f"{name} is no time") from error


def senseless(why: str) -> RequestError:
    """Return the error for an answer that cannot be used."""
    return RequestError(502, "provider_answer", f"Speko's answer to /v1/sessions makes no sense: {why}")


def direct_settings(minted: Minted, *, server_turns: bool) -> dict[str, Any]:
    """Return the session object for the provider's own socket, as the vendor's client builds it.

    xAI has `turn_detection` and `voice` beside `audio`, OpenAI within it.
    """
    xai, own = minted.provider == "xai", minted.session or DirectSession()
    turns = {"type": "server_vad"} if server_turns else None
    pcm = {"type": "audio/pcm", "rate": 24_000}
    scribe = "grok-transcribe" if xai else "gpt-4o-mini-transcribe"
    hear: dict[str, Any] = {"format": pcm, "transcription": {"model": scribe}}
    speak: dict[str, Any] = {"format": pcm}
    session: dict[str, Any] = {"output_modalities": ["audio"], "audio": {"input": hear, "output": speak}}
    (session if xai else hear)["turn_detection"] = turns
    if xai:
        session["model"] = minted.model
    if own.voice:
        (session if xai else speak)["voice"] = own.voice
    if own.instructions is not None:
        session["instructions"] = own.instructions
    if own.tools:
        session |= {"tools": [{"type": "function", **tool} for tool in own.tools], "tool_choice": "auto"}
    return session
