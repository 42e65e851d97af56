"""The clock's state, from the kernel's own answer and from stand-ins for it."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, cast

import pytest

from device.system.clock import StepDetector, Timex, is_synchronised

if TYPE_CHECKING:
    from pathlib import Path


class Kernel:
    """Answers adjtimex with a status word."""

    def __init__(self, status: int, state: int = 0) -> None:
        self.status, self.state = status, state

    def adjtimex(self, timex: Any) -> int:
        found = ctypes.cast(timex, ctypes.POINTER(Timex)).contents
        assert found.modes == 0, "it would set the clock"
        found.status = self.status
        return self.state


def ask(folder: Path, libc: object, *, timesyncd: bool = False) -> bool | None:
    """What is known; `timesyncd`: whether it runs."""
    (folder / "timesync").mkdir(exist_ok=True) if timesyncd else None
    return is_synchronised(folder / "timesync/synchronized", cast("ctypes.CDLL", libc))


@pytest.mark.parametrize(
    ("status", "state", "known"),
    [(0x2001, 0, True), (0x2041, 5, False), (0x40, 5, False), (0, -1, None)],
)
def test_the_kernel_s_status_word_is_read(
    tmp_path: Path, status: int, state: int, *, known: bool | None
) -> None:
    assert ask(tmp_path, Kernel(status, state)) is known


def test_timesyncd_s_mark_is_enough_and_no_libc_is_no_answer(tmp_path: Path) -> None:
    assert ask(tmp_path, object()) is None
    assert ask(tmp_path, object(), timesyncd=True) is False
    (tmp_path / "timesync/synchronized").touch()
    assert ask(tmp_path, Kernel(0x40, 5)) is True


def test_a_kernel_that_may_not_be_asked_leaves_it_to_timesyncd(tmp_path: Path) -> None:
    forbidden = Kernel(0, -1)  # EPERM, as under ProtectClock=
    assert ask(tmp_path, forbidden) is None
    assert ask(tmp_path, forbidden, timesyncd=True) is False
    assert ask(tmp_path, Kernel(0x2001, 0), timesyncd=True) is True  # another program set it


def test_this_machine_s_kernel_answers_in_the_layout_that_is_declared(tmp_path: Path) -> None:
    timex = Timex()
    state = ctypes.CDLL(None).adjtimex(ctypes.byref(timex))
    if state < 0:
        pytest.skip("no adjtimex here")
    assert bool(timex.status & 0x40) == (state == 5)  # TIME_ERROR goes with STA_UNSYNC
    assert is_synchronised(tmp_path / "timesync/synchronized") is (state != 5)


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 1.5])
def test_a_clock_that_is_set_is_noticed_once_and_one_that_is_steered_never(step_s: float) -> None:
    ahead_s = 1.8e9
    now = 0.0
    detector = StepDetector(lambda: now + ahead_s, now)
    for _ in range(1000):
        now += 1.0
        ahead_s += 500e-6
        assert not detector.stepped(now)
    ahead_s += step_s
    assert [detector.stepped(now), detector.stepped(now)] == [True, False]
