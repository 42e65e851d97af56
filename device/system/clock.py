"""Whether the system's clock has been set from a time server, and when it is."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_TIMESYNCD = Path("/run/systemd/timesync/synchronized")  # systemd-timesyncd.service(8)
_STA_UNSYNC = 0x40  # adjtimex(2)
_STEP_S = 1.0  # drift and slewing (500 ppm at most) stay far below it


class Timex(ctypes.Structure):
    """The beginning of `struct timex`, adjtimex(2), and room for the rest of it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 512),
    )


def is_synchronised(timesyncd: Path = _TIMESYNCD, libc: ctypes.CDLL | None = None) -> bool | None:
    """Tell whether the time is right, as systemd-timesyncd or the kernel knows it; None when nobody knows.

    A service that may not set the clock is often not let read the kernel's state either.
    """
    if timesyncd.exists():
        return True
    unsure = False if timesyncd.parent.is_dir() else None  # timesyncd runs, and has not heard of the time
    timex = Timex()  # modes = 0: read only
    try:
        state = (libc or ctypes.CDLL(None)).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):  # a C library without it
        return unsure
    return unsure if state < 0 else not timex.status & _STA_UNSYNC


class StepDetector:
    """Notices that the time of day was set, or the machine slept. `wall`: that time, epoch seconds."""

    def __init__(self, wall: Callable[[], float], now: float) -> None:
        self._wall = wall
        self._offset = wall() - now

    def stepped(self, now: float) -> bool:
        """Whether it was since the last call; `now`: monotonic seconds."""
        before, self._offset = self._offset, self._wall() - now
        return abs(self._offset - before) > _STEP_S
