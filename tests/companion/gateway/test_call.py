"""Calls: a device that speaks Speko's frames, the gateway, a Janus gateway and a called party."""

from __future__ import annotations

import json
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from starlette.applications import Starlette
from websockets.exceptions import ConnectionClosed

from companion.gateway.call import LOUD, QUIET_S, Gate
from companion.gateway.janus import JanusLeg
from companion.local.engine import Engine
from companion.settings import LocalSettings
from companion.simulators.janus import Janus
from tests.companion.gateway.parties import gateway, opened
from tests.companion.talk import Client, http, speech
from tests.telephone import likeness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

WAIT_S = 20.0
FRAME_BYTES = 960
READY = {"t": "ready", "inputSampleRate": 24000, "outputSampleRate": 24000}
TONE = np.full(480, 4 * LOUD, "<i2").tobytes()
HUM = np.full(480, LOUD // 4, "<i2").tobytes()


@contextmanager
def janus(folder: Path, *mistakes: str) -> Iterator[JanusLeg]:
    """A Janus gateway where the session s-1 can be called for, and the leg to it."""
    engine = Engine(LocalSettings(), folder)
    one = Janus(engine, frozenset(mistakes), lambda call_id: call_id == "s-1")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        engine.warm()
        yield
        await engine.close()

    with http(Starlette(routes=[one.route], lifespan=lifespan), lifespan="on") as url:
        yield JanusLeg(f"{url.replace('http', 'ws', 1)}/janus", "127.0.0.1", "s-1")


def say(client: Client, words: str) -> None:
    """Send 20 ms frames in real time, and release."""
    pcm, began = speech(words), time.monotonic()
    for number, at in enumerate(range(0, len(pcm), FRAME_BYTES)):
        time.sleep(max(0.0, began + number * 0.02 - time.monotonic()))  # a microphone's pace
        client.socket.send(pcm[at : at + FRAME_BYTES])
    client.socket.send(json.dumps({"t": "control", "action": "commit"}))


def heard(client: Client) -> bytes:
    """Read to the end of what the other side says."""
    sound = b""
    while isinstance(frame := client.socket.recv(timeout=WAIT_S), bytes):
        sound += frame
    assert json.loads(frame) == {"t": "transcript", "role": "assistant", "text": "", "final": True}
    return sound


def drain(client: Client) -> None:
    while True:
        client.socket.recv(timeout=WAIT_S)


def closing(client: Client) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as closed:
        drain(client)
    frame = closed.value.rcvd
    assert frame
    return frame.code, frame.reason


@pytest.mark.parametrize("mistake", ["", "call-noise", "call-early-media"])
def test_a_turn_over_the_telephone(tmp_path: Path, mistake: str) -> None:
    mistakes = [mistake] if mistake else []
    with janus(tmp_path, *mistakes) as leg, gateway() as door, opened(door.grant(leg)) as client:
        assert json.loads(client.socket.recv(timeout=WAIT_S)) == READY
        say(client, "my name is peter")
        assert likeness(heard(client)) > 0.9


def test_a_call_is_kept_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("companion.gateway.janus._KEEPALIVE_S", 0.05)
    with janus(tmp_path) as leg, gateway() as door, opened(door.grant(leg)) as client:
        assert json.loads(client.socket.recv(timeout=WAIT_S)) == READY
        client.socket.send("{no json")
        client.socket.send(json.dumps({"t": "control", "action": "clear"}))
        say(client, "my name is peter")
        assert likeness(heard(client)) > 0.9


def test_an_interrupted_story_is_not_heard_on(tmp_path: Path) -> None:
    with janus(tmp_path) as leg, gateway() as door, opened(door.grant(leg)) as client:
        assert json.loads(client.socket.recv(timeout=WAIT_S)) == READY
        say(client, "tell me a story")
        for _ in range(50):
            assert isinstance(client.socket.recv(timeout=WAIT_S), bytes)
        client.socket.send(json.dumps({"t": "interrupt"}))
        say(client, "my name is peter")
        sound = heard(client)
        assert len(sound) < 6 * 48_000, "of the story, only what was under way"
        assert likeness(sound) > 0.9


@pytest.mark.parametrize(
    ("mistake", "line"),
    [
        ("call-busy", "the call was refused: 486 Busy Here"),
        ("call-unregistered", "the call was refused: 403 Forbidden"),
        ("call-nonsense", "the call's gateway makes no sense"),
        ("call-forgotten", "the call's gateway has forgotten the session"),
    ],
)
def test_a_call_that_is_not_made_or_is_lost_is_one_line(tmp_path: Path, mistake: str, line: str) -> None:
    with janus(tmp_path, mistake) as leg, gateway() as door, opened(door.grant(leg)) as client:
        code, reason = closing(client)
        assert code == 1011
        assert reason.removeprefix("the call is lost: ").startswith(line)


def test_a_call_for_an_unknown_session_is_refused(tmp_path: Path) -> None:
    with janus(tmp_path) as leg, gateway() as door:
        with opened(door.grant(replace(leg, call_id="s-2"))) as client:
            assert closing(client) == (1011, "the call was refused: 404 Not Found")
        assert "s-1" not in repr(leg)


def test_a_gateway_that_is_away_is_one_line(tmp_path: Path) -> None:
    with janus(tmp_path) as leg, gateway() as door:
        with opened(door.grant(replace(leg, url="ws://127.0.0.1:9/janus"))) as client:
            assert closing(client)[1].startswith("the call's gateway cannot be reached")
        with opened(door.grant(replace(leg, url=f"{leg.url}/nowhere"))) as client:
            assert closing(client) == (4001, "the call's gateway refused: HTTP 403")


def test_the_other_side_hangs_up(tmp_path: Path) -> None:
    with janus(tmp_path, "call-hangs-up") as leg, gateway() as door, opened(door.grant(leg)) as client:
        assert json.loads(client.socket.recv(timeout=WAIT_S)) == READY
        say(client, "my name is peter")
        assert closing(client)[0] == 1000


def through(gate: Gate, frames: list[bytes]) -> tuple[list[bytes], int]:
    """What a gate lets through of 20 ms frames, and at which it said that the speech had ended."""
    passed, ended = [], -1
    for number, frame in enumerate(frames):
        passed.append(gate.sound(frame, number * 0.02))
        if gate.ended(number * 0.02):
            ended = number
    return passed, ended


def test_the_gate_lets_speech_through_with_its_pauses_and_tells_its_end_once() -> None:
    frames = [HUM] * 10 + [TONE] * 5 + [HUM] * 20 + [TONE] * 5 + [HUM] * 100
    passed, ended = through(Gate(), frames)
    assert not any(passed[:10])
    assert passed[10] == HUM + TONE, "the onset before the first loud frame"
    assert all(passed[10:40])
    assert ended == pytest.approx(39 + QUIET_S / 0.02, abs=1)
    assert not any(passed[ended + 1 :])


def test_the_gate_keeps_back_what_was_interrupted_until_a_silence() -> None:
    gate = Gate()
    through(gate, [TONE] * 5)
    gate.hush(0.1)
    passed, _ = through(gate, [HUM] * 5 + [TONE] * 60)
    assert not any(passed), "shorter pauses are not its end"
    passed = [gate.sound(frame, 2.0 + number * 0.02) for number, frame in enumerate([*[HUM] * 20, TONE])]
    assert any(passed[20:])
