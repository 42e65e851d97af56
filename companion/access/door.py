"""The door: tells devices apart by what they show, enrols them, and takes their new keys."""

from __future__ import annotations

import logging
import math
import time
from functools import partial
from typing import TYPE_CHECKING

from anyio import to_thread

from companion.errors import ConfigError, RequestError
from companion.exchange import answer, read, refusal
from companion.limits import Bucket
from companion.wire import EnrolRequest, RotateRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from companion.access.registry import Registry
    from companion.access.tokens import Tokens

    Admits = Callable[[str], Awaitable[bool]]  # whether a device of this name may still come in

log = logging.getLogger(__name__)

_MOST_ADDRESSES = 1024


class Door:
    """Plain tokens and signed assertions are let in alike. `enrols_per_minute`: from one address."""

    def __init__(self, tokens: Tokens, registry: Registry, enrols_per_minute: int) -> None:
        self._tokens, self._registry = tokens, registry
        self._limit = enrols_per_minute
        self._buckets: dict[str, Bucket] = {}

    def is_empty(self) -> bool:
        """Tell whether there is no device that could come in, nor one that is to come."""
        waits = any(claim["state"] == "open" for claim in self._registry.claims(time.time()))
        return not (waits or self._tokens.names() or self._registry.devices())

    def close(self) -> None:
        """Let the database go."""
        self._registry.close()

    async def device(self, request: Request, *, rotating: bool = False) -> str:
        """Return the name of the device that asks. Raises RequestError."""
        kind, _, shown = request.headers.get("authorization", "").partition(" ")
        shown = shown.strip() if kind.lower() == "bearer" else ""
        if shown.count(".") == 2:  # a JWT; a plain token has no dot
            find = partial(self._registry.device, shown, time.time(), rotating=rotating)
            return await to_thread.run_sync(find)
        return self._with_token(shown)

    async def admits(self, name: str) -> bool:
        """Tell whether a device may still come in: the secret of a session outlives a revocation."""
        try:
            return await to_thread.run_sync(self._registry.admits, name) or name in self._tokens.names()
        except (ConfigError, RequestError) as error:
            log.error("%s is not let in: %s", name, error)  # noqa: TRY400 - one line for the owner
            return False

    async def enrol(self, request: Request) -> Response:
        """POST /v1/enrol"""
        try:
            self._permit(request.client.host if request.client else "")
            wish = await read(request, EnrolRequest)
            enrolled, first = await to_thread.run_sync(self._registry.enrol, wish, time.time())
        except RequestError as error:
            log.warning("not enrolled: %d %s: %s", error.status, error.code, error)
            return refusal(error)
        log.info(
            "%s: %s, serial number %s", enrolled.name, "enrolled" if first else "told again", wish.serial
        )
        return answer(enrolled, 201 if first else 200)

    async def rotate(self, request: Request) -> Response:
        """POST /v1/rotate"""
        try:
            name = await self.device(request, rotating=True)
            wish = await read(request, RotateRequest)
            changed = await to_thread.run_sync(self._registry.change_key, name, wish, time.time())
        except RequestError as error:
            log.warning("no new key: %d %s: %s", error.status, error.code, error)
            return refusal(error)
        log.info("%s: has a new key", name)
        return answer(changed)

    def _with_token(self, token: str) -> str:
        try:
            device = self._tokens.device(token) if token else None
        except ConfigError as error:
            log.error("%s", error)  # noqa: TRY400 - one line for the owner
            text = "the companion cannot read its token file"
            raise RequestError(503, "tokens_unreadable", text) from error
        if device is None:
            text = "the device token is missing or unknown; make one with: pressel-companion token new NAME"
            raise RequestError(401, "unauthorized", text)
        return device

    def _permit(self, address: str) -> None:
        now = time.monotonic()
        if len(self._buckets) >= _MOST_ADDRESSES:
            kept = {key: one for key, one in self._buckets.items() if one.remaining(now) < self._limit}
            self._buckets = kept if len(kept) < _MOST_ADDRESSES else {}
        wait_s = self._buckets.setdefault(address, Bucket(self._limit, now)).take(now)
        if wait_s:
            text = f"more than {self._limit} enrolments a minute; wait {math.ceil(wait_s)} s"
            raise RequestError(429, "too_many_requests", text, retry_after_s=wait_s)
