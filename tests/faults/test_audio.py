"""The sound card's faults, on a virtual card under the whole device."""

from __future__ import annotations

import threading
import time
import wave
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rig.card import Card
from rig.processes import Device, ProcessError, wav_audio
from rig.realtime import RATE as WIRE_HZ
from rig.realtime import RealtimeServer, realtime_server
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

CARD_HZ = 48_000
SAID_S = 0.6


def tone(seconds: float, rate: int, hertz: float = 440.0) -> NDArray[np.int16]:
    return (9_000 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.int16)


class Stage:
    """A device on a card that can be broken, and a server that answers each turn with a tone."""

    def __init__(self, card: Card, device: Device, server: RealtimeServer) -> None:
        self.card, self.device, self.server = card, device, server

    def status(self) -> dict[str, Any]:
        return self.device.ask("status")

    def fault(self) -> str:
        return str(self.status()["fault"] or "")

    def captured(self) -> int:
        return int(self.status()["counters"]["frames_captured"])

    def hangs(self) -> bool:
        """Whether no block has come for 200 ms."""
        before = self.captured()
        threading.Event().wait(0.2)
        return self.captured() == before

    def reach(self, *states: str, seconds: float = 20.0) -> None:
        until(lambda: self.status()["state"] in states, seconds)

    def turn(self) -> float:
        """Press, say a tone, release; returns the seconds of it that reached the server."""
        self.server.forget()
        before = self.status()["counters"]["replies"]
        self.device.ask("press")
        self.reach("listening")
        self.card.feed(tone(SAID_S, WIRE_HZ), WIRE_HZ).wait()
        captured = self.captured()
        until(lambda: self.captured() > captured + 20, 10)
        self.device.ask("release")
        until(lambda: self.status()["counters"]["replies"] > before, 20)
        self.reach("ready")
        return int((np.abs(self.server.heard()) > 1_000).sum()) / WIRE_HZ / 0.93  # of a sine


@contextmanager
def stage(folder: Path, more: str = "", reply_s: float = 0.5, *, plugged: bool = True) -> Iterator[Stage]:
    with Card(folder / "card") as card, realtime_server(tone(reply_s, WIRE_HZ)) as server:
        backend = (
            f'kind = "token"\nurl = "{server.url}"\nrealtime_url = "{server.realtime_url}"\nmodel = "m"\n'
        )
        if not plugged:
            card.unplug()
        with Device(folder / "device", None, more, card.env, backend=backend) as device:
            yield Stage(card, device, server)


def test_a_card_that_is_missing_at_the_start_is_waited_for(tmp_path: Path) -> None:
    with stage(tmp_path, plugged=False) as on:
        until(on.fault)
        log = on.device.log.read_text
        until(lambda: "microphone is missing" in log() and "speaker is missing" in log())
        before = on.captured()
        until(lambda: on.captured() > before + 25)  # its clock goes on
        assert (log().count("microphone is missing"), log().count("speaker is missing")) == (1, 1)
        with on.device.watch(20) as events:
            on.device.ask("press")
            assert next(event["sound"] for event in events if event["event"] == "chime") == "refused"
            notice = next(event["text"] for event in events if event["event"] == "notice")
            assert " is missing: " in notice
            on.device.ask("release")
            on.card.replug()
            assert next(event["sound"] for event in events if event["event"] == "chime") == "back"
        until(lambda: not on.fault())
        assert on.turn() == pytest.approx(SAID_S, abs=0.05)
        assert (log().count("microphone is back"), log().count("speaker is back")) == (1, 1)


def test_without_a_microphone_the_speaker_still_answers_what_is_typed(tmp_path: Path) -> None:
    with stage(tmp_path, '[audio.input]\ndevice = "nosuch"\n') as on:
        until(
            lambda: 'microphone is missing: no sound input called "nosuch": there are "rigmic"' in on.fault()
        )
        on.device.ask("say", more={"text": "hello"})
        until(lambda: on.status()["counters"]["replies"] == 1, 20)
        on.reach("ready")
        assert "microphone is missing" in on.fault()  # an open session does not make up for it
        assert "speaker" not in on.device.log.read_text()


def test_a_card_that_refuses_what_is_configured_ends_with_78_and_one_line(tmp_path: Path) -> None:
    microphone = tmp_path / "mic.wav"
    with wave.open(str(microphone), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", "not compressed"))
    audio = wav_audio(microphone, tmp_path / "out.wav")
    device = Device(tmp_path / "device", None, audio, backend='kind = "token"\nurl = "http://127.0.0.1:9"\n')
    with pytest.raises(ProcessError, match=r"mic\.wav is 1 x 16000 Hz, not 1 x 48000 Hz"):
        device.start()
    assert device.stop() == 78
    assert device.log.read_text().count("\n") == 1


def test_a_card_that_is_pulled_out_in_a_turn_is_told_and_the_next_turn_is_heard(tmp_path: Path) -> None:
    with stage(tmp_path) as on:
        assert on.turn() == pytest.approx(SAID_S, abs=0.05)
        on.device.ask("press")
        on.reach("listening")
        with on.device.watch(10) as events:
            on.card.unplug()
            assert next(event["sound"] for event in events if event["event"] == "chime") == "lost"
        until(on.fault)
        assert " is missing: " in on.fault()
        on.device.ask("release")
        on.card.replug()
        plugged_at = time.monotonic()
        until(lambda: not on.fault(), 15)
        assert time.monotonic() - plugged_at < 10  # 5 s between two looks, and the card's own start
        on.reach("ready", "idle", seconds=40)
        assert on.turn() == pytest.approx(SAID_S, abs=0.05)
        assert on.status()["counters"]["overruns"] >= 1


def test_a_reply_waits_for_the_speaker_and_is_heard_to_its_end(tmp_path: Path) -> None:
    with stage(tmp_path, reply_s=4.0) as on:
        on.device.ask("press")
        on.reach("listening")
        on.card.feed(tone(SAID_S, WIRE_HZ), WIRE_HZ).wait()
        on.device.ask("release")
        on.reach("speaking")
        on.card.unplug()
        until(lambda: "speaker is missing" in on.device.log.read_text())
        on.card.replug()
        recorder = on.card.record(tmp_path / "rest.wav")
        on.reach("ready", seconds=30)
        recorder.stop()
        rest = np.frombuffer((tmp_path / "rest.wav").read_bytes()[44:], np.int16)
        assert (np.abs(rest) > 1_000).sum() / CARD_HZ > 2.0  # most of its 4 s were still to come


def test_a_sound_server_that_dies_is_found_again(tmp_path: Path) -> None:
    with stage(tmp_path) as on:
        assert on.turn() == pytest.approx(SAID_S, abs=0.05)
        on.card.crash()
        until(on.fault)
        on.card.revive()
        until(lambda: not on.fault(), 15)
        on.reach("ready", "idle")
        assert on.turn() == pytest.approx(SAID_S, abs=0.05)
        assert on.device.alive


def test_a_read_that_hangs_for_3_s_is_counted_and_listening_goes_on(tmp_path: Path) -> None:
    with stage(tmp_path) as on:
        assert on.turn() == pytest.approx(SAID_S, abs=0.05)
        lost = on.status()["counters"]["overruns"]
        on.card.hang(True)
        until(on.hangs)
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 3)
        on.card.hang(False)
        until(lambda: on.status()["counters"]["overruns"] > lost, 20)
        assert on.turn() == pytest.approx(SAID_S, abs=0.05)
        assert on.device.alive


def test_the_device_ends_in_time_while_a_read_hangs(tmp_path: Path) -> None:
    with stage(tmp_path) as on:
        on.card.hang(True)
        until(on.hangs)
        began = time.monotonic()
        assert on.device.stop(8.0) == 0
        assert time.monotonic() - began < 5


def test_a_dead_microphone_is_told_and_so_is_its_recovery(tmp_path: Path) -> None:
    with stage(tmp_path, "[audio.input]\ndead_after_s = 1\n") as on:
        until(lambda: "nothing but zeros" in on.fault(), 20)
        assert on.status()["counters"]["dead_microphones"] == 1
        assert "check its data and clock wires" in on.fault()
        on.card.feed(tone(1.0, WIRE_HZ), WIRE_HZ)
        until(lambda: not on.fault(), 20)


def test_a_microphone_stuck_at_full_scale_is_told(tmp_path: Path) -> None:
    with stage(tmp_path, "[audio.input]\ndead_after_s = 1\n") as on:
        on.card.feed(np.full(CARD_HZ * 10, 32_767, np.int16), CARD_HZ)
        until(lambda: "stuck at full scale" in on.fault(), 20)
