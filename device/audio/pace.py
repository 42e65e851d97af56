"""Lost samples, found by the clock: a sound server that drops some does not say so."""

from __future__ import annotations

_WINDOW = 50  # blocks; within these a card that only stood still has handed over what it kept
_LOSS_S = 0.1  # far above what drift (0.2 ms in a second at 200 ppm) and jitter of the smallest lateness make


class Pace:
    """Compares the samples of a stream with the time that has passed.

    A late block is no loss: a burst follows it. But when even the least late block of a whole window is later
    than that of the window before, the samples between are gone.
    """

    def __init__(self, rate: int) -> None:
        self.losses = 0  # times that samples were lost
        self._rate = rate
        self.restart()

    def restart(self) -> None:
        """Another stream begins."""
        self._began_at: float | None = None
        self._frames = 0
        self._before = float("inf")  # the least lateness of the window before, in seconds
        self._least = float("inf")
        self._left = _WINDOW

    def push(self, frames: int, now: float) -> None:
        """A block of `frames` was complete at `now`, in monotonic seconds."""
        self._frames += frames
        if self._began_at is None:
            self._began_at = now - frames / self._rate
        self._least = min(self._least, now - self._began_at - self._frames / self._rate)
        self._left -= 1
        if self._left:
            return
        self.losses += self._least > self._before + _LOSS_S
        self._before, self._least, self._left = self._least, float("inf"), _WINDOW
