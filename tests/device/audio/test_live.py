"""Which replies are stretched, and an hour of one whose server has another clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.audio.live import Live
from device.audio.replies import Replies

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE = 8_000
BLOCK = RATE // 50
CHUNK = RATE * 80 // 1000  # 80 ms, as a speech model steps
HERTZ = 500.0


def block(value: int = 5) -> NDArray[np.int16]:
    return np.full(BLOCK, value, np.int16)


def test_a_reply_that_is_far_ahead_passes_untouched() -> None:
    live, sound = Live(), np.arange(BLOCK).astype(np.int16)
    for _ in range(500):
        live.observe(0.6, 0.02)
        assert live.process(sound) is sound
    assert live.ratio == 1.0


def test_a_reply_that_comes_in_real_time_is_followed_after_two_seconds() -> None:
    live = Live()
    for _ in range(99):
        live.observe(0.1, 0.02)
        assert live.process(block()) is not None
    assert live.ratio == 1.0
    for _ in range(500):
        live.observe(0.2, 0.02)
        live.process(block())
    assert live.ratio < 1.0


def test_one_that_turns_out_to_come_faster_is_let_go_without_a_click() -> None:
    live = Live()
    for _ in range(200):
        live.observe(0.1, 0.02)
        live.process(block(900))
    live.observe(0.7, 0.02)
    assert live.ratio == 1.0
    assert set(live.process(block(900)).tolist()) == {900}


def test_the_next_reply_is_watched_anew() -> None:
    live, sound = Live(), block()
    for _ in range(200):
        live.observe(0.1, 0.02)
        live.process(sound)
    live.restart()
    assert live.process(sound) is sound


class Hour:
    """A reply from a server whose clock differs by some ppm, on a card that is right; no time passes."""

    def __init__(self, ppm: float) -> None:
        self.replies = Replies(RATE, BLOCK)
        self.pushed = self.position = 0
        self._step_s = CHUNK / RATE / (1 + ppm * 1e-6)
        self._dice = np.random.default_rng(5)
        self._sine = np.rint(9_000 * np.sin(2 * np.pi * HERTZ * np.arange(RATE) / RATE)).astype(np.int16)

    def run(self, seconds: float) -> NDArray[np.int16]:
        """Returns the last second that was played."""
        end, out = self.position + int(seconds * RATE), []
        while self.position < end:
            self._arrive()
            played = self.replies.next_block(self.position)
            self.position += BLOCK
            if played is not None and self.position > end - RATE:
                out.append(played)
        return np.concatenate(out)

    def _arrive(self) -> None:
        while self.position / RATE >= self._due_s():
            at = self.pushed % RATE
            piece = np.concatenate((self._sine[at:], self._sine))[:CHUNK]
            self.replies.push("r", "i", piece, RATE)
            self.pushed += CHUNK

    def _due_s(self) -> float:
        # The server is 200 ms ahead, and the network is up to 30 ms late.
        return self.pushed / CHUNK * self._step_s - 0.2 + float(self._dice.uniform(0, 0.03))

    def heard(self) -> int:
        heard = self.replies.heard(self.position)
        assert heard is not None
        return heard.samples

    def delay_s(self) -> float:
        """From the arrival of a sample to its being heard, smoothed over the steps of the server."""
        delays = []
        for _ in range(1_000):
            self.run(0.02)
            delays.append((self.pushed - self.heard()) / RATE)
        return float(np.mean(delays))


@pytest.mark.parametrize("ppm", [200, -200])
def test_after_an_hour_it_is_neither_later_nor_dry(ppm: float) -> None:
    hour = Hour(ppm)
    hour.run(60)
    before = hour.delay_s()
    sound = hour.run(3_600)
    assert hour.replies.underruns == 0
    assert hour.replies.dropped_s == 0
    assert hour.delay_s() == pytest.approx(before, abs=0.005)  # 720 ms without it
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), len(sound) * 64))
    hertz = int(np.argmax(spectrum)) / 64 * RATE / len(sound)
    assert hertz == pytest.approx(HERTZ, rel=400e-6)


@pytest.mark.parametrize("ppm", [200, -200])
def test_what_was_heard_of_a_stretched_reply_is_counted_exactly(ppm: float) -> None:
    hour = Hour(ppm)
    hour.run(300)
    sound = hour.run(1)
    # The phase of what is playing says which wire sample it is, modulo a period of 16.
    said = np.arcsin(np.clip(sound[-4:] / 9_000, -1, 1))
    wire = hour.heard() - 4 - 8 + np.arange(4)  # it holds 8 back
    assert np.sin(said) == pytest.approx(np.sin(2 * np.pi * HERTZ / RATE * wire), abs=0.35)
    hour.replies.finish("r")
    while hour.replies.next_block(hour.position) is not None:
        hour.position += BLOCK
    assert hour.heard() == hour.pushed
    assert hour.replies.settle(hour.position + BLOCK) == "r"
