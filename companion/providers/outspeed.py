"""Mint sessions at Outspeed, resume them there, or find a self-hosted function of its older kind.

Source: docs.outspeed.com (resume-session), outspeed-ai/voice-devtools, OutspeedSwift; PyPI outspeed 0.2.12.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Meta

from companion.errors import ConfigError, RequestError
from companion.providers.outspeed_session import SessionBody, check_session, session_body
from companion.upstream import Epoch, Upstream, epoch, read_key, socket_url
from companion.wire import Auth, Grant, without_live

if TYPE_CHECKING:
    from companion.gateway.gateway import Gateway
    from companion.providers import MintRequest
    from companion.settings import Endpoint, OutspeedSettings

MODEL = "Orpheus-3b"
_SECRET_S = 60  # where the service does not say how long a secret lives
# Refusals that have nothing to do with the session to be resumed: it may be there the next time.
_NOT_ABOUT_THE_ID = {401, 403, 429, 502, 503}


class Secret(msgspec.Struct, frozen=True):
    """`expires_at`: epoch seconds."""

    value: Annotated[str, Meta(min_length=1)]
    expires_at: Epoch | None = None

    def __repr__(self) -> str:
        return "Secret(…)"


class Minted(msgspec.Struct, frozen=True):
    """The mint's answer."""

    client_secret: Secret
    id: str | None = None


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
            session_id=minted.id or "",
            resume="live" if resumed else without_live(request.wish.turns),
            url=url,
            auth=auth,
            expires_at=epoch(minted.client_secret.expires_at),
            session_ends_at=None,
            session=session,
            notice="; ".join(filter(None, [notice, _thin(request)])),
        )

    def _way(self, request: MintRequest, secret: Secret) -> tuple[str, Auth]:
        """Return where the device connects: the owner's WebSocket, or the gateway to WebRTC."""
        model = request.endpoint.model or MODEL
        if request.endpoint.outspeed.transport == "websocket":
            base = self._settings.realtime_url
            url = f"{base}{'&' if '?' in base else '?'}model={quote(model)}"
            return url, Auth("query", f"client_secret={quote(secret.value, safe='')}")
        from companion.gateway.outspeed import OutspeedLeg  # noqa: PLC0415 - only WebRTC has it

        assert self._gateway  # noqa: S101 - `make` has looked
        leg = OutspeedLeg(socket_url(self._settings.base_url, "/v1/realtime/ws"), secret.value, model)
        ends_at = epoch(secret.expires_at) or time.time() + _SECRET_S
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
        if not _is_http(found.address):
            raise RequestError(502, "provider_answer", "the function's address is no http address")
        return Grant(
            provider="outspeed",
            dialect="outspeed-legacy",
            session_id="",
            resume="fresh",
            url=socket_url(_reachable(found.address, base), ""),
            auth=Auth("none", ""),
            expires_at=None,
            session_ends_at=None,
            session={},
        )


def _thin(request: MintRequest) -> str:
    wanted = request.wish.codec
    return "" if wanted in (None, "pcm16") else f"Outspeed has no {wanted}; sound goes as pcm16"


def make(
    settings: OutspeedSettings, endpoints: dict[str, Endpoint], gateway: Gateway | None = None
) -> Outspeed:
    """Return the provider; ConfigError when its key or an endpoint's settings cannot be used."""
    for name, endpoint in endpoints.items():
        function = endpoint.outspeed.function_url
        if function and not _is_http(function):
            raise ConfigError(
                f'endpoints.{name}.outspeed.function_url = "{function}" is no address such as http://host:8080'
            )
    hosted = {name: one for name, one in endpoints.items() if not one.outspeed.function_url}
    for name, endpoint in hosted.items():
        check_session(f"endpoints.{name}.session", endpoint.session)
        if endpoint.outspeed.transport == "websocket" and not settings.realtime_url:
            raise ConfigError(
                "providers.outspeed.realtime_url is missing: the public service has no WebSocket for sound; "
                f'name your own, or set endpoints.{name}.outspeed.transport = "webrtc"'
            )
        if endpoint.outspeed.transport == "webrtc" and gateway is None:
            text = f'endpoints.{name}.outspeed: transport = "webrtc" needs pip install "pressel[webrtc]"'
            raise ConfigError(text)
    return Outspeed(settings, read_key("outspeed", settings) if hosted else "", gateway)


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that are no IPv6 address, a port above 65535
        return False


def _reachable(address: str, base: str) -> str:
    """Return the address as others reach it: a function that was told no name calls itself localhost."""
    found, own = urlsplit(address), urlsplit(base)
    if found.hostname not in ("localhost", "127.0.0.1", "0.0.0.0"):
        return address
    port = f":{found.port}" if found.port else ""
    return f"{found.scheme}://{own.hostname}{port}{found.path}"


def _split(url: str) -> tuple[str, str]:
    """Return an URL's origin, and its path with the query."""
    parts = urlsplit(url)
    path = parts.path or "/"
    return f"{parts.scheme}://{parts.netloc}", f"{path}?{parts.query}" if parts.query else path
