"""The HTTP face: who a device is against a grant, the health page, and the local server's socket."""

from __future__ import annotations

import importlib
import logging
import math
import time
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route, WebSocketRoute

from companion.access.door import Door
from companion.access.registry import Registry
from companion.access.tokens import Tokens
from companion.errors import ConfigError, RequestError
from companion.exchange import answer, read, refusal
from companion.files import private_folder
from companion.limits import Bucket
from companion.providers import MintRequest, Provider
from companion.strict import nearest
from companion.wire import Grant, SessionRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.websockets import WebSocket

    from companion.gateway.gateway import Gateway
    from companion.local.engine import Engine
    from companion.settings import Config, ProviderName

log = logging.getLogger(__name__)

_ON_WEBRTC: frozenset[ProviderName] = frozenset({"delphi", "openai", "outspeed", "speko"})


class Desk:
    """Mints for the devices that are enrolled, each at its own rate."""

    def __init__(self, config: Config, providers: dict[str, Provider], door: Door) -> None:
        self.providers = providers
        self.door = door
        self._config = config
        if door.is_empty():
            log.warning("no device is enrolled yet: pressel-companion claims new NAME --config FILE")
        self._buckets: dict[str, Bucket] = {}

    async def mint(self, request: Request) -> Response:
        """POST /v1/sessions"""
        try:
            grant = await self._mint(request)
        except RequestError as error:
            log.warning("no grant: %d %s: %s", error.status, error.code, error)
            return refusal(error)
        return answer(grant)

    async def me(self, request: Request) -> Response:
        """GET /v1/me: who the companion takes the device for, and which endpoints it may use."""
        try:
            device = await self.door.device(request)
        except RequestError as error:
            log.warning("not known: %d %s: %s", error.status, error.code, error)
            return refusal(error)
        mine = [
            name
            for name, one in self._config.endpoints.items()
            if one.devices is None or device in one.devices
        ]
        return answer({"device": device, "endpoints": mine})

    async def health(self, _: Request) -> Response:
        """GET /v1/health: nothing secret."""
        endpoints = {name: endpoint.provider for name, endpoint in self._config.endpoints.items()}
        return answer({"ok": True, "version": _version(), "endpoints": endpoints})

    async def _mint(self, request: Request) -> Grant:
        device = await self.door.device(request)
        self._permit(device)
        wish = await read(request, SessionRequest)
        endpoint = self._config.endpoints.get(wish.endpoint)
        if endpoint is None:
            near = nearest(wish.endpoint, list(self._config.endpoints))
            raise RequestError(404, "unknown_endpoint", f'there is no endpoint "{wish.endpoint}".{near}')
        if endpoint.devices is not None and device not in endpoint.devices:
            text = f'"{device}" may not use the endpoint "{wish.endpoint}"; add it to its devices'
            raise RequestError(403, "not_allowed", text)
        base_url = self._config.public_url or f"{request.url.scheme}://{request.url.netloc}"
        grant = await self.providers[endpoint.provider].mint(MintRequest(device, endpoint, wish, base_url))
        log.info("%s: %s session at %s, endpoint %s", device, grant.resume, grant.provider, wish.endpoint)
        return grant

    def _permit(self, device: str) -> None:
        now, limit = time.monotonic(), self._config.mints_per_minute
        wait_s = self._buckets.setdefault(device, Bucket(limit, now)).take(now)
        if wait_s:
            text = f"more than {limit} sessions a minute; wait {math.ceil(wait_s)} s"
            raise RequestError(429, "too_many_requests", text, retry_after_s=wait_s)


def build(config: Config) -> Starlette:
    """Return the application; ConfigError when a provider cannot be used as it is configured."""
    providers: dict[str, Provider] = {}
    engine = _local(config, providers)
    names = {endpoint.provider for endpoint in config.endpoints.values()} - {"local"}
    door = Door(Tokens(Path(config.tokens_file)), Registry(Path(config.state_dir)), config.enrols_per_minute)
    gateway = _gateway(door) if names & _ON_WEBRTC else None
    for name in sorted(names):
        providers[name] = _provider(name, config, gateway)
    desk = Desk(config, providers, door)
    routes: list[BaseRoute] = [
        Route("/v1/sessions", desk.mint, methods=["POST"]),
        Route("/v1/enrol", door.enrol, methods=["POST"]),
        Route("/v1/rotate", door.rotate, methods=["POST"]),
        Route("/v1/me", desk.me, methods=["GET"]),
        Route("/v1/health", desk.health, methods=["GET"]),
    ]
    if engine:
        routes.append(WebSocketRoute("/v1/realtime", _socket(engine, door)))
    if gateway:
        routes.append(gateway.route)
    return Starlette(routes=routes, lifespan=_lifespan(desk, engine, gateway))


def _lifespan(desk: Desk, engine: Engine | None, gateway: Gateway | None) -> Callable[[Starlette], Any]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        if engine:
            engine.warm()
        yield
        if gateway:
            await gateway.close()
        for provider in desk.providers.values():
            await provider.close()
        desk.door.close()

    return lifespan


def _local(config: Config, providers: dict[str, Provider]) -> Engine | None:
    mine = {name: endpoint for name, endpoint in config.endpoints.items() if endpoint.provider == "local"}
    if not mine:
        return None
    try:
        from companion.local.engine import Engine  # noqa: PLC0415 - an extra that only this provider needs
        from companion.providers.local import Local, check_endpoint  # noqa: PLC0415
    except ImportError as error:
        text = f'the local provider needs {error.name}: install with: pip install "pressel[companion,local]"'
        raise ConfigError(text) from error
    for name, endpoint in mine.items():
        check_endpoint(name, endpoint)
    try:
        private_folder(Path(config.state_dir))
    except OSError as error:
        raise ConfigError(f"state_dir {config.state_dir} cannot be made: {error.strerror}") from error
    engine = Engine(config.providers.local, Path(config.state_dir))
    providers["local"] = Local(engine)
    return engine


def _gateway(door: Door) -> Gateway | None:
    """Return the WebRTC gateway, or None without its extra; the providers say so where one is needed."""
    try:
        from companion.gateway.gateway import Gateway  # noqa: PLC0415 - an extra that some providers need
    except ImportError:
        return None
    return Gateway(admits=door.admits)


def _provider(name: ProviderName, config: Config, gateway: Gateway | None) -> Provider:
    try:
        module = importlib.import_module(f"companion.providers.{name.replace('-', '_')}")
    except ImportError as error:
        text = f'the provider {name} needs {error.name}: pip install "pressel[companion,webrtc,codecs]"'
        raise ConfigError(text) from error
    endpoints = {key: one for key, one in config.endpoints.items() if one.provider == name}
    more = [gateway] if name in _ON_WEBRTC else []
    made: Provider = module.make(config.providers.of(name), endpoints, *more)
    return made


def _socket(engine: Engine, door: Door) -> Callable[[WebSocket], Any]:
    from companion.local.server import realtime  # noqa: PLC0415

    async def serve(socket: WebSocket) -> None:
        await realtime(socket, engine, door.admits)

    return serve


def _version() -> str:
    try:
        return version("pressel")
    except PackageNotFoundError:
        return "unknown"
