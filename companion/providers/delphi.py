"""Mint sessions at Delphi (TelAPI), and hand a session that still lives to the device that had it.

Source: the vendor's client SDK 0.1.3, types.ts and DelphiClient.ts.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import msgspec
from msgspec import Meta

from companion.errors import ConfigError, RequestError
from companion.settings import SessionSettings
from companion.upstream import Upstream, read_key, socket_url
from companion.wire import AudioFormat, Auth, Grant

if TYPE_CHECKING:
    from companion.gateway.gateway import Gateway
    from companion.providers import MintRequest
    from companion.settings import DelphiOptions, DelphiSettings, Endpoint

log = logging.getLogger(__name__)

_LEAST_LIFE_S = 10  # a token that ends sooner is not handed out again
_OFFERS_S = 300  # how long an endpoint's capabilities are believed
_Name = Annotated[str, Meta(min_length=1)]
_Seconds = Annotated[float, Meta(gt=0)]


class TokenRequest(msgspec.Struct, frozen=True, rename="camel"):
    """The mint's body."""

    endpoint_id: str
    mode: str


class Minted(msgspec.Struct, frozen=True, rename="camel"):
    """The mint's answer; the last two belong to voice_conversation. Lives in seconds."""

    session_id: _Name
    ws_token: _Name
    ws_token_expires_in: _Seconds
    expires_in: _Seconds
    telpro_domain: str = ""
    webrtc_gateway_url: str = ""

    def __repr__(self) -> str:
        """Keep the token out of logs and tracebacks."""
        return f"Minted(session_id={self.session_id!r}, …)"


class BrowserAction(msgspec.Struct, frozen=True):
    """One side flow of an endpoint."""

    id: str
    slug: str
    type: str


class Flows(msgspec.Struct, frozen=True, rename="camel"):
    """What an endpoint can do besides talking."""

    browser_actions: list[BrowserAction] = []


class Capabilities(msgspec.Struct, frozen=True, rename="camel"):
    """What an endpoint offers."""

    interaction_modes: dict[str, bool] = {}
    flows: Flows = Flows()


class Held(msgspec.Struct, frozen=True):
    """A session that a device got, with the ends of its token and of itself in epoch seconds."""

    minted: Minted
    token_ends_at: float
    session_ends_at: float


class Delphi:
    """A Provider over HTTPS. The key goes into one header and nowhere else."""

    def __init__(self, settings: DelphiSettings, gateway: Gateway | None = None) -> None:
        self._gateway = gateway
        self._socket = socket_url(settings.base_url, "/ws/session")
        headers = {"X-API-Key": read_key("delphi", settings)}
        self._upstream = Upstream(settings.base_url, settings.timeout_s, headers)
        self._held: dict[tuple[str, str, str], Held] = {}
        self._offers: dict[str, tuple[Capabilities, float]] = {}

    async def mint(self, request: MintRequest) -> Grant:
        """Return the device's own session while its token lives, else a new one, which knows nothing."""
        options, now = request.endpoint.delphi, time.time()
        offers = await self._capabilities(options.endpoint_id, now)
        _check_mode(options, offers)
        if options.mode == "voice_conversation":
            return self._call(request, await self._ask(options))
        key = (request.device, options.endpoint_id, options.mode)
        held = self._held.get(key)
        live = held is not None and _lives(held, request.wish.resume_session, now)
        if held is None or not live:
            held = self._held[key] = await self._ask(options)
        return Grant(
            provider="delphi",
            dialect="delphi",
            session_id=held.minted.session_id,
            resume="live" if live else "fresh",
            url=self._socket,
            auth=Auth("query", _query(held.minted)),
            expires_at=int(held.token_ends_at),
            session_ends_at=int(held.session_ends_at),
            input=AudioFormat("none"),
            session=_session(options, offers),
        )

    def _call(self, request: MintRequest, held: Held) -> Grant:
        """Grant a telephone call through the gateway, made when the device connects and never resumed.

        Towards the device it has the frames of Speko's proxy: PCM16 both ways and nothing else.
        """
        from companion.gateway.janus import JanusLeg  # noqa: PLC0415 - only WebRTC has it

        assert self._gateway  # noqa: S101 - `make` has looked
        minted = held.minted
        leg = JanusLeg(minted.webrtc_gateway_url, minted.telpro_domain, minted.session_id)
        path, secret = self._gateway.add(leg, request.device, held.token_ends_at)
        return Grant(
            provider="delphi",
            dialect="speko",
            session_id=minted.session_id,
            resume="fresh",
            url=socket_url(request.base_url, path),
            auth=Auth("bearer", secret),
            expires_at=int(held.token_ends_at),
            session_ends_at=int(held.session_ends_at),
            session={},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._upstream.close()

    async def _ask(self, options: DelphiOptions) -> Held:
        body, now = TokenRequest(options.endpoint_id, options.mode), time.time()
        minted = await self._upstream.post("/api/v1/sessions/token", body, answer=Minted)
        if options.mode == "voice_conversation":
            _check_voice(minted)
        return Held(minted, now + minted.ws_token_expires_in, now + minted.expires_in)

    async def _capabilities(self, endpoint_id: str, now: float) -> Capabilities:
        """Ask what the endpoint offers; one that does not tell is asked for a session all the same."""
        known, until = self._offers.get(endpoint_id, (Capabilities(), 0.0))
        if now < until:
            return known
        params = {"endpointId": endpoint_id}
        try:
            known = await self._upstream.get(
                "/api/v1/runtime/capabilities", answer=Capabilities, params=params
            )
        except RequestError as error:
            log.info("delphi: the capabilities are not known: %s", error)
            return Capabilities()
        self._offers[endpoint_id] = (known, now + _OFFERS_S)
        return known


def make(settings: DelphiSettings, endpoints: dict[str, Endpoint], gateway: Gateway | None = None) -> Delphi:
    """Return the provider; ConfigError when its key or an endpoint's settings cannot be used."""
    plain = SessionSettings()
    for name, endpoint in endpoints.items():
        if not endpoint.delphi.endpoint_id:
            raise ConfigError(
                f"endpoints.{name}.delphi.endpoint_id is missing: Delphi's name for the endpoint"
            )
        if endpoint.delphi.mode == "voice_conversation" and gateway is None:
            raise ConfigError(
                f'endpoints.{name}.delphi: a call needs the gateway: pip install "pressel[webrtc]"'
            )
        if endpoint.model:
            raise ConfigError(f"endpoints.{name}.model: Delphi's flow chooses the model; leave it out")
        for key in SessionSettings.__struct_fields__:
            if getattr(endpoint.session, key) != getattr(plain, key):
                raise ConfigError(f"endpoints.{name}.session.{key}: Delphi's flow decides that; leave it out")
    return Delphi(settings, gateway)


def _check_mode(options: DelphiOptions, offers: Capabilities) -> None:
    """Refuse a mode that the endpoint does not have."""
    if not offers.interaction_modes.get(options.mode, True):
        modes = sorted(mode for mode, offered in offers.interaction_modes.items() if offered)
        text = f'Delphi\'s endpoint does not offer "{options.mode}"; it has: {", ".join(modes) or "nothing"}'
        raise RequestError(400, "mode_not_offered", text)


def _check_voice(minted: Minted) -> None:
    """Look at what a call needs before anything is kept."""
    if not minted.telpro_domain or not minted.webrtc_gateway_url.startswith(("wss://", "ws://")):
        text = "Delphi's answer has no telproDomain or no webrtcGatewayUrl, which a voice session needs"
        raise RequestError(502, "provider_answer", text)


def _lives(held: Held, wanted: str | None, now: float) -> bool:
    return wanted == held.minted.session_id and held.token_ends_at - now > _LEAST_LIFE_S


def _query(minted: Minted) -> str:
    return f"sessionId={quote(minted.session_id, safe='')}&token={quote(minted.ws_token, safe='')}"


def _session(options: DelphiOptions, offers: Capabilities) -> dict[str, Any]:
    """Return what the device's dialect is told: the mode, and what the mode needs."""
    session: dict[str, Any] = {"mode": options.mode}
    if options.mode == "listen":
        session["listen"] = {
            "identifier": options.identifier,
            "targetLanguage": options.target_language,
            "scope": options.scope or options.endpoint_id,
            "endpointId": options.endpoint_id,
            "startMode": options.start_mode,
            "includeCaptions": options.captions,
        }
    if options.read_aloud:
        found = next((one for one in offers.flows.browser_actions if one.type == "readAloud"), None)
        named = {"capabilityId": found.id, "capabilitySlug": found.slug} if found else {}
        session["readAloud"] = named
    return session
