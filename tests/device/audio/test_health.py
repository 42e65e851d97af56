"""A dead microphone is told from a quiet one, and the line says what to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.audio.health import Health

if TYPE_CHECKING:
    from device.ports import Frames

RATE, BLOCK = 48_000, 960
ZEROS = "the microphone is dead: it gives nothing but zeros; check its data and clock wires, the overlay"


class Microphone:
    """Blocks of one kind or another, and what was told of them."""

    def __init__(self, channel: int | None = 0, limit_s: float = 10.0) -> None:
        self.told: list[str | None] = []
        self.health = Health(RATE, channel, limit_s, self.told.append)
        self._dice = np.random.default_rng(9)

    def give(self, seconds: float, *values: int | None, dtype: type = np.int32) -> None:
        """A constant for each channel; None: the noise of a very quiet room, one or two steps."""
        for _ in range(int(seconds * 50)):
            block: Frames = np.empty((BLOCK, len(values)), dtype)
            for channel, value in enumerate(values):
                quiet = self._dice.integers(-1, 2, BLOCK) if value is None else value
                block[:, channel] = quiet
            self.health.push(block)


@pytest.mark.parametrize("value", [0, -1, -256])
def test_a_line_that_nobody_drives_is_told_once_after_the_limit(value: int) -> None:
    microphone = Microphone()
    microphone.give(9.5, value, value)
    assert microphone.told == []
    microphone.give(20, value, value)
    assert len(microphone.told) == 1
    assert str(microphone.told[0]).startswith(ZEROS)
    assert (microphone.health.reason, microphone.health.deaths) == (microphone.told[0], 1)


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (2**31 - 1, np.int32, "stuck at full scale; check its data wire for a short"),
        (-(2**31), np.int32, "stuck at full scale"),
        (32_767, np.int16, "stuck at full scale"),
        (-32_768, np.int16, "stuck at full scale"),
        (1_234, np.int16, "one and the same value"),
        (-2, np.int16, "one and the same value"),
    ],
)
def test_a_stuck_line_says_how(value: int, dtype: type, text: str) -> None:
    microphone = Microphone()
    microphone.give(11, value, dtype=dtype)
    assert text in str(microphone.told[0])


def test_rails_that_alternate_are_full_scale_too() -> None:
    microphone = Microphone()
    block = np.where(np.arange(BLOCK) % 2, 32_767, -32_768).astype(np.int16).reshape(-1, 1)
    for _ in range(11 * 50):
        microphone.health.push(block)
    assert "full scale" in str(microphone.told[0])


def test_a_quiet_room_and_a_loud_voice_live() -> None:
    microphone = Microphone()
    microphone.give(60, None, None)
    loud = (32_767 * np.sign(np.sin(np.arange(BLOCK)))).astype(np.int16)
    loud[::7] //= 2
    for _ in range(60 * 50):
        microphone.health.push(loud.reshape(-1, 1))
    assert microphone.told == []


def test_a_dead_channel_names_the_one_that_lives() -> None:
    microphone = Microphone(channel=0)
    microphone.give(11, 0, None)
    assert str(microphone.told[0]).startswith(
        "microphone channel 0 is dead (it gives nothing but zeros), 1 lives: set audio.input.channel"
    )


@pytest.mark.parametrize("channel", [1, None])
def test_a_dead_channel_beside_the_one_in_use_is_no_fault(channel: int | None) -> None:
    microphone = Microphone(channel)
    microphone.give(30, 0, None)
    assert microphone.told == []


def test_all_of_a_mix_may_be_dead() -> None:
    microphone = Microphone(channel=None)
    microphone.give(11, 0, 0)
    assert str(microphone.told[0]).startswith(ZEROS)


def test_one_that_comes_back_is_believed_longer_the_next_time() -> None:
    microphone = Microphone()
    microphone.give(11, 0)
    microphone.give(1, None)
    assert microphone.told[1:] == [None]
    assert microphone.health.reason is None
    microphone.give(19, 0)
    assert len(microphone.told) == 2
    microphone.give(2, 0)
    assert len(microphone.told) == 3


def test_blocks_of_any_length_are_counted_in_time() -> None:
    microphone = Microphone()
    for _ in range(99):
        microphone.health.push(np.zeros((RATE // 10, 1), np.int16))
    assert microphone.told == []
    for _ in range(5):
        microphone.health.push(np.zeros((RATE // 10, 1), np.int16))
    assert len(microphone.told) == 1


def test_no_limit_never_tells() -> None:
    microphone = Microphone(limit_s=0.0)
    microphone.give(60, 0)
    assert microphone.told == []
