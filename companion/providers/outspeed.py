"""Mint sessions at Outspeed, resume them there, or find a self-hosted function of its older kind.

Source: docs.outspeed.com (resume-session), outspeed-ai/voice-devtools, OutspeedSwift; PyPI outspeed 0.2.12.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import UNSET, UnsetType

from companion.errors import ConfigError, RequestError
from companion.realtime import Function, SemanticVad
from companion.realtime_ga import functions, turn_detection
from companion.settings import SessionSettings
from companion.upstream import Upstream, read_key, socket_url
from companion.wire import Auth, Grant, without_live

if TYPE_CHECKING:
    from companion.gateway.gateway import Gateway
    from companion.providers import MintRequest
    from companion.settings import Endpoint, OutspeedSettings

MODEL = "Orpheus-3b"
TRANSCRIPTION = "whisper-v3-turbo"
VOICES = ("tara", "leah", "jess", "leo", "dan", "mia", "zac", "zoe", "julia")
_HAS_NOT = (
    "speed",
    "noise_reduction",
    "language",
    "transcription_prompt",
    "output_modality",
    "input_codec",
    "output_codec",
    "prompt",
    "truncation",
    "tracing",
    "tool_choice",
    "vad_idle_timeout_ms",
)
_SECRET_S = 60  # where the service does not say how long a secret lives
# Refusals that have nothing to do with the session to be resumed: it may be there the next time.
_NOT_ABOUT_THE_ID = {401, 403, 429, 502, 503}


class TurnDetection(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server finds the ends of turns; its edges of speech are told only on request."""

    type: Literal["server_vad", "semantic_vad"]
    create_response: bool
    interrupt_response: bool
    threshold: float | UnsetType = UNSET
    prefix_padding_ms: int | UnsetType = UNSET
    silence_duration_ms: int | UnsetType = UNSET
    eagerness: str | UnsetType = UNSET
    rms_threshold: float | UnsetType = UNSET
    send_event_on_vad_state_change: bool = True


class Transcription(msgspec.Struct, frozen=True):
    """Which model writes down what the user says."""

    model: str = TRANSCRIPTION


class SessionBody(msgspec.Struct, frozen=True):
    """The flat session of OpenAI's beta shape, as far as Outspeed has it."""

    voice: str
    temperature: float | UnsetType
    turn_detection: TurnDetection | None
    input_audio_transcription: Transcription | None
    instructions: str | UnsetType = UNSET
    tools: list[Function] | UnsetType = UNSET
    max_response_output_tokens: int | UnsetType = UNSET
    modalities: tuple[str, ...] = ("text", "audio")
    input_audio_format: str = "pcm16"
    output_audio_format: str = "pcm16"


class Secret(msgspec.Struct, frozen=True):
    """`expires_at`: epoch seconds."""

    value: str
    expires_at: int | None = None

    def __repr__(self) -> str:
        return "Secret(…)"


class Minted(msgspec.Struct, frozen=True):
    """The mint's answer."""

    client_secret: Secret
    id: str = ""


class Address(msgspec.Struct, frozen=True):
    """A function's answer: where its socket is, as http."""

    address: str


class Outspeed:
    """A Provider over HTTPS. The key goes into one header and nowhere else."""

    def __init__(self, settings: OutspeedSettings, key: str, gateway: Gateway | None = None) -> None:
        self._settings = settings
        self._gateway = gateway
        headers = {"Authorization": f"Bearer {key}"}
        self._upstream = Upstream(settings.base_url, settings.timeout_s, headers)

    async def mint(self, request: MintRequest) -> Grant:
        """Ask for a session, the one to be resumed if there is one; else for a new one, and say so.

        Greetings are for hands-free talks: by the button it is the user who speaks first.
        """
        if request.endpoint.outspeed.function_url:
            return await self._function(request)
        body = session_body(request.endpoint, server_turns=request.wish.server_turns)
        resume = request.wish.resume_session
        if resume is None:
            return self._grant(request, body, await self._ask(request, body))
        try:
            return self._grant(request, body, await self._ask(request, body, resume), resumed=True)
        except RequestError as refusal:
            if refusal.status in _NOT_ABOUT_THE_ID and refusal.code != "provider_answer":
                raise
            notice = f"the conversation could not be resumed: {refusal}; a new one has begun"
        return self._grant(request, body, await self._ask(request, body), notice=notice)

    async def close(self) -> None:
        """Close the connections."""
        await self._upstream.close()

    async def _ask(self, request: MintRequest, body: SessionBody, resume: str | None = None) -> Minted:
        asked = {"model": request.endpoint.model or MODEL, **msgspec.to_builtins(body)}
        params = None if resume is None else {"resume_session": resume}
        greets = resume is None and request.wish.server_turns
        if greets and request.endpoint.outspeed.first_message:
            asked["first_message"] = request.endpoint.outspeed.first_message
        return await self._upstream.post("/v1/realtime/sessions", asked, answer=Minted, params=params)

    def _grant(
        self,
        request: MintRequest,
        body: SessionBody,
        minted: Minted,
        *,
        resumed: bool = False,
        notice: str = "",
    ) -> Grant:
        """Promise "live" only where the service took the id; the device believes it when context comes."""
        session: dict[str, Any] = msgspec.to_builtins(body)
        if request.wish.server_turns and request.endpoint.outspeed.welcome_back:
            session["welcome_back"] = request.endpoint.outspeed.welcome_back
        url, auth = self._way(request, minted.client_secret)
        return Grant(
            provider="outspeed",
            dialect="outspeed",
            session_id=minted.id,
            resume="live" if resumed else without_live(request.wish.turns),
            url=url,
            auth=auth,
            expires_at=minted.client_secret.expires_at,
            session_ends_at=None,
            session=session,
            notice="; ".join(filter(None, [notice, _thin(request)])),
        )

    def _way(self, request: MintRequest, secret: Secret) -> tuple[str, Auth]:
        """Return where the device connects: the owner's WebSocket, or the gateway to WebRTC."""
        model = request.endpoint.model or MODEL
        if request.endpoint.outspeed.transport == "websocket":
            url = f"{self._settings.realtime_url}?model={quote(model)}"
            return url, Auth("query", f"client_secret={quote(secret.value, safe='')}")
        from companion.gateway.outspeed import OutspeedLeg  # noqa: PLC0415 - only WebRTC has it

        assert self._gateway  # noqa: S101 - `make` has looked
        leg = OutspeedLeg(socket_url(self._settings.base_url, "/v1/realtime/ws"), secret.value, model)
        ends_at = secret.expires_at or time.time() + _SECRET_S
        path, value = self._gateway.add(leg, request.device, ends_at)
        return socket_url(request.base_url, path), Auth("bearer", value)

    async def _function(self, request: MintRequest) -> Grant:
        """Ask a self-hosted function where its socket is; it has no secrets and remembers nothing."""
        base, path = _split(request.endpoint.outspeed.function_url)
        upstream = Upstream(base, self._settings.timeout_s)
        try:
            found = await upstream.get(path, answer=Address)
        finally:
            await upstream.close()
        if not found.address.startswith(("http://", "https://")):
            raise RequestError(502, "provider_answer", "the function's address is no http address")
        return Grant(
            provider="outspeed",
            dialect="outspeed-legacy",
            session_id="",
            resume="fresh",
            url=socket_url(found.address, ""),
            auth=Auth("none", ""),
            expires_at=None,
            session_ends_at=None,
            session={},
        )


def _thin(request: MintRequest) -> str:
    wanted = request.wish.codec
    return "" if wanted in (None, "pcm16") else f"Outspeed has no {wanted}; sound goes as pcm16"


def session_body(endpoint: Endpoint, *, server_turns: bool) -> SessionBody:
    """Return the session for one grant. `server_turns`: the server finds where a turn ends."""
    settings = endpoint.session
    most = settings.max_output_tokens
    return SessionBody(
        voice=settings.voice_name or VOICES[0],
        temperature=UNSET if settings.temperature is None else settings.temperature,
        turn_detection=_detection(endpoint) if server_turns else None,
        input_audio_transcription=None if settings.transcription == "off" else Transcription(),
        instructions=settings.instructions or UNSET,
        tools=functions(settings),
        max_response_output_tokens=UNSET if most == "inf" else most,
    )


def _detection(endpoint: Endpoint) -> TurnDetection:
    found = turn_detection(endpoint.session)
    own: dict[str, Any] = {"rms_threshold": endpoint.outspeed.rms_threshold}
    if isinstance(found, SemanticVad):
        own |= {"type": "semantic_vad", "eagerness": found.eagerness}
    else:
        numbers = ("threshold", "prefix_padding_ms", "silence_duration_ms")
        own |= {"type": "server_vad", **{name: getattr(found, name) for name in numbers}}
    given = {name: value for name, value in own.items() if value is not None}
    return TurnDetection(
        create_response=found.create_response, interrupt_response=found.interrupt_response, **given
    )


def make(
    settings: OutspeedSettings, endpoints: dict[str, Endpoint], gateway: Gateway | None = None
) -> Outspeed:
    """Return the provider; ConfigError when its key or an endpoint's settings cannot be used."""
    for name, endpoint in endpoints.items():
        _check(name, endpoint, settings)
        if endpoint.outspeed.transport == "webrtc" and not endpoint.outspeed.function_url and gateway is None:
            raise ConfigError(
                f"endpoints.{name}.outspeed: WebRTC needs the gateway: pip install pressel[webrtc]"
            )
    hosted = any(not endpoint.outspeed.function_url for endpoint in endpoints.values())
    return Outspeed(settings, read_key("outspeed", settings) if hosted else "", gateway)


def _check(name: str, endpoint: Endpoint, settings: OutspeedSettings) -> None:
    """Refuse, by its name, what Outspeed does not have."""
    session, own = endpoint.session, endpoint.outspeed
    if own.function_url:
        return
    if own.transport == "websocket" and not settings.realtime_url:
        raise ConfigError(
            "providers.outspeed.realtime_url is missing: the public service has no WebSocket for sound; "
            f'name your own, or set endpoints.{name}.outspeed.transport = "webrtc"'
        )
    at = f"endpoints.{name}.session"
    if session.voice and session.voice not in VOICES:
        named = session.voice_name or "an id"
        raise ConfigError(f'{at}.voice = "{named}": Outspeed has {", ".join(VOICES)}')
    if session.transcription not in ("", "off", TRANSCRIPTION):
        raise ConfigError(f'{at}.transcription = "{session.transcription}": Outspeed has "{TRANSCRIPTION}"')
    plain = SessionSettings()
    for key in _HAS_NOT:
        if getattr(session, key) != getattr(plain, key):
            raise ConfigError(f"{at}.{key}: Outspeed has no such setting; leave it out")


def _split(url: str) -> tuple[str, str]:
    """Return an URL's origin, and its path with the query."""
    parts = urlsplit(url)
    path = parts.path or "/"
    return f"{parts.scheme}://{parts.netloc}", f"{path}?{parts.query}" if parts.query else path
