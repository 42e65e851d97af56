"""`pressel` with a saboteur inside, who strikes on SIGUSR1; the file $SABOTAGE says what he does.

    freeze microphone|speaker|main    that part never comes back
    hang microphone|speaker           closing it never comes back
    slow disk                         what is to be on the medium is so 0.8 s later, as with an SD card
    die THREAD [ERROR]                an error that nobody expects comes up in that thread
    list FILE                         the names of all threads are written there

The cards are WAV files, frozen where a driver would freeze: in its blocking call.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.audio.wavfile import WavInput, WavOutput
from device.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

_CALLS: dict[str, list[tuple[type, str]]] = {
    "freeze microphone": [(WavInput, "read")],
    "freeze speaker": [(WavOutput, "write"), (WavOutput, "rest")],
    "hang microphone": [(WavInput, "close")],
    "hang speaker": [(WavOutput, "close")],
}


class SabotageError(Exception):
    """A bug that nobody expects."""


def _never(*_: Any) -> None:
    Path(f"{os.environ['SABOTAGE']}.stuck").touch()
    threading.Event().wait()


def _slowly(sync: Callable[[int], None]) -> Callable[[int], None]:
    def slow(fd: int) -> None:
        threading.Event().wait(0.8)
        sync(fd)

    return slow


def _strike(order: str) -> None:
    what, name, more = f"{order} x".split()[:3]
    if order in _CALLS:
        for card, call in _CALLS[order]:
            setattr(card, call, _never)
    elif order == "freeze main":
        _never()  # signals are handled in the main thread
    elif order == "slow disk":
        setattr(os, "fsync", _slowly(os.fsync))  # noqa: B010 # mypy allows no other way
    elif what == "list":
        Path(name).write_text("\n".join(thread.name for thread in threading.enumerate()))
    elif what == "die":
        _kill(name, MemoryError if more == "MemoryError" else SabotageError)


def _kill(name: str, error: type[Exception]) -> None:
    if name == "MainThread":
        raise error("sabotage")
    for thread in threading.enumerate():
        if thread.name == name:
            # Comes up at the thread's next step in Python. Source: the C API, PyThreadState_SetAsyncExc.
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident or 0), ctypes.py_object(error)
            )


if __name__ == "__main__":
    strike: Callable[..., None] = lambda *_: _strike(Path(os.environ["SABOTAGE"]).read_text())  # noqa: E731 # a handler
    signal.signal(signal.SIGUSR1, strike)
    sys.exit(main())
