"""The watchdog and the last resort: who is fed, who is ended, and with which line."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from device.system.watchdog import LastResort, Watchdog, end_process
from tests.servers import until

ROOT = Path(__file__).parents[3]


class Clocks:
    """Three parts; each moves whenever it is looked at, until it is frozen."""

    def __init__(self) -> None:
        self.frozen: dict[str, float] = {}

    def of(self, name: str) -> float:
        return self.frozen.get(name, time.monotonic())

    def freeze(self, name: str) -> None:
        self.frozen[name] = time.monotonic()


class Fixture:
    """A watchdog over three clocks that notes what it does."""

    def __init__(self, limit_s: float) -> None:
        self.clocks = Clocks()
        self.fed: list[float] = []
        self.ended: list[int] = []
        names = ("the microphone", "the speaker", "the main loop")
        clocks = {name: (lambda name=name: self.clocks.of(name)) for name in names}
        self.dog = Watchdog(clocks, self.fed.append, limit_s=limit_s, end=self.ended.append)


def test_while_all_parts_move_it_is_fed() -> None:
    one = Fixture(limit_s=5.0)
    one.dog.start()
    until(lambda: len(one.fed) >= 3)
    one.dog.close()
    one.dog.close()
    fed = len(one.fed)
    assert not one.ended
    assert len(one.fed) == fed


@pytest.mark.parametrize("name", ["the microphone", "the speaker", "the main loop"])
def test_a_part_that_stands_still_ends_the_process_with_one_line_that_names_it(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    one = Fixture(limit_s=1.0)
    one.clocks.freeze(name)
    frozen_at = time.monotonic()
    one.dog.start()
    until(lambda: one.ended, 20)
    assert one.ended == [1]
    assert time.monotonic() - frozen_at >= 1.0
    assert all(at < frozen_at + 1.1 for at in one.fed), "not fed once the limit has passed"
    assert [record.message.split(" for ")[0] for record in caplog.records] == [f"{name} has stood still"]
    one.dog.close()


_STOPPED = """
import sys, time
sys.path.insert(0, sys.argv[1])
from device.system.watchdog import Watchdog
moved = [time.monotonic()]
dog = Watchdog({"part": lambda: moved[0]}, lambda now: print("fed", flush=True), limit_s=2)
dog.start()
while True:
    moved[0] = time.monotonic()
    time.sleep(0.05)
"""


def test_a_process_that_was_stopped_and_goes_on_is_not_ended() -> None:
    command = [sys.executable, "-c", _STOPPED, str(ROOT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout
            assert child.stdout.readline() == "fed\n"
            child.send_signal(19)  # SIGSTOP
            until(lambda: _state_of(child.pid) == "T")
            threading.Event().wait(3.0)  # longer than the limit; it is the fault itself
            child.send_signal(18)  # SIGCONT
            for _ in range(5):  # more than what may have been in the pipe
                assert child.stdout.readline() == "fed\n"
            assert child.poll() is None
        finally:
            child.kill()


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


class Hours:
    """One part and the watchdog, in a time that passes as told."""

    def __init__(self) -> None:
        self.now = self.moved = 100.0
        self.ended: list[int] = []
        self.dog = Watchdog(
            {"part": lambda: self.moved}, lambda _now: None, limit_s=5.0, end=self.ended.append
        )
        self.dog._look(self.now)

    def look_until_it_ends(self, every_s: float, most_s: float) -> float:
        """Look again and again at a part that stands still; returns after how long the process was ended."""
        while not self.ended and self.now - self.moved < most_s:
            self.now += every_s
            self.dog._look(self.now)
        return self.now - self.moved


@pytest.mark.parametrize(("every_s", "after_s"), [(0.25, 5.0), (0.8, 5.8), (2.0, 8.0), (20.0, 40.0)])
def test_a_machine_that_gives_out_time_in_bits_does_not_keep_a_dead_part_alive(
    every_s: float, after_s: float
) -> None:
    one = Hours()
    assert one.look_until_it_ends(every_s, 60.0) == pytest.approx(after_s, abs=every_s)
    assert one.ended == [1]


def test_one_long_stop_is_forgiven_and_not_a_second_longer() -> None:
    one = Hours()
    one.now += 3600.0
    assert one.dog._look(one.now)
    assert one.look_until_it_ends(0.25, 7200.0) == pytest.approx(3605.0, abs=0.5)


def test_a_stop_before_it_moved_is_not_put_to_its_credit() -> None:
    one = Hours()
    one.now += 3600.0
    one.moved = one.now - 0.1  # it went on at once, and then never again
    assert one.dog._look(one.now)
    assert one.look_until_it_ends(0.25, 60.0) == pytest.approx(5.0, abs=0.5)


def test_the_last_resort_ends_what_does_not_end_and_says_what_it_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended: list[int] = []
    resort = LastResort(0.05, 7, end=ended.append)
    resort.note("the sound card")
    until(lambda: ended)
    assert ended == [7]
    assert caplog.messages == ["closing the sound card takes longer than 0.05 s: ending without it"]


def test_the_last_resort_is_not_needed_when_all_goes_well() -> None:
    ended: list[int] = []
    resort = LastResort(0.2, 7, end=ended.append)
    resort.cancel()
    resort._thread.join(5)
    assert not resort._thread.is_alive()
    assert not ended


def test_a_log_that_is_stuck_does_not_hold_the_end_up() -> None:
    class Stuck(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            free.wait(30)

    free, ended = threading.Event(), list[int]()
    stuck, logger = Stuck(), logging.getLogger("device.system.watchdog")
    logger.addHandler(stuck)
    try:
        end_process("over", 3, ended.append)
        assert ended == [3]
    finally:
        free.set()
        logger.removeHandler(stuck)
