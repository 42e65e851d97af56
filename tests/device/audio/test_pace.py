"""Samples that are gone are told by the clock; late ones are not mistaken for them."""

from __future__ import annotations

import random

from device.audio.pace import Pace

RATE, BLOCK = 48_000, 960


class Stream:
    """A card's blocks on a clock of its own; `dice` makes the reader late now and then."""

    def __init__(self, ppm: float = 0.0) -> None:
        self.pace = Pace(RATE)
        self.now = 100.0
        self._step = BLOCK / RATE / (1 + ppm / 1e6)
        self._dice = random.Random(4)  # noqa: S311 # no secret

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds * 50)):
            self.now += self._step
            self.pace.push(BLOCK, self.now + self._dice.expovariate(1 / 0.005))

    def stall(self, seconds: float, lost: float) -> None:
        """The read returns late; what was not lost comes at once."""
        self.now += seconds
        for _ in range(int((seconds - lost) * 50)):
            self.pace.push(BLOCK, self.now)


def test_an_hour_of_drift_and_jitter_loses_nothing() -> None:
    for ppm in (-200.0, 200.0):
        stream = Stream(ppm)
        stream.run(3_600)
        assert stream.pace.losses == 0


def test_a_stall_whose_samples_come_later_is_no_loss() -> None:
    stream = Stream()
    for _ in range(20):
        stream.run(3.3)
        stream.stall(0.4, lost=0.0)
    stream.run(10)
    assert stream.pace.losses == 0


def test_each_stall_that_lost_samples_counts_once() -> None:
    stream = Stream()
    for _ in range(3):
        stream.run(3.3)
        stream.stall(3.0, lost=3.0)
    stream.run(10)
    assert stream.pace.losses == 3


def test_another_stream_begins_anew() -> None:
    stream = Stream()
    stream.run(3.3)
    stream.now += 60.0
    stream.pace.restart()
    stream.run(10)
    assert stream.pace.losses == 0
