"""A reply that arrives in real time, from a server whose clock is not the card's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from device.dsp.drift import Drift, Stretch

if TYPE_CHECKING:
    from device.ports import Samples

_WATCH_S = 2.0  # before a reply is taken for one that comes in real time
_MOST_S = 0.5  # in the queue: one that is further ahead comes faster, and is played as it is
_LEAST_S = 0.06
_KEPT = 16


class Live:
    """Stretches a reply by the difference of the clocks, once its queue has been short for 2 s.

    A server that sends as fast as it can needs none of this, and its sound passes untouched.
    """

    def __init__(self) -> None:
        self._recent: Samples = np.zeros(0, np.int16)
        self.restart()

    @property
    def ratio(self) -> float:
        """Samples played for each that came; 1 while nothing is stretched."""
        return self._drift.ratio if self._drift else 1.0

    def restart(self) -> None:
        """A reply begins, or goes on after a gap."""
        self._drift: Drift | None = None
        self._stretch: Stretch | None = None
        self._watched_s = self._sum_s = 0.0
        self._fast = False

    def observe(self, level_s: float, step_s: float) -> None:
        """A block of `step_s` is about to be played, and `level_s` are waiting."""
        if self._fast:
            return
        if level_s > _MOST_S:
            self._fast, self._drift = True, None
        elif self._drift:
            self._drift.observe(level_s, step_s)
        else:
            self._watched_s += step_s
            self._sum_s += level_s * step_s
            if self._watched_s >= _WATCH_S:
                self._drift = Drift(max(_LEAST_S, self._sum_s / self._watched_s))

    def process(self, samples: Samples) -> Samples:
        """The next piece, at the card's rate."""
        if self._drift and self._stretch is None:
            self._stretch = Stretch(self._recent)
        if self._stretch:
            return self._stretch.process(samples, self.ratio)
        self._recent = samples[-_KEPT:]
        return samples
