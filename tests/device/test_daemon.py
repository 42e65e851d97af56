"""The daemon as its own process, with WAV files for a card, against a realtime server told what to do."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import wave
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from device.core import events as e
from device.daemon import Daemon, _Health, _Stop
from device.errors import StateError
from device.system.control_client import Watch, request
from device.system.recent import Recent
from rig.realtime import RATE, RealtimeServer, realtime_server
from tests.faults.scene import supervised
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

CARD = 48_000


def tone(seconds: float, rate: int) -> NDArray[np.int16]:
    return (8000 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.int16)


class Device:
    """One daemon on a folder."""

    def __init__(self, folder: Path, server: RealtimeServer, more: str = "") -> None:
        self.folder = folder
        self.socket = folder / "state" / "control.sock"
        self.microphone, self.speaker = folder / "mic.wav", folder / "speaker.wav"
        with wave.open(str(self.microphone), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(CARD)
        self.config = folder / "config.toml"
        self.config.write_text(
            f'board = "simulated"\n[backend]\nkind = "token"\nurl = "{server.url}"\n'
            f'realtime_url = "{server.realtime_url}"\nmodel = "m"\n[state]\ndir = "{folder}/state"\n'
            f'[audio]\ndriver = "wav"\n[audio.input]\ndevice = "{self.microphone}"\n'
            f'format = "s16"\nchannels = 1\n[audio.output]\ndevice = "{self.speaker}"\n{more}'
        )
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.process = self.spawn()
        until(self._answers, 10)

    def spawn(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "device.cli", "run", "--config", str(self.config)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def _answers(self) -> bool:
        assert self.process
        assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
        try:
            return bool(request(self.socket, {"cmd": "status"})["ok"])
        except StateError:
            return False

    def do(self, command: str, **more: Any) -> dict[str, Any]:
        return request(self.socket, {"cmd": command, **more})

    def say(self, samples: NDArray[np.int16]) -> None:
        with self.microphone.open("ab") as file:
            file.write(samples.tobytes())

    def reach(self, *states: str) -> None:
        with Watch(self.socket, timeout_s=15) as events:
            if self.do("status")["state"] not in states:
                next(event for event in events if event["event"] == "state" and event["state"] in states)

    def talk(self, seconds: float = 0.6) -> None:
        """Press, say a tone, release when it has been captured."""
        before = self.do("status")["counters"]["frames_captured"]
        self.do("press")
        self.say(tone(seconds, CARD))
        until(lambda: self.do("status")["counters"]["frames_captured"] > before + seconds * 50 + 2)
        self.do("release")

    def played(self) -> NDArray[np.int16]:
        return np.frombuffer(self.speaker.read_bytes()[44:], np.int16)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        assert self.process
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        _, errors = self.process.communicate(timeout=5)
        return self.process.returncode, errors


@contextmanager
def device(folder: Path, reply_s: float = 0.5, more: str = "") -> Iterator[tuple[Device, RealtimeServer]]:
    with realtime_server(tone(reply_s, RATE)) as server:
        one = Device(folder, server, more)
        one.start()
        try:
            yield one, server
        finally:
            one.stop(signal.SIGKILL)


def test_a_turn_is_sent_answered_and_heard(tmp_path: Path) -> None:
    with device(tmp_path) as (one, server):
        one.talk()
        one.reach("ready")
        loud = int((np.abs(server.heard()) > 1000).sum()) / RATE
        assert 0.5 < loud < 0.62
        heard = np.abs(one.played()) > 1000
        assert 0.4 < heard.sum() / CARD < 0.52
        status = one.do("status")
        assert status["session"]["rung"] == "fresh"
        assert status["counters"]["replies"] == 1
        assert set(status["latencies"]) >= {"press_to_frame_ms", "release_to_commit_ms", "reply_to_sound_ms"}
        code, errors = one.stop()
    assert code == 0
    assert "Traceback" not in errors


def test_what_is_said_while_the_mint_takes_2_5_s_is_not_lost(tmp_path: Path) -> None:
    with device(tmp_path) as (one, server):
        server.mint_s = 2.5
        one.talk(0.6)
        assert one.do("status")["state"] == "connecting"
        one.reach("speaking")
        assert 0.5 < int((np.abs(server.heard()) > 1000).sum()) / RATE < 0.62
        assert one.do("status")["counters"]["frames_dropped"] == 0


def test_a_press_during_a_reply_cuts_it_here_and_at_the_server(tmp_path: Path) -> None:
    with device(tmp_path, reply_s=20.0) as (one, server):
        one.talk()
        one.reach("speaking")
        with Watch(one.socket, timeout_s=10) as events:
            one.do("press")
            cut = next(event for event in events if event["event"] == "interrupted")
        until(lambda: server.truncated_ms)
        assert server.truncated_ms == [cut["heard_ms"]]
        server.reply = server.reply[:0]  # on a slow machine the press was long enough for a turn
        one.do("release")
        one.reach("ready")
        heard = np.flatnonzero(np.abs(one.played()) > 1000)
        length_ms = (heard[-1] - heard[0]) / CARD * 1000
        assert abs(length_ms - cut["heard_ms"]) < 20
        assert one.do("status")["counters"]["interruptions"] == 1


def test_a_session_that_breaks_in_mid_speech_is_replaced_and_the_speech_sent_again(tmp_path: Path) -> None:
    with device(tmp_path) as (one, server):
        one.do("press")
        one.say(tone(1.0, CARD))
        until(lambda: len(server.heard()) > RATE // 2)
        server.forget()
        server.cut()
        one.reach("connecting", "retrying")
        one.reach("listening")
        until(lambda: int((np.abs(server.heard()) > 1000).sum()) / RATE > 0.9)
        one.do("release")
        one.reach("speaking")
        assert one.do("status")["counters"]["reconnects"] == 1


def test_a_mute_at_rest_is_shown_at_once(tmp_path: Path) -> None:
    with supervised(tmp_path) as one:
        run = one.life(0)
        assert run.said.count("STATUS=idle") == 1
        one.device.ask("mute")
        until(lambda: "STATUS=muted" in run.said)
        one.device.ask("unmute")
        until(lambda: run.said.count("STATUS=idle") == 2)


def test_the_conversation_is_resumed_after_a_kill(tmp_path: Path) -> None:
    with device(tmp_path) as (one, server):
        one.talk()
        one.reach("ready")
        until((tmp_path / "state" / "sessions.json").exists)
        one.stop(signal.SIGKILL)
        one.start()
        with Watch(one.socket, timeout_s=10) as events:
            one.talk()
            session = next(event for event in events if event["event"] == "session")
        assert session["rung"] == "seeded"
        assert server.seeds


def test_a_backend_that_is_down_is_told_and_the_daemon_goes_on(tmp_path: Path) -> None:
    with device(tmp_path, more="[talk]\nkeep_turn_ms = 300\n") as (one, server):
        server.status = 500
        with Watch(one.socket, timeout_s=10) as events:
            one.talk()
            notice = next(
                event for event in events if event["event"] == "notice" and event["level"] == "error"
            )
        assert "answered 500" in notice["text"]
        assert "500" in one.do("status")["fault"]
        server.status = 200
        one.reach("ready")
        one.talk()
        one.reach("ready")
        assert one.do("status")["fault"] is None


def test_a_second_daemon_on_the_same_folder_is_one_line(tmp_path: Path) -> None:
    with device(tmp_path) as (one, _server):
        second = one.spawn()
        _, errors = second.communicate(timeout=10)
        assert second.returncode == 1
        assert "another pressel" in errors
        assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("[talk]\nprerol_ms = 5\n", "did you mean preroll_ms?"),
        ('[panel]\ndriver = "gpio"\n', "panel.button is missing"),
    ],
)
def test_a_wrong_setting_ends_with_78_and_one_line(tmp_path: Path, more: str, line: str) -> None:
    with realtime_server(tone(0.1, RATE)) as server:
        process = Device(tmp_path, server, more).spawn()
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 78
    assert line in errors
    assert errors.count("\n") == 1


def test_volume_mute_and_forget(tmp_path: Path) -> None:
    with device(tmp_path) as (one, _server):
        assert one.do("volume", value=40)["volume"] == 40
        assert not one.do("volume", value=400)["ok"]
        one.do("mute")
        until(lambda: one.do("status")["muted"])
        with Watch(one.socket, timeout_s=10) as events:
            one.do("tap")
            notice = next(event for event in events if event["event"] == "notice")
        assert "unmute" in notice["text"]
        one.do("unmute")
        one.do("forget")
        assert one.do("transcript")["turns"] == []
        assert one.do("dance") == {"ok": False, "error": one.do("dance")["error"]}
        one.do("quit")
        assert one.process
        assert one.process.wait(5) == 0


class _Quiet(Daemon):
    """The daemon's part that tells and shows faults, alone."""

    def __init__(self, folder: Path) -> None:
        self._faults, self._dropped, self._gap_told = {}, 0, False
        self._inbox = queue.SimpleQueue()
        self.told: list[dict[str, Any]] = []
        control = SimpleNamespace(publish=self.told.append)
        self._parts = cast("Any", SimpleNamespace(recent=Recent(folder / "events.json"), control=control))

    def _show(self) -> None:
        """There is no light."""

    def take(self) -> None:
        while not self._inbox.empty():
            self._take_health(cast("_Health", self._inbox.get()))


def test_each_part_s_recovery_clears_its_own_fault_and_no_other(tmp_path: Path) -> None:
    one = _Quiet(tmp_path)
    one.tell("error", "the backend answered 401")
    one.store_troubled("the disk is full")
    one.microphone_dead("the microphone is dead")
    one.take()
    one._observe(e.CardLost("speaker", "unplugged"))
    one.tell("error", "the speaker is missing: unplugged")  # what the conversation makes of it
    assert list(one._faults.values()) == [
        "the backend answered 401",
        "the disk is full",
        "the microphone is dead",
        "the speaker is missing: unplugged",
    ]
    one._observe(e.CardBack("speaker"))
    one.microphone_dead(None)
    one.take()
    assert list(one._faults) == ["session", "store"]
    one.store_recovered("all is on disk")
    one.take()
    assert list(one._faults.values()) == ["the backend answered 401"]
    assert one.told[-1]["text"] == "all is on disk"


def test_what_has_left_the_ring_is_told_once_a_turn(tmp_path: Path) -> None:
    one = _Quiet(tmp_path)
    one._tell_gap(0)
    assert one.told == []
    one._tell_gap(75)
    one._tell_gap(80)
    assert [(event["level"], event["text"]) for event in one.told] == [
        ("warning", "1.5 s of what was said had to wait longer than talk.buffer_s: not sent")
    ]
    one._gap_told = False  # the next turn
    one._tell_gap(80)
    assert len(one.told) == 1
    one._tell_gap(90)
    assert len(one.told) == 2


def test_any_thread_that_dies_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = object.__new__(Daemon)
    daemon._inbox = queue.SimpleQueue()
    monkeypatch.setattr(threading, "excepthook", daemon._mourn)
    thread = threading.Thread(target=lambda: int("x"), name="ping-1")
    thread.start()
    thread.join()
    stop = daemon._inbox.get(timeout=5)
    assert isinstance(stop, _Stop)
    assert (stop.status, stop.reason) == (1, "ping-1 died: invalid literal for int() with base 10: 'x'")
