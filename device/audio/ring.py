"""The microphone's last seconds: mono int16 by absolute position, one writer, no lock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from device.ports import Samples


class Ring:
    """Positions count samples since the start and never wrap.

    The writer publishes `written` after the samples are in place; the GIL keeps that order for readers. It is read
    in the writer's thread, or well ahead of `oldest`.
    """

    def __init__(self, seconds: float, rate: int) -> None:
        self._rate = rate
        self._data = np.zeros(int(seconds * rate), np.int16)
        self._clock = (0, time.monotonic())  # a position, and when it was spoken
        self.written = 0

    @property
    def oldest(self) -> int:
        """The first position that is still there."""
        return max(0, self.written - len(self._data))

    def write(self, samples: Samples, at: float, latency_s: float = 0.0) -> None:
        """Append samples that arrived at `at` (monotonic seconds), the newest being `latency_s` old."""
        size = len(self._data)
        start = self.written % size
        head = min(len(samples), size - start)
        self._data[start : start + head] = samples[:head]
        self._data[: len(samples) - head] = samples[head:]
        self.written += len(samples)
        self._clock = (self.written, at - latency_s)

    def read(self, start: int, count: int) -> Samples:
        """Return a copy of at most `count` samples from `start`, fewer at either end of what is there."""
        size = len(self._data)
        first = max(start, self.oldest)
        last = min(start + count, self.written)
        if last <= first:
            return np.zeros(0, np.int16)
        a, b = first % size, (last - 1) % size + 1
        return self._data[a:b].copy() if a < b else np.concatenate((self._data[a:], self._data[:b]))

    def position_at(self, at: float) -> int:
        """Return the position that was spoken at `at`, which may lie ahead."""
        position, then = self._clock
        return max(0, position + round((at - then) * self._rate))
