"""Ends a process that stands still: no part may be deaf while the rest looks alive."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

LIMIT_S = 5.0
"""How long a part may stand still: the slowest moves once a second; the rest is for a busy machine."""
_TICK_S = 0.25
_GAP_S = 3 * _TICK_S  # between two looks: nobody could move
_LAST_WORDS_S = 0.5


class Watchdog:
    """Looks at every part's clock four times a second.

    `clocks`: by the part's name, what tells when it last moved (monotonic seconds). `feed(now)` is called
    while all of them have moved within `limit_s`. When one has not, one line is logged and the process ends
    with status 1. Time in which this thread did not run itself (a stopped process) counts for nobody, but
    only the longest such time since the part last moved: where a machine gives out time in bits, a dead part
    is found out all the same. When no thread of Python runs any more, nothing is fed, and systemd ends the
    process.
    """

    def __init__(
        self,
        clocks: Mapping[str, Callable[[], float]],
        feed: Callable[[float], None],
        *,
        limit_s: float = LIMIT_S,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._clocks = dict(clocks)
        self._feed, self._end = feed, end
        self._limit_s = limit_s
        self._looked_at = float("-inf")
        self._moved = dict.fromkeys(clocks, float("-inf"))
        self._forgiven = dict.fromkeys(clocks, 0.0)  # s since it last moved in which nobody could
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Look from now on; what happened before counts for nobody."""
        self._thread.start()

    def close(self) -> None:
        """Look no more; safe to call twice."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def _run(self) -> None:
        self._looked_at = time.monotonic()
        self._moved = dict.fromkeys(self._clocks, self._looked_at)
        while not self._closing.wait(_TICK_S):
            if not self._look(time.monotonic()):
                return

    def _look(self, now: float) -> bool:
        gap_s, self._looked_at = now - self._looked_at, now
        still = {name: self._still_s(name, now, gap_s if gap_s > _GAP_S else 0.0) for name in self._clocks}
        slowest = max(still, key=still.__getitem__)
        if still[slowest] < self._limit_s:
            self._feed(now)
            return True
        end_process(
            f"{slowest} has stood still for {still[slowest]:.1f} s: ending, to be started again", 1, self._end
        )
        return False

    def _still_s(self, name: str, now: float, gap_s: float) -> float:
        """How long a part could have moved and did not; in the last `gap_s` nobody could."""
        moved = self._clocks[name]()
        if moved > self._moved[name]:
            self._moved[name], self._forgiven[name] = moved, 0.0
        self._forgiven[name] = max(self._forgiven[name], min(gap_s, now - self._moved[name]))
        return now - self._moved[name] - self._forgiven[name]


class LastResort:
    """From its start on, ends the process with `status` after `seconds`, unless it has ended by itself."""

    def __init__(self, seconds: float, status: int, *, end: Callable[[int], object] = os._exit) -> None:
        self._status, self._end = status, end
        self._seconds = seconds
        self._busy_with = "the parts"
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="last-resort", daemon=True)
        with suppress(RuntimeError):  # no memory for a thread: then without
            self._thread.start()

    def note(self, part: str) -> None:
        """Take down what is being closed now, for the log."""
        self._busy_with = part

    def cancel(self) -> None:
        """It has ended by itself."""
        self._done.set()

    def _run(self) -> None:
        if not self._done.wait(self._seconds):
            line = f"closing {self._busy_with} takes longer than {self._seconds:g} s: ending without it"
            end_process(line, self._status, self._end)


def end_process(line: str, status: int, end: Callable[[int], object] = os._exit) -> None:
    """Log one line and end at once, with no cleaning up; a log that is stuck itself does not hold it up."""
    speaker = threading.Thread(target=log.error, args=("%s", line), name="last-words", daemon=True)
    with suppress(RuntimeError):  # no memory for a thread: end without a word
        speaker.start()
        speaker.join(_LAST_WORDS_S)
    end(status)
