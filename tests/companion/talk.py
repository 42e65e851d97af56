"""A companion on a real port, and a client that speaks to it: what the tests of this room share."""

from __future__ import annotations

import base64
import functools
import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import httpx
import numpy as np
import uvicorn
from hibari import Hibari
from websockets.sync.client import ClientConnection, connect

from companion.access.tokens import Tokens
from companion.config import load
from companion.local.recogniser import Sphinx
from companion.serve import listen, server, url_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from starlette.applications import Starlette

WAIT_S = 20.0
RATE = 24_000
_LOCAL = '[endpoints.default]\nprovider = "local"\n'

Event = dict[str, Any]


@functools.cache
def _voice() -> Hibari:
    return Hibari()


@functools.cache
def _ear() -> Sphinx:
    return Sphinx()


@functools.cache
def speech(text: str) -> bytes:
    """The words as 24 kHz PCM16 with 200 ms of silence on both sides; the same sound each time."""
    samples = np.asarray(_voice()(text, seed=1))
    quiet = np.zeros(RATE // 5, np.float32)
    return (np.concatenate([quiet, samples, quiet]) * 20_000).astype("<i2").tobytes()


def silence(ms: int) -> bytes:
    return b"\0\0" * (RATE * ms // 1000)


def recognised(pcm: bytes) -> str:
    """What another decoder makes of 24 kHz PCM16."""
    x = np.frombuffer(pcm, "<i2")[: len(pcm) // 6 * 3]
    spectrum = np.fft.rfft(x)[: len(x) // 3 + 1]  # all of it, without what 16 kHz cannot hold
    y = np.fft.irfft(spectrum, len(x) * 2 // 3) * 2 / 3
    ear = _ear()
    ear.forget_speaker()
    ear.feed(np.clip(y, -32768, 32767).astype("<i2").tobytes())
    return ear.finish()


def config_file(folder: Path, text: str = _LOCAL, head: str = "") -> Path:
    path = folder / "companion.toml"
    path.write_text(
        f'listen = "127.0.0.1:0"\ntokens_file = "tokens.json"\nstate_dir = "state"\n{head}\n{text}'
    )
    return path


@contextmanager
def http(app: Starlette, *, lifespan: Literal["on", "off"] = "off") -> Iterator[str]:
    """Serve another party's application on a port of its own; `lifespan` "on" loads its models, too."""
    bound = listen("127.0.0.1", 0)
    settings = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan=lifespan,
        ws="websockets-sansio",
        ws_max_size=2**24,
        timeout_graceful_shutdown=1,
    )
    serving = uvicorn.Server(settings)
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [bound]})
    bound.listen()  # a client that comes before uvicorn waits in the queue
    thread.start()
    try:
        yield url_of(bound)
    finally:
        serving.should_exit = True
        thread.join(WAIT_S)
        bound.close()


class Running:
    """A companion that answers. `token` is of the device "kitchen"."""

    def __init__(self, url: str, folder: Path, token: str) -> None:
        self.url = url
        self.folder = folder
        self.token = token

    def post(self, body: Any = None, *, token: str | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        return httpx.post(f"{self.url}/v1/sessions", json=body or {}, headers=headers, timeout=WAIT_S)

    def grant(self, **wish: Any) -> Event:
        answer = self.post(wish)
        assert answer.status_code == 200, answer.text
        grant: Event = answer.json()
        return grant


@contextmanager
def running(folder: Path, text: str = _LOCAL, head: str = "") -> Iterator[Running]:
    """Serve from a thread of this process until the block ends."""
    path = config_file(folder, text, head)
    config = load(path)
    token = Tokens(folder / "tokens.json").new("kitchen", replace=True)
    bound, ready = listen("127.0.0.1", 0), threading.Event()
    serving = server(config, ready.set)
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [bound]})
    url = url_of(bound)
    thread.start()
    try:
        assert ready.wait(WAIT_S)
        yield Running(url, folder, token)
    finally:
        serving.should_exit = True
        thread.join(WAIT_S)
        bound.close()
        assert not thread.is_alive()


class Client:
    """A GA client with its own reading of the protocol; keeps every event it was sent."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[Event] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def receive(self) -> Event:
        event: Event = json.loads(self.socket.recv(timeout=WAIT_S))
        assert event["event_id"]
        self.seen.append(event)
        return event

    def until(self, kind: str, where: Callable[[Event], bool] = lambda _: True) -> Event:
        """Read on until such an event; an error that was not asked for fails."""
        while True:
            event = self.receive()
            if event["type"] == kind and where(event):
                return event
            assert event["type"] != "error", event

    def error(self) -> Event:
        body: Event = self.until("error")["error"]
        return body

    def append(self, pcm: bytes, block_ms: int = 100) -> None:
        size = RATE * 2 * block_ms // 1000
        for at in range(0, len(pcm), size):
            self.send("input_audio_buffer.append", audio=base64.b64encode(pcm[at : at + size]).decode())

    def ask(self, words: str) -> None:
        """Speak, release and ask for the reply."""
        self.append(speech(words))
        self.send("input_audio_buffer.commit")
        self.send("response.create")

    def answer(self) -> tuple[str, bytes, Event]:
        """Read one whole reply: its transcript, its sound, and response.done."""
        start = len(self.seen)
        done = self.until("response.done")
        mine = self.seen[start:]
        sound = b"".join(
            base64.b64decode(e["delta"]) for e in mine if e["type"] == "response.output_audio.delta"
        )
        words = "".join(e["delta"] for e in mine if e["type"] == "response.output_audio_transcript.delta")
        return words, sound, done

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.seen]


@contextmanager
def session(grant: Event, **update: Any) -> Iterator[Client]:
    """Connect as the grant says, and send its settings."""
    headers = {"Authorization": f"Bearer {grant['auth']['value']}"}
    with connect(grant["url"], additional_headers=headers, max_size=2**24, max_queue=None) as socket:
        client = Client(socket)
        client.until("session.created")
        client.send("session.update", session={**grant["session"], **update})
        client.until("session.updated")
        yield client
