"""A gateway on a port of its own, a simulated service behind it, and clients before it."""

from __future__ import annotations

import threading
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from websockets.sync.client import connect

from companion.gateway.gateway import Gateway
from companion.serve import Announcing, listen, url_of
from tests.companion.talk import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from companion.gateway.legs import Leg

WAIT_S = 20.0


@contextmanager
def serving(app: Starlette) -> Iterator[str]:
    """Serve from a thread of this process; gives the URL."""
    bound, ready = listen("127.0.0.1", 0), threading.Event()
    settings = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        ws="websockets-sansio",
        ws_max_size=2**24,
        timeout_graceful_shutdown=1,
    )
    server = Announcing(settings, ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        assert ready.wait(WAIT_S)
        yield url_of(bound)
    finally:
        server.should_exit = True
        thread.join(WAIT_S)
        bound.close()
        assert not thread.is_alive()


class Door:
    """A gateway that is served at `url`."""

    def __init__(self, gateway: Gateway, url: str) -> None:
        self.gateway = gateway
        self._base = url.replace("http", "ws", 1)

    def grant(self, leg: Leg, life_s: float = 60.0, **session: Any) -> dict[str, Any]:
        """What a provider would hand out for this leg."""
        path, secret = self.gateway.add(leg, "kitchen", time.time() + life_s)
        return {"url": f"{self._base}{path}", "auth": {"kind": "bearer", "value": secret}, "session": session}


@contextmanager
def gateway() -> Iterator[Door]:
    """Serve a gateway that is closed, with nothing left over, at the end."""
    door = Gateway()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await door.close()

    with serving(Starlette(routes=[door.route], lifespan=lifespan)) as url:
        yield Door(door, url)
    assert door.live == 0


@contextmanager
def opened(grant: dict[str, Any]) -> Iterator[Client]:
    """Connect and wait for the provider's session, in which nothing is settled yet."""
    headers = {"Authorization": f"Bearer {grant['auth']['value']}"}
    with connect(grant["url"], additional_headers=headers, max_size=2**24, max_queue=None) as socket:
        yield Client(socket)
