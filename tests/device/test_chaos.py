"""Faults on purpose: the SPEC, each point at its port, and a daemon that runs with it."""

from __future__ import annotations

import errno
import sys
import threading
import time
import wave
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.chaos import Chaos, ChaosError, parse
from device.core.grant import Auth, Grant, GrantRequest
from device.errors import AudioError, BackendError, ConfigError, LinkError
from device.net.cancel import CancelledError, CancelScope
from device.system.disk import write_file
from device.system.store import Store
from rig.processes import Device, wav_audio
from rig.realtime import RATE, realtime_server
from tests.servers import until, ws_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from websockets.sync.server import ServerConnection

    from device.ports import Frames, Samples

REQUEST = GrantRequest("default", "push_to_talk", "client", None, 0)


class Microphone:
    """Gives ones."""

    rate, channels, latency_s, overruns = 48_000, 1, 0.0, 0

    def read(self, frames: int) -> Frames:
        return np.ones((frames, 1), np.int16)

    def close(self) -> None: ...


class Speaker:
    """Keeps what it was given."""

    rate, block, pending, underruns = 48_000, 480, 0, 0

    def __init__(self) -> None:
        self.heard: list[Samples] = []

    def write(self, samples: Samples) -> None:
        self.heard.append(samples)

    def rest(self) -> bool:
        return True

    def close(self) -> None: ...


class Backend:
    """Gives a grant for `url`."""

    def __init__(self, url: str = "ws://127.0.0.1:1") -> None:
        self._url = url

    def mint(self, request: GrantRequest, now: float) -> Grant:
        return Grant("openai", self._url, Auth("none", ""))


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("", "names no fault; known: mint.fail"),
        ("seed=x mint.fail=1", "one seed, a whole number"),
        ("mint.fial=0.5", "mint.fial=0.5: write POINT=CHANCE"),
        ("mint.fail", "known points: mint.fail"),
        ("mint.fail=2", "a chance is from 0 to 1"),
        ("mint.fail=0.1.2", "a number is not one"),
        ("mint.fail:backend=1", "it alone, names a thread"),
        ("thread.die@3", "thread.die:capture@5"),
        ("main.freeze=0.1", "main.freeze goes by time"),
    ],
)
def test_a_spec_that_makes_no_sense_is_one_line(spec: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(spec)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_spec_is_read_whole() -> None:
    faults = parse("seed=7 mint.fail=0.2 link.cut@30/60 mic.gone@10:5 thread.die:sender@3 capture.freeze@1")
    assert [(one.point, one.target, one.chance, one.due_s, one.every_s, one.lasts_s) for one in faults] == [
        ("mint.fail", "", 0.2, None, None, 0.0),
        ("link.cut", "", 0.0, 30.0, 60.0, 0.0),
        ("mic.gone", "", 0.0, 10.0, None, 5.0),
        ("thread.die", "sender", 0.0, 3.0, None, 0.0),
        ("capture.freeze", "", 0.0, 1.0, None, float("inf")),
    ]


def test_the_same_seed_brings_the_same_faults_and_another_one_others() -> None:
    def struck(spec: str) -> list[bool]:
        chaos = Chaos(spec)
        return [chaos.strikes("mint.fail") for _ in range(200)]

    first = struck("seed=7 mint.fail=0.2")
    assert first == struck("seed=7 mint.fail=0.2")
    assert first != struck("seed=8 mint.fail=0.2")
    assert 20 < sum(first) < 60


def test_a_fault_by_time_strikes_once_or_again_and_again() -> None:
    once, often = parse("mint.fail@2 mint.fail@2/3")
    at = [0.0, 1.9, 2.0, 2.1, 5.0, 7.9, 8.0]
    assert [one for one in at if once.strikes(one)] == [2.0]
    assert [one for one in at if often.strikes(one)] == [2.0, 5.0, 8.0]


def test_the_backend_fails_and_stalls() -> None:
    chaos = Chaos("mint.fail@0 mint.stall@0:0.2")
    backend = chaos.backend(Backend())
    began = time.monotonic()
    with pytest.raises(BackendError) as caught:
        backend.mint(REQUEST, 0.0)
    assert not caught.value.fatal
    assert time.monotonic() - began >= 0.2
    assert backend.mint(REQUEST, 0.0).dialect == "openai"
    assert chaos.status()["injected"] == {"mint.stall": 1, "mint.fail": 1}


def test_the_microphone_goes_dead_and_away_and_comes_back() -> None:
    dead = Chaos("mic.zero@0:0.2").microphone(Microphone())
    assert not dead.read(10).any()
    until(lambda: dead.read(10).all())
    assert (Chaos("mic.stuck=1").microphone(Microphone()).read(10) == 32767).all()
    gone = Chaos("mic.gone@0:0.2").microphone(Microphone())
    with pytest.raises(AudioError):
        gone.read(10)

    def back() -> bool:
        with suppress(AudioError):
            return bool(gone.read(10).all())
        return False

    until(back)


def test_the_speaker_goes_away() -> None:
    speaker = Speaker()
    with pytest.raises(AudioError):
        Chaos("speaker.gone=1").speaker(speaker).write(np.ones(480, np.int16))
    assert not speaker.heard
    Chaos("speaker.gone@99").speaker(speaker).write(np.ones(480, np.int16))
    assert len(speaker.heard) == 1


@pytest.mark.parametrize("point", ["capture.freeze", "playback.freeze"])
def test_a_freeze_does_not_return_before_its_time(point: str) -> None:
    chaos = Chaos(f"{point}@0:0.3")
    began = time.monotonic()
    chaos.microphone(Microphone()).read(10)
    chaos.speaker(Speaker()).write(np.ones(480, np.int16))
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize(("point", "number"), [("store.full", errno.ENOSPC), ("store.readonly", errno.EROFS)])
def test_the_state_folder_takes_nothing(tmp_path: Path, point: str, number: int) -> None:
    told: list[str] = []
    chaos = Chaos(f"{point}=1")
    store = Store(tmp_path, told.append, chaos.disk())
    book, _ = store.load()
    assert not store.save(book)
    store.close()
    assert len(told) == 1
    assert chaos.status()["injected"][point] >= 1
    disk = chaos.disk()
    with pytest.raises(OSError, match=rf"\[Errno {number}\]"):
        write_file(disk, tmp_path / "x", b"x")


def _echo(peer: ServerConnection) -> None:
    for message in peer:
        peer.send(message)


def test_the_link_is_refused_cut_and_stalled() -> None:
    with ws_server(_echo) as url:
        grant = Backend(url).mint(REQUEST, 0.0)
        with pytest.raises(LinkError, match="chaos refused"):
            Chaos("link.refuse=1").open_link(grant)
        link = Chaos("link.stall@0:0.3").open_link(grant)
        link.send("hello")
        began = time.monotonic()
        assert link.receive() == "hello"
        assert time.monotonic() - began >= 0.3
        link.close()
        cut = Chaos("link.cut=1").open_link(grant)
        with pytest.raises(LinkError):
            cut.receive()


def test_a_stalled_link_is_found_silent_by_its_own_limits() -> None:
    with ws_server(_echo) as url:
        grant = Backend(url).mint(REQUEST, 0.0)
        link = Chaos("link.stall@0").open_link(grant)
        link.send("hello")
        with pytest.raises(LinkError, match="not opened in time"):
            link.receive(time.monotonic() + 0.3)
        link.talking(True)
        with pytest.raises(LinkError, match=r"nothing heard for 4\.5 s"):
            link.receive()
        link.close()


def test_a_stalled_link_can_be_closed() -> None:
    with ws_server(_echo) as url:
        link = Chaos("link.stall@0").open_link(Backend(url).mint(REQUEST, 0.0))
        gone: list[LinkError] = []

        def receive() -> None:
            try:
                link.receive()
            except LinkError as error:
                gone.append(error)

        thread = threading.Thread(target=receive)
        thread.start()
        link.close()
        thread.join(4)
        assert len(gone) == 1


def test_a_stalled_mint_ends_at_the_limit_of_its_attempt_or_when_that_is_cancelled() -> None:
    backend = Chaos("mint.stall@0").backend(Backend())
    with CancelScope(0.2), pytest.raises(BackendError, match=r"0\.2 s"):
        backend.mint(REQUEST, 0.0)
    scope = CancelScope()
    timer = threading.Timer(0.2, scope.cancel)
    timer.start()
    with scope, pytest.raises(CancelledError):
        backend.mint(REQUEST, 0.0)
    timer.join()


def test_a_fault_that_is_due_once_strikes_once_whichever_threads_ask() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(50):
            chaos = Chaos("link.cut@0")
            asked = threading.Barrier(4)

            def ask(chaos: Chaos = chaos, asked: threading.Barrier = asked) -> None:
                asked.wait()
                chaos.strikes("link.cut")

            threads = [threading.Thread(target=ask) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert chaos.status()["injected"] == {"link.cut": 1}
    finally:
        sys.setswitchinterval(before)


def test_an_idle_link_is_cut_when_its_time_comes() -> None:
    with ws_server(_echo) as url:
        chaos = Chaos("link.cut@0.1")
        link = chaos.open_link(Backend(url).mint(REQUEST, 0.0))
        chaos.start()
        with pytest.raises(LinkError):
            link.receive()


def test_a_thread_dies_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    dead: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", dead.append)
    done = threading.Event()

    def work() -> None:
        while not done.wait(0.01):
            pass

    threads = [threading.Thread(target=work, name=name) for name in ("ping-3", "other")]
    for thread in threads:
        thread.start()
    Chaos("thread.die:ping@0.05").start()
    until(lambda: not threads[0].is_alive())
    assert threads[1].is_alive()
    done.set()
    threads[1].join()
    assert [(one.exc_type, one.thread) for one in dead] == [(ChaosError, threads[0])]


# --- the daemon with it


def _tone(seconds: float, rate: int) -> NDArray[np.int16]:
    return (8000 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.int16)


@pytest.fixture
def backend() -> Iterator[str]:
    with realtime_server(_tone(0.3, RATE)) as server:
        yield f'kind = "token"\nurl = "{server.url}"\nrealtime_url = "{server.realtime_url}"\nmodel = "m"'


def _device(folder: Path, backend: str, chaos: str) -> Device:
    with wave.open(str(folder / "mic.wav"), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", "not compressed"))
    return Device(
        folder, None, wav_audio(folder / "mic.wav", folder / "out.wav"), backend=backend, chaos=chaos
    )


def test_the_status_and_the_log_say_that_chaos_is_on(tmp_path: Path, backend: str) -> None:
    with _device(tmp_path, backend, "seed=1 mint.fail@0 mic.zero@99") as device:
        device.ask("press")
        until(lambda: device.ask("status")["chaos"]["injected"].get("mint.fail"))
        assert device.ask("status")["chaos"]["spec"] == "seed=1 mint.fail@0 mic.zero@99"
    log = device.log.read_text()
    assert "chaos is on: seed=1 mint.fail@0 mic.zero@99" in log
    assert log.count("chaos: mint.fail: the backend gives no grant") == 1


def test_a_daemon_without_chaos_does_not_speak_of_it(tmp_path: Path, backend: str) -> None:
    with _device(tmp_path, backend, "") as device:
        assert "chaos" not in device.ask("status")


def test_a_bad_spec_ends_with_78_and_one_line(tmp_path: Path, backend: str) -> None:
    device = _device(tmp_path, backend, "capture.thaw@3")
    with pytest.raises(Exception, match=r"capture\.thaw@3"):
        device.start()
    assert device.stop() == 78
    assert device.log.read_text().count("\n") == 1


def test_the_main_loop_stands_still_and_goes_on(tmp_path: Path, backend: str) -> None:
    with _device(tmp_path, backend, "main.freeze@0.2:3") as device:
        until(lambda: "chaos: main.freeze" in device.log.read_text())
        began = time.monotonic()
        device.ask("press")
        until(lambda: device.ask("status")["state"] != "idle")
        assert time.monotonic() - began > 1.0


@pytest.mark.parametrize("thread", ["capture", "playback", "main"])
def test_a_thread_that_dies_ends_the_daemon(tmp_path: Path, backend: str, thread: str) -> None:
    with _device(tmp_path, backend, f"thread.die:{thread}@0.5") as device:
        until(lambda: not device.alive, 10)
        assert device.stop() == 1
    assert "ChaosError" in device.log.read_text()
