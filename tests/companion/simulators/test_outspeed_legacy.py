"""The older self-hosted server: its address, its frames, and a talk whose turns it finds by itself."""

from __future__ import annotations

import base64
import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from companion.simulators import Options
from companion.simulators.outspeed import build
from tests.companion.talk import RATE, http, recognised, speech

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Frame = dict[str, Any]


class Caller:
    """Speaks and then keeps silent in real time, as a microphone does, until the server has answered."""

    def __init__(self, socket: ClientConnection, rate: int = RATE) -> None:
        self.socket = socket
        self.seen: list[Frame] = []
        self._step = rate // 50 * 2

    def send(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def speak(self, pcm: bytes) -> None:
        for at in range(0, len(pcm), self._step):
            self.send("audio", data=base64.b64encode(pcm[at : at + self._step]).decode())

    def until(self, kind: str) -> Frame:
        """Send 20 ms of silence each 20 ms until such a frame comes."""
        done = threading.Event()

        def hush() -> None:
            while not done.wait(0.02):
                self.speak(bytes(self._step))

        thread = threading.Thread(target=hush)
        thread.start()
        try:
            while True:
                frame: Frame = json.loads(self.socket.recv(timeout=20))
                self.seen.append(frame)
                if frame["type"] == kind:
                    return frame
        finally:
            done.set()
            thread.join()

    def take(self) -> list[Frame]:
        seen, self.seen = self.seen, []
        return seen


def sound(frames: list[Frame]) -> bytes:
    return b"".join(base64.b64decode(frame["data"]) for frame in frames if frame["type"] == "audio")


def words(frames: list[Frame]) -> str:
    return " ".join(frame["data"] for frame in frames if frame["type"] == "message")


@contextmanager
def calling(folder: Path, *mistakes: str, **metadata: int) -> Iterator[Caller]:
    """Ask the function's URL for the address and connect there."""
    rates = {"input_sample_rate": RATE, "output_sample_rate": RATE, **metadata}
    with http(build(Options(folder, mistakes=frozenset(mistakes))), lifespan="on") as url:
        address = httpx.get(f"{url}/legacy").json()["address"]
        assert address.startswith("http://")
        with connect(address.replace("http", "ws", 1), max_size=2**24, max_queue=None) as socket:
            caller = Caller(socket, rates["input_sample_rate"])
            caller.send("audio_metadata", **rates)
            yield caller


def test_a_talk_by_turns_that_the_server_finds(tmp_path: Path) -> None:
    with calling(tmp_path) as caller:
        caller.speak(speech("my name is peter"))
        caller.until("audio_end")
        frames = caller.take()
        assert "Peter" in words(frames)
        assert "peter" in recognised(sound(frames))
        caller.send("message", data="what is my name")
        caller.until("audio_end")
        assert "Peter" in words(caller.take())
        caller.send("websocket_stop")
        with pytest.raises(ConnectionClosed):
            caller.until("audio_end")


def test_who_talks_over_a_reply_ends_it_without_audio_end_and_the_story_goes_on(tmp_path: Path) -> None:
    with calling(tmp_path) as caller:
        caller.send("message", data="tell me a story")
        caller.until("audio")
        caller.send("message", data="what time is it")
        caller.until("audio_end")
        frames = caller.take()
        assert [frame["type"] for frame in frames].count("audio_end") == 1
        first = next(frame["data"] for frame in frames if frame["type"] == "message")
        caller.send("message", data="tell me a story")
        caller.until("audio")
        caller.send("message", data="carry on")
        caller.until("audio")
        assert caller.take()[0]["data"] == first


def test_default_rates_are_48_khz_both_ways(tmp_path: Path) -> None:
    doubled = np.repeat(np.frombuffer(speech("what time is it"), "<i2"), 2).tobytes()
    with calling(tmp_path, "legacy-fast", input_sample_rate=48_000, output_sample_rate=48_000) as caller:
        caller.speak(doubled)
        caller.until("audio_end")
        pcm = np.frombuffer(sound(caller.take()), "<i2")
        assert {"it", "is"} & set(recognised(pcm[::2].tobytes()).split())


@pytest.mark.parametrize("mistake", ["legacy-odd-rate", "legacy-late-words", "legacy-unknown-frames"])
def test_mistakes(tmp_path: Path, mistake: str) -> None:
    with calling(tmp_path, mistake) as caller:
        caller.send("message", data="hello")
        caller.until("audio_end")
        frames = caller.take()
        kinds = [frame["type"] for frame in frames]
        told = {frame["sample_rate"] for frame in frames if frame["type"] == "audio"}
        assert told == ({16_000} if mistake == "legacy-odd-rate" else {RATE})
        assert ("video" in kinds) is (mistake == "legacy-unknown-frames")
        late = kinds.index("message") > kinds.index("audio")
        assert late is (mistake == "legacy-late-words")


@pytest.mark.parametrize(
    "first", [{"type": "audio", "data": ""}, {"type": "audio_metadata", "input_sample_rate": 7}]
)
def test_without_rates_that_it_knows_it_hangs_up(tmp_path: Path, first: Frame) -> None:
    with http(build(Options(tmp_path)), lifespan="on") as url, connect(url.replace("http", "ws")) as socket:
        socket.send(json.dumps(first))
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(timeout=5)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1008
