"""OpenAI's stand-ins on a port, all their mistakes side by side, and a client that is neither side's code."""

from __future__ import annotations

import base64
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
from websockets.sync.client import connect

from companion.simulators import KEY, Options
from companion.simulators.openai import MISTAKES, Service, new_engine, routes
from tests.companion.simulators.serving import served as with_mistakes
from tests.companion.talk import WAIT_S, Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Json = dict[str, Any]


@contextmanager
def served(folder: Path, kind: type[Service]) -> Iterator[str]:
    """Serve one engine: "/" without mistakes, "/MISTAKE" with one; gives the URL."""
    with with_mistakes(folder, kind, routes, MISTAKES, new_engine(Options(folder))) as url:
        yield url


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
