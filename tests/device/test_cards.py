"""Both sides of the card: what is waited for, and what is the owner's to mend."""

from __future__ import annotations

import wave
from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.cards import open_cards
from device.chaos import Chaos
from device.config import AudioConfig, InputConfig, OutputConfig
from device.errors import ConfigError
from tests.servers import until

if TYPE_CHECKING:
    from pathlib import Path

RATE = 16_000


class Owner:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def card_lost(self, side: str, reason: str) -> None:
        self.told.append((side, reason))

    def card_back(self, side: str) -> None:
        self.told.append((side, "back"))

    def microphone_dead(self, reason: str | None) -> None:
        self.told.append(("dead", reason or "lives"))


def config(folder: Path, rate: int = RATE, dead_after_s: float = 0.0) -> AudioConfig:
    microphone = InputConfig(
        str(folder / "mic.wav"),
        format="s16",
        rate_hz=16_000 if rate == RATE else 48_000,
        dead_after_s=dead_after_s,
    )
    return AudioConfig(
        driver="wav", input=microphone, output=OutputConfig(str(folder / "out.wav"), rate_hz=16_000)
    )


def record(path: Path, value: int, seconds: float = 1.0) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", "not compressed"))
        file.writeframes(np.full(int(seconds * RATE), value, np.int16).tobytes())


def test_a_side_that_is_missing_is_told_by_its_thread_and_found_later(tmp_path: Path) -> None:
    owner = Owner()
    source, sink = open_cards(config(tmp_path), owner)
    assert owner.told == []
    source.read(RATE // 50)
    assert sink.ready()
    assert [side for side, _ in owner.told] == ["microphone"]
    assert "mic.wav cannot be read: No such file" in owner.told[0][1]
    record(tmp_path / "mic.wav", 500)
    until(lambda: source.read(RATE // 50).any())
    assert owner.told[1:] == [("microphone", "back")]
    source.close()
    sink.close()


def test_a_card_that_refuses_what_is_asked_of_it_is_the_owners_to_mend(tmp_path: Path) -> None:
    record(tmp_path / "mic.wav", 500)
    with pytest.raises(ConfigError, match="is 1 x 16000 Hz, not 1 x 48000 Hz"):
        open_cards(config(tmp_path, 48_000), Owner())


def test_chaos_unplugs_both_sides_and_what_was_said_meanwhile_is_past(tmp_path: Path) -> None:
    record(tmp_path / "mic.wav", 500, 60)
    owner = Owner()
    source, sink = open_cards(config(tmp_path), owner, Chaos("mic.gone@0:0.7 speaker.gone@0:1.5"))
    until(lambda: source.read(RATE // 50) is not None and ("microphone", "back") in owner.told)
    assert not source.read(RATE // 50).any()
    until(lambda: sink.rest() and not sink.ready())
    until(sink.ready)
    assert {side for side, _ in owner.told} == {"microphone", "speaker"}
    source.close()
    sink.close()


def test_a_dead_microphone_is_told(tmp_path: Path) -> None:
    record(tmp_path / "mic.wav", 7)
    owner = Owner()
    source, sink = open_cards(config(tmp_path, dead_after_s=0.5), owner)
    until(lambda: source.read(RATE // 50) is not None and owner.told)
    assert owner.told[0][0] == "dead"
    assert "one and the same value" in owner.told[0][1]
    source.close()
    sink.close()
