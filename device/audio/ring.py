"""The last seconds of the microphone, addressed by absolute sample positions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from device.ports import Samples


class Ring:
    """Mono PCM16 with one writer thread; any thread may read, without a lock.

    Position 0 is the first sample ever written. The newest `seconds * rate` samples are kept.
    """

    def __init__(self, seconds: float, rate: int) -> None:
        self.rate = rate  # Hz
        self._size = max(1, round(seconds * rate))
        self._data = np.zeros(self._size, np.int16)
        self._written = 0
        self._reserved = 0  # positions below `_reserved - size` may be overwritten at this moment
        self._mark = (time.monotonic(), 0)

    @property
    def written(self) -> int:
        """The position after the newest sample."""
        return self._written

    @property
    def oldest(self) -> int:
        """The position of the oldest sample that can still be read."""
        return max(0, self._reserved - self._size)

    def write(self, samples: Samples) -> None:
        """Append; only the writer's thread may call this."""
        start = self._written
        end = start + len(samples)
        kept = samples[-self._size :]
        at = (end - len(kept)) % self._size
        head = min(len(kept), self._size - at)
        self._reserved = end  # announced before, published after: a reader never trusts a torn sample
        self._data[at : at + head] = kept[:head]
        self._data[: len(kept) - head] = kept[head:]
        self._written = end

    def read(self, start: int, count: int) -> Samples:
        """A copy of at most `count` samples from `start`, fewer where they are not there yet.

        What has been overwritten is left out at the front: the result then begins at `oldest`.
        """
        end = min(start + count, self._written)
        start = max(start, self.oldest)
        if end <= start:
            return np.zeros(0, np.int16)
        at = start % self._size
        head = min(end - start, self._size - at)
        copy = np.concatenate((self._data[at : at + head], self._data[: end - start - head]))
        lost = self.oldest - start  # the writer may have lapped the copy
        return copy if lost <= 0 else copy[lost:]

    def mark(self, newest_at: float) -> None:
        """Say at which monotonic time the newest written sample was heard; the writer calls this."""
        self._mark = (newest_at, self._written)

    def position_at(self, when: float) -> int:
        """The position of what was heard at a monotonic time; a later time lies beyond `written`."""
        marked_at, written = self._mark
        return max(0, written + round((when - marked_at) * self.rate))
