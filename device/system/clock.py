"""Whether the system's clock has been set from a time server, as the kernel or systemd-timesyncd knows it."""

from __future__ import annotations

import ctypes
from pathlib import Path

_TIMESYNCD = Path("/run/systemd/timesync/synchronized")  # systemd-timesyncd.service(8)
_STA_UNSYNC = 0x40  # adjtimex(2)


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
    """Tell whether the time is right; None when nobody knows."""
    if timesyncd.exists():
        return True
    timex = Timex()  # modes = 0: read only
    try:
        state = (libc or ctypes.CDLL(None)).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):  # a C library without it
        return None
    return None if state < 0 else not timex.status & _STA_UNSYNC
