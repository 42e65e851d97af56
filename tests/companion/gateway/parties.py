"""A gateway on a port of its own, a simulated service behind it, and clients before it."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import httpx
from starlette.applications import Starlette
from websockets.sync.client import connect

from companion.gateway.gateway import Gateway
from companion.gateway.openai import OpenAICallLeg
from companion.gateway.outspeed import OutspeedLeg
from companion.simulators import KEY, Options, openai_rtc, outspeed_rtc
from tests.companion.talk import Client, http

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from companion.gateway.legs import Leg

WAIT_S = 20.0
PUSH_TO_TALK = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}


class Door:
    """A gateway that is served at `url`."""

    def __init__(self, gateway: Gateway, url: str) -> None:
        self.gateway = gateway
        self._base = url.replace("http", "ws", 1)

    def grant(self, leg: Leg, life_s: float = 60.0) -> dict[str, Any]:
        """What a provider would hand out for this leg."""
        path, secret = self.gateway.add(leg, "kitchen", time.time() + life_s)
        auth = {"kind": "bearer", "value": secret}
        return {"url": f"{self._base}{path}", "auth": auth, "session": {"type": "realtime"}}


@contextmanager
def gateway(connect_s: float = 10.0) -> Iterator[Door]:
    """Serve a gateway; at the end nothing of its sessions may be left over."""
    door = Gateway(connect_s)
    left: list[str] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        before = asyncio.all_tasks()
        yield
        await door.close()
        deadline = time.monotonic() + 5.0
        while time.monotonic() < deadline and (more := asyncio.all_tasks() - before):
            left[:] = [repr(task) for task in more]
            await asyncio.sleep(0.01)
        left[:] = [repr(task) for task in asyncio.all_tasks() - before]

    with http(Starlette(routes=[door.route], lifespan=lifespan), lifespan="on") as url:
        yield Door(door, url)
    assert door.live == 0
    assert not left, left


@contextmanager
def openai(folder: Path, *mistakes: str) -> Iterator[OpenAICallLeg]:
    """OpenAI's stand-in, and the leg to a push-to-talk session there."""
    with http(openai_rtc.build(Options(folder, mistakes=frozenset(mistakes))), lifespan="on") as url:
        yield OpenAICallLeg(f"{url}/v1/realtime/calls", KEY, PUSH_TO_TALK)


@contextmanager
def outspeed(folder: Path, *mistakes: str) -> Iterator[OutspeedLeg]:
    """Outspeed's stand-in, and the leg to a push-to-talk session there."""
    with http(outspeed_rtc.build(Options(folder, mistakes=frozenset(mistakes))), lifespan="on") as url:
        bearer = {"Authorization": f"Bearer {KEY}"}
        minted = httpx.post(f"{url}/v1/realtime/sessions", headers=bearer, json={"model": "Orpheus-3b"})
        secret = minted.json()["client_secret"]["value"]
        yield OutspeedLeg(f"{url.replace('http', 'ws', 1)}/v1/realtime/ws", secret, "Orpheus-3b")


@contextmanager
def opened(grant: dict[str, Any]) -> Iterator[Client]:
    """Connect as the grant says; nothing has been read yet."""
    headers = {"Authorization": f"Bearer {grant['auth']['value']}"}
    with connect(grant["url"], additional_headers=headers, max_size=2**24, max_queue=None) as socket:
        yield Client(socket)
