"""A token bucket: so many a minute, with a burst of the same number."""

from __future__ import annotations


class Bucket:
    """`per_minute` permits, refilled evenly; time (seconds, any clock that only grows) is an argument."""

    def __init__(self, per_minute: int, now: float) -> None:
        self.limit = per_minute
        self._level = float(per_minute)
        self._at = now

    def take(self, now: float) -> float:
        """Take one permit and return 0, or take none and return the seconds until there is one."""
        self._refill(now)
        if self._level >= 1:
            self._level -= 1
            return 0.0
        return (1 - self._level) * 60 / self.limit

    def remaining(self, now: float) -> int:
        """Return how many permits are left."""
        self._refill(now)
        return int(self._level)

    def full_in_s(self, now: float) -> float:
        """Return the seconds until the bucket is full again."""
        self._refill(now)
        return (self.limit - self._level) * 60 / self.limit

    def _refill(self, now: float) -> None:
        self._level = min(float(self.limit), self._level + (now - self._at) * self.limit / 60)
        self._at = now
