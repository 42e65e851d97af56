"""How long to wait before the next attempt: exponential back-off with full jitter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Patience:
    """Waits of 0 to `first_s` · 2ⁿ, at most `longest_s`, in seconds.

    `draw` gives a number in [0, 1). Full jitter: Brooker, "Exponential Backoff And Jitter", AWS, 2015.
    """

    draw: Callable[[], float]
    first_s: float = 0.25
    longest_s: float = 30.0
    failures: int = field(default=0, init=False)

    def next_wait(self, retry_after_s: float | None = None) -> float:
        """Return the seconds to wait after one more failure; a time that the server named is obeyed."""
        ceiling: float = min(self.longest_s, self.first_s * 2 ** min(self.failures, 16))
        self.failures += 1
        if retry_after_s is not None:
            return max(0.0, retry_after_s)
        return self.draw() * ceiling

    def reset(self) -> None:
        """Forget the failures: an attempt succeeded, or the user asks at once."""
        self.failures = 0
