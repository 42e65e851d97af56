"""Processes: ready by a fact, gone afterwards, and one plain line when they do not come up."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from demo.sound import Recording, save
from rig.processes import Companion, Device, Process, ProcessError, wav_audio

if TYPE_CHECKING:
    from pathlib import Path


class Child(Process):
    """Ready when it has printed "up"."""

    def ready(self, said: str) -> bool:
        return "up" in said


def child(tmp_path: Path, program: str) -> Child:
    return Child("the child", [sys.executable, "-c", program], tmp_path / "child.log")


def test_a_process_is_ready_by_its_word_and_gone_afterwards(tmp_path: Path) -> None:
    with child(tmp_path, "print('up'); input_ = __import__('signal').pause()") as process:
        assert process.alive
        pid = process.pid
    assert not process.alive
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_an_earlier_run_said_does_not_make_the_next_one_ready(tmp_path: Path) -> None:
    (tmp_path / "child.log").write_text("up\n")
    with pytest.raises(ProcessError, match=r"^the child ended at once: no luck$"):
        child(tmp_path, "raise SystemExit('no luck')").start()


def test_a_process_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    program = "import signal; signal.signal(15, signal.SIG_IGN); print('up'); signal.pause()"
    with child(tmp_path, program) as process:
        assert process.stop(timeout_s=0.2) == -9
    assert process.stop() == -9


def test_the_daemon_answers_across_a_kill(tmp_path: Path) -> None:
    save(tmp_path / "mic.wav", Recording(np.zeros(0, np.int16), 48_000, 0.0))
    audio = wav_audio(tmp_path / "mic.wav", tmp_path / "speaker.wav")
    with Companion(tmp_path) as companion, Device(tmp_path, companion, audio) as device:
        assert companion.url.startswith("http://127.0.0.1:")
        assert companion.token_file.stat().st_mode & 0o077 == 0
        assert device.ask("status")["state"] == "idle"
        first = device.pid
        device.kill()
        assert not device.alive
        device.start()
        assert device.ask("status")["state"] == "idle"
        assert device.pid != first


def test_a_daemon_that_cannot_start_says_why(tmp_path: Path) -> None:
    audio = wav_audio(tmp_path / "mic.wav", tmp_path / "speaker.wav") + "[talk]\nprerol_ms = 5\n"
    with (
        Companion(tmp_path) as companion,
        pytest.raises(ProcessError, match=r"the daemon ended at once: .*did you mean preroll_ms"),
    ):
        Device(tmp_path, companion, audio).start()
