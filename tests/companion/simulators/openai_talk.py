"""OpenAI's stand-ins on a port, all their mistakes side by side, and a client that is neither side's code."""

from __future__ import annotations

import base64
import threading
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from websockets.sync.client import connect

from companion.serve import Announcing, listen, url_of
from companion.simulators import KEY, Options
from companion.simulators.openai import MISTAKES, Service, new_engine, routes
from tests.companion.talk import WAIT_S, Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

Json = dict[str, Any]


@contextmanager
def served(folder: Path, kind: type[Service]) -> Iterator[str]:
    """Serve one engine: "/" without mistakes, "/MISTAKE" with one; gives the URL."""
    engine = new_engine(Options(folder))
    wrong = [kind(Options(folder, mistakes=frozenset({name})), engine) for name in sorted(MISTAKES)]
    mounts = [Mount(f"/{min(one.mistakes)}", routes=routes(one)) for one in wrong]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        engine.warm()
        yield
        await engine.close()

    app = Starlette(routes=[*mounts, *routes(kind(Options(folder), engine))], lifespan=lifespan)
    bound, ready = listen("127.0.0.1", 0), threading.Event()
    settings = uvicorn.Config(app, log_config=None, access_log=False, ws="websockets-sansio")
    serving = Announcing(settings, ready.set)
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        assert ready.wait(WAIT_S)
        yield url_of(bound)
    finally:
        serving.should_exit = True
        thread.join(WAIT_S)
        bound.close()


def post(url: str, path: str, body: Any, key: str = KEY) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{url}{path}", json=body, headers=headers, timeout=WAIT_S)


@contextmanager
def client(url: str, secret: str, **more: Any) -> Iterator[Client]:
    """Connect with a secret; `more` goes to the WebSocket client."""
    headers = {"Authorization": f"Bearer {secret}", **more.pop("headers", {})}
    address = f"{url.replace('http', 'ws', 1)}/v1/realtime?model=gpt-realtime"
    with connect(address, additional_headers=headers, max_size=2**24, max_queue=None, **more) as socket:
        yield Client(socket)


def ask(one: Client, text: str = "tell me a story") -> None:
    """Ask in writing for a spoken reply."""
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    one.send("conversation.item.create", item=item)
    one.send("response.create")


def say_nothing(one: Client) -> None:
    """Commit half a second of silence and ask for the reply."""
    one.send("input_audio_buffer.append", audio=base64.b64encode(bytes(24_000)).decode())
    one.send("input_audio_buffer.commit")
    one.send("response.create")
