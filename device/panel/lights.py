"""The status light: a pattern for each state as data, and the thread that plays it on a lamp."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

PATTERNS: dict[str, tuple[tuple[int, int], ...]] = {
    "idle": ((30, 4970),),  # a wink: alive, no session
    "connecting": ((100, 100),),
    "retrying": ((100, 900),),
    "ready": ((30, 170), (30, 4770)),  # a double wink: a session is open
    "listening": ((1, 0),),  # steady: it hears you
    "awaiting": ((250, 250),),
    "speaking": ((700, 100),),
    "muted": ((1000, 1000),),
    "fault": ((100, 150), (100, 150), (100, 1400)),
}
"""Name -> (on ms, off ms) blinks, repeated for ever. Distinct in rhythm, so that one colour is enough."""


def lamp_at(pattern: str, t: float) -> tuple[bool, float | None]:
    """Tell whether the lamp is on `t` seconds into a pattern, and the seconds until it changes.

    None means never. An unknown name is "idle".
    """
    blinks = PATTERNS.get(pattern, PATTERNS["idle"])
    if not any(off for _, off in blinks):
        return True, None
    into_s = t % (sum(on + off for on, off in blinks) / 1000)
    for on, off in blinks:
        for lit, length_ms in ((True, on), (False, off)):
            if into_s < length_ms / 1000:
                return lit, length_ms / 1000 - into_s
            into_s -= length_ms / 1000
    return True, blinks[0][0] / 1000  # rounding put us exactly on the border: the next round has begun


class Light:
    """Plays patterns on a lamp; `set_lamp` takes True for on. The thread starts with the first `show`."""

    def __init__(self, set_lamp: Callable[[bool], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._set_lamp = set_lamp
        self._clock = clock
        self._changed = threading.Condition()
        self._pattern: str | None = None
        self._since = 0.0
        self._closed = False
        self._broken = False
        self._thread = threading.Thread(target=self._run, name="light", daemon=True)

    def show(self, pattern: str) -> None:
        """Play the named pattern from its beginning; the one already playing goes on undisturbed."""
        with self._changed:
            if self._closed or pattern == self._pattern:
                return
            first = self._pattern is None
            self._pattern, self._since = pattern, self._clock()
            self._changed.notify()
        if first:
            self._thread.start()

    def close(self) -> None:
        """Stop, lamp off; safe to call twice."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._closed and self._pattern is not None:
                lit, change_s = lamp_at(self._pattern, self._clock() - self._since)
                self._set(lit)
                self._changed.wait(change_s)
            self._set(False)

    def _set(self, lit: bool) -> None:
        try:
            self._set_lamp(lit)
        except Exception as error:  # noqa: BLE001  # a broken lamp must not end a talk, whatever the driver raises
            if not self._broken:
                log.warning("the status light cannot be set (%s); going on without it", error)
            self._broken = True
