"""The port that every provider stands behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from companion.settings import Endpoint
from companion.wire import SessionRequest

if TYPE_CHECKING:
    from companion.wire import Grant


class MintRequest(msgspec.Struct, frozen=True):
    """One device's wish. `base_url` is how the device reaches this companion, such as "http://host:8790"."""

    device: str
    endpoint: Endpoint
    wish: SessionRequest
    base_url: str


class Provider(Protocol):
    """Mints sessions."""

    async def mint(self, request: MintRequest) -> Grant:
        """Return the grant, or raise RequestError with the HTTP status to pass on."""
        ...

    async def close(self) -> None:
        """Let go of connections and threads."""
        ...
