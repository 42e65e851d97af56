"""The picture: the right size, not empty, and it changes with what it shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import matplotlib.image
import numpy as np
import pytest

from demo.sound import Recording, save
from demo.timeline import draw, draw_folder
from tests.demo import scenes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_KILL = (193, 18, 31)
_SPEAKER = (179, 92, 30)


def pixels(path: Path) -> NDArray[np.uint8]:
    return (matplotlib.image.imread(path)[:, :, :3] * 255).round().astype(np.uint8)


def of_colour(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> int:
    return int((np.abs(picture.astype(int) - colour).max(axis=2) < 12).sum())


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> NDArray[np.uint8]:
    path = tmp_path_factory.mktemp("picture") / "timeline.png"
    draw(scenes.events(), scenes.microphone(), scenes.speaker(), path)
    return pixels(path)


def test_the_picture_has_its_size(picture: NDArray[np.uint8]) -> None:
    assert picture.shape == (960, 1920, 3)


def test_waves_states_and_the_kill_are_seen(picture: NDArray[np.uint8]) -> None:
    assert of_colour(picture, _SPEAKER) > 5_000
    assert of_colour(picture, _KILL) > 500
    for state in ("#61a5c2", "#c8b6e2", "#e09f5a"):
        colour = (int(state[1:3], 16), int(state[3:5], 16), int(state[5:7], 16))
        assert of_colour(picture, colour) > 1_000, state


def test_without_a_kill_nothing_is_red(tmp_path: Path) -> None:
    events = [event for event in scenes.events() if event["event"] != "kill"]
    draw(events, scenes.microphone(), scenes.speaker(), tmp_path / "t.png")
    assert of_colour(pixels(tmp_path / "t.png"), _KILL) == 0


def test_a_silent_speaker_has_a_flat_line(tmp_path: Path) -> None:
    voice = scenes.speaker()
    silent = Recording(np.zeros_like(voice.pcm), voice.rate, voice.start)
    events = [event for event in scenes.events() if event["event"] != "transcript"]
    draw(events, scenes.microphone(), silent, tmp_path / "t.png")
    assert of_colour(pixels(tmp_path / "t.png"), _SPEAKER) < 5_000


def test_a_folder_is_drawn_again(tmp_path: Path) -> None:
    rows = scenes.events()
    for name, recording in (("mic.wav", scenes.microphone()), ("speaker.wav", scenes.speaker())):
        save(tmp_path / name, recording)
        rows.append({"event": "recording", "t": 40.0, "file": name, "start": recording.start})
    (tmp_path / "events.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert pixels(draw_folder(tmp_path)).shape == (960, 1920, 3)
