"""WAV files as a stage: what is said grows the microphone's file, and both tracks cover every run."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path

import numpy as np

from demo.sound import RATE, Recording, load, save
from demo.stage import WavStage


def test_two_runs_become_one_track_of_what_was_said_and_played(tmp_path: Path) -> None:
    stage = WavStage(tmp_path, tmp_path)
    for value in (1000, 2000):
        stage.begin_run()
        files = tomllib.loads(stage.audio)["audio"]
        microphone, speaker = (Path(files[side]["device"]) for side in ("input", "output"))
        stage.say(np.full(480, value, np.int16), RATE).wait()
        assert np.array_equal(load(microphone, 0.0).pcm, np.full(480, value))
        save(speaker, Recording(np.full(96, value, np.int16), RATE, 0.0))
        stage.end_run()
    mic, played = stage.finish()
    for track, length in ((mic, 480), (played, 96)):
        assert [int((track.pcm == value).sum()) for value in (1000, 2000)] == [length, length]
        assert track.end <= time.monotonic()
        assert int(np.argmax(track.pcm == 1000)) < int(np.argmax(track.pcm == 2000))
    assert np.array_equal(load(tmp_path / "speaker.wav", 0.0).pcm, played.pcm)


def test_a_run_that_never_opened_its_speaker_leaves_silence(tmp_path: Path) -> None:
    stage = WavStage(tmp_path, tmp_path)
    stage.begin_run()
    stage.end_run()
    assert not stage.finish()[1].pcm.any()


def test_waiting_takes_as_long_as_the_sound(tmp_path: Path) -> None:
    stage = WavStage(tmp_path, tmp_path)
    stage.begin_run()
    said = stage.say(np.zeros(2400, np.int16), 24_000)
    said.wait()
    assert time.monotonic() >= said.started_at + 0.1
