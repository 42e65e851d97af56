"""The process: parts that stand still, threads that die, good ends and bad ones, want of everything."""

from __future__ import annotations

import os
import random
import re
import resource
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.errors import StateError
from device.system.watchdog import LIMIT_S
from rig import clock
from rig.gpio import chip
from rig.realtime import RATE
from tests.faults.scene import BUTTON, GPIO, Scene, scene, supervised, tone
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEVICE = Path(__file__).resolve().parents[2] / "device"
_WALL = re.compile(r"time\.time\b|time\.localtime|time\.gmtime|time\.strftime|datetime\.now|\.today\(")
_SMALL_RING = "[talk]\nlongest_turn_ms = 5000\nkeep_turn_ms = 5000\n"  # one that is full soon
_SLACK_S = 3.0  # for a busy machine
_END_S = 2.0


@pytest.mark.parametrize("part", ["microphone", "speaker", "main loop"])
def test_a_part_that_freezes_ends_the_process_which_is_started_again_and_resumes(
    tmp_path: Path, part: str
) -> None:
    with supervised(tmp_path) as one:
        assert one.answered()
        until((one.device.state / "sessions.json").exists)
        one.freeze(part.removesuffix(" loop"))
        frozen_at = time.monotonic()
        run = one.ended(0)
        assert (run.status, run.why_killed) == (1, ""), "it ends itself, before systemd has to"
        assert run.ended_at - frozen_at < LIMIT_S + _SLACK_S
        assert f"the {part} has stood still for" in one.said()
        one.life(1)
        assert one.answered()
        assert one.status()["session"]["rung"] == "seeded"


def test_a_process_that_stands_still_as_a_whole_is_killed_and_started_again(tmp_path: Path) -> None:
    with supervised(tmp_path, watchdog_s=3.0) as one:
        assert one.answered()
        os.kill(one.pid, signal.SIGSTOP)
        stopped_at = time.monotonic()
        run = one.ended(0)
        assert run.why_killed == "watchdog"
        assert run.ended_at - stopped_at < 3.0 + 2.0 + _SLACK_S
        one.life(1)
        assert one.answered()


def test_a_daemon_at_rest_feeds_its_watchdog(tmp_path: Path) -> None:
    with supervised(tmp_path, watchdog_s=2.0) as one:
        run = one.life(0)
        until(lambda: run.said.count("WATCHDOG=1") >= 8, 20)
        assert run.status is None


def _die(one: Scene, order: str) -> str:
    """Have a thread die, and everything happen that may wake it; returns what was logged since."""
    before = len(one.said())
    number = len(one.supervisor.runs) - 1 if one.supervisor else 0
    run = one.life(number)
    one.strike(order)
    deadline = time.monotonic() + 10
    volume = 0
    while run.status is None:
        assert time.monotonic() < deadline, f"{order}: it lives on, and is deaf"
        volume += 1
        with suppress(StateError):
            one.device.ask("volume", 1.0, {"value": volume % 100})
            one.device.ask("say", 1.0, {"text": "hello"})
            one.device.ask("press", 1.0)
            held = time.monotonic() + 0.4  # long enough for sound to leave: the ledger wakes for nothing less
            until(lambda: run.status is not None or time.monotonic() > held)  # noqa: B023 # asked at once
            one.device.ask("release", 1.0)
    assert run.status == 1, order
    one.life(number + 1)
    return one.said()[before:]


def test_whichever_thread_dies_the_process_ends_says_which_and_is_started_again(tmp_path: Path) -> None:
    with supervised(tmp_path) as one:
        assert one.answered()
        names = one.threads()
        assert {"MainThread", "capture", "playback", "store", "control", "watchdog"} <= set(names)
        assert any(name.startswith("attempt-") for name in names)
        for name in names:
            said = _die(one, f"die {name}")
            assert f"{name.replace('MainThread', 'main')} died" in said
            assert one.answered()


@pytest.mark.skipif(chip.missing() is not None, reason=str(chip.missing()))
def test_the_panels_threads_are_no_exception(tmp_path: Path) -> None:
    with chip.FakeChip(tmp_path) as fake, supervised(tmp_path, more=GPIO, env=fake.env) as one:
        for name in (name for name in one.threads() if name in ("panel", "light")):
            assert f"{name} died" in _die(one, f"die {name}")


def test_sigterm_while_minting_does_not_wait_for_the_backend(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        one.server.mint_s = 6.0
        one.device.ask("press")
        one.reach("connecting")
        status, seconds = one.end()
        assert status == 0
        assert seconds < _END_S
        assert not one.device.socket.exists()


@pytest.mark.parametrize("order", ["freeze microphone", "freeze speaker", "hang microphone", "hang speaker"])
def test_sigterm_with_a_card_that_hangs(tmp_path: Path, order: str) -> None:
    with scene(tmp_path) as one:
        assert one.answered()
        one.device.ask("volume", more={"value": 31})
        what, part = order.split()
        one.freeze(part) if what == "freeze" else one.strike(order)
        status, seconds = one.end()
        assert status == 0
        assert seconds < _END_S
        assert not one.device.socket.exists()
        assert what == "freeze" or f"closing the {part} takes longer" in one.said()
        one.device.start()
        assert one.status()["volume"] == 31
        assert one.answered()


def test_sigterm_in_a_reply_ends_in_good_order_and_keeps_what_was_heard(tmp_path: Path) -> None:
    with scene(tmp_path, reply_s=20.0) as one:
        one.server.words = "once upon a time there was a tone that went on and on " * 5
        one.speak()
        one.reach("speaking")
        until(lambda: one.heard_s() > 1.0, 20)
        status, seconds = one.end()
        assert status == 0
        assert seconds < _END_S
        assert not one.device.socket.exists()
        stored = one.stored()
        assert abs(stored["heard_ms"] / 1000 - one.heard_s()) < 0.1
        assert stored["turns"][-1]["role"] == "assistant"
        assert 0 < len(stored["turns"][-1]["text"]) < len(one.server.words) / 2
        until(lambda: one.server.truncated_ms)
        assert one.server.truncated_ms == [stored["heard_ms"]]
        one.server.reply = tone(0.4, RATE)
        one.device.start()
        assert one.answered()


def test_sigterm_in_a_reply_on_a_slow_disk_writes_the_state_before_anything_else(tmp_path: Path) -> None:
    with scene(tmp_path, reply_s=20.0) as one:
        one.speak()
        one.reach("speaking")
        one.strike("slow disk")
        until(lambda: one.heard_s() > 2.5, 20)  # what is written during a reply has been
        status, seconds = one.end()
        assert status == 0
        assert seconds < _END_S
        assert abs(one.stored()["heard_ms"] / 1000 - one.heard_s()) < 0.1


def test_a_second_sigterm_changes_nothing(tmp_path: Path) -> None:
    with scene(tmp_path, reply_s=20.0) as one:
        one.speak()
        until(lambda: one.heard_s() > 0.5, 20)
        for _ in range(20):
            os.kill(one.pid, signal.SIGTERM)
        status, seconds = one.end()
        assert status == 0
        assert seconds < _END_S
        assert one.stored()["heard_ms"] > 0
        assert "Traceback" not in one.said()


def test_sigkill_at_any_moment_of_a_conversation_leaves_a_state_that_loads(tmp_path: Path) -> None:
    chance = random.Random(11)  # noqa: S311 # repeatable on purpose
    with supervised(tmp_path) as one:
        assert one.answered()
        until((one.device.state / "sessions.json").exists)
        for number in range(22):
            one.life(number)
            killer = threading.Timer(chance.uniform(0.0, 1.2), os.kill, (one.pid, signal.SIGKILL))
            killer.start()
            with suppress(StateError):
                while True:
                    one.speak(0.2)
            assert one.ended(number).status == -signal.SIGKILL
            killer.join()
        one.life(22)
        assert one.answered()
        assert one.status()["session"]["rung"] == "seeded"
        assert "cannot be used" not in one.said()
        assert not list(one.device.state.glob("*.bad-*"))


class _Size:
    """What a device at rest takes: threads, descriptors, memory."""

    def __init__(self, one: Scene) -> None:
        one.reach("ready")
        self._one = one
        self.threads = sorted(one.threads())
        self.descriptors = self._descriptors()
        self.kilobytes = self._kilobytes()

    def assert_unchanged(self) -> None:
        """Wait until it takes no more than that again."""
        self._one.reach("ready")
        until(lambda: len(self._one.threads()) <= len(self.threads), 20)
        until(lambda: self._descriptors() <= self.descriptors, 20)
        assert self._kilobytes() - self.kilobytes < 4_000

    def _descriptors(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self._one.pid}/fd").iterdir())

    def _kilobytes(self) -> int:
        status = Path(f"/proc/{self._one.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0])


def test_a_thousand_presses_leave_nothing_behind(tmp_path: Path) -> None:
    with scene(tmp_path, more=_SMALL_RING) as one:
        assert one.answered()
        for _ in range(100):  # until the allocator has what it needs
            one.device.ask("tap")
        size = _Size(one)
        for _ in range(1000):
            one.device.ask("tap")
        size.assert_unchanged()
        assert one.answered()


def test_a_button_held_for_ever_ends_the_turn_with_a_reason_and_the_next_press_works(tmp_path: Path) -> None:
    with scene(tmp_path, more="[talk]\nlongest_turn_ms = 1500\n") as one, one.device.watch(20) as events:
        one.device.ask("press")
        next(event for event in events if event["event"] == "notice" and "the turn is over" in event["text"])
        one.reach("ready")
        one.device.ask("release")
        assert one.answered()


@pytest.mark.skipif(chip.missing() is not None, reason=str(chip.missing()))
def test_a_bouncing_contact_is_one_press_and_two_hundred_of_them_leave_nothing_behind(tmp_path: Path) -> None:
    with chip.FakeChip(tmp_path) as fake, supervised(tmp_path, more=GPIO + _SMALL_RING, env=fake.env) as one:
        fake.storm(BUTTON, 0, bounces=20, every_us=500)
        one.reach("listening")
        fake.storm(BUTTON, 1, bounces=20, every_us=500)
        size = _Size(one)
        for _ in range(200):
            fake.storm(BUTTON, 0, bounces=5, every_us=1000)
            threading.Event().wait(0.03)  # 1,000 a minute
            fake.storm(BUTTON, 1, bounces=5, every_us=1000)
            threading.Event().wait(0.03)
        size.assert_unchanged()


def test_without_memory_the_process_ends_is_started_again_and_resumes(tmp_path: Path) -> None:
    with supervised(tmp_path) as one:
        assert one.answered()
        until((one.device.state / "sessions.json").exists)
        size = int(re.findall(r"VmSize:\s+(\d+)", Path(f"/proc/{one.pid}/status").read_text())[0]) * 1024
        resource.prlimit(one.pid, resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))
        with suppress(StateError):
            one.device.ask("forget")  # closes the session, so that the next press needs threads
            until(lambda: one.device.ask("tap") and one.life(0).status is not None, 20)
        assert one.ended(0).status != 0
        assert "resource temporarily unavailable" in one.said() or "start new thread" in one.said()
        one.life(1)
        assert one.answered()
        assert "cannot be used" not in one.said()


def test_without_file_descriptors_it_says_so_and_goes_on_when_there_are_some(tmp_path: Path) -> None:
    with scene(tmp_path) as one, one.device.watch(30) as events, _connection(one) as control:
        soft, hard = resource.prlimit(one.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(one.pid, resource.RLIMIT_NOFILE, (3, hard))  # fewer than are open
        control.sendall(b'{"cmd":"press"}\n')
        one.say(0.4)
        next(event for event in events if "Too many open files" in event.get("text", ""))
        resource.prlimit(one.pid, resource.RLIMIT_NOFILE, (soft, hard))
        until(lambda: int((np.abs(one.server.heard()) > 1000).sum()) / RATE > 0.35, 20)  # all of it
        control.sendall(b'{"cmd":"release"}\n')
        until(lambda: one.status()["counters"]["replies"] == 1, 20)
        one.reach("ready")
        assert one.answered()


@contextmanager
def _connection(one: Scene) -> Iterator[socket.socket]:
    """A connection to the control socket that has been let in."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(str(one.device.socket))
        sock.sendall(b'{"cmd":"transcript"}\n')
        assert sock.recv(1000)
        yield sock


@pytest.mark.skipif(clock.missing() is not None, reason=str(clock.missing()))
def test_a_clock_that_jumps_by_hours_disturbs_nothing(tmp_path: Path) -> None:
    hour = 3600
    fake = clock.FakeClock(tmp_path)
    with supervised(tmp_path, env=fake.env) as one:
        assert one.answered()
        for hours in (5, -9, 30, 0):
            fake.set(hours * hour)  # at rest
            assert one.answered()
            fake.set(0)
            one.server.forget()  # what is heard below is of the next turn
            one.device.ask("press")
            fake.set(hours * hour)  # and in a turn
            one.say(0.4)
            until(lambda: int((np.abs(one.server.heard()) > 1000).sum()) / RATE > 0.3, 20)
            one.server.forget()
            replies = one.status()["counters"]["replies"]
            one.device.ask("release")
            until(partial(_replied, one, replies + 1), 20)
            one.reach("ready")
        assert one.status()["counters"]["reconnects"] == 0
        assert len(one.server.peers) == 1, "the session that was open is still open"
        os.kill(one.pid, signal.SIGKILL)
        one.life(1)
        assert one.answered()
        assert one.status()["session"]["rung"] == "seeded"


@pytest.mark.skipif(clock.missing() is not None, reason=str(clock.missing()))
def test_a_clock_that_is_set_at_last_ends_the_waiting_for_what_failed_by_its_date(tmp_path: Path) -> None:
    fake = clock.FakeClock(tmp_path)
    fake.set(3600)  # a grant of 10 min is out of date when it comes
    with supervised(tmp_path, env=fake.env, more="[talk]\nkeep_turn_ms = 100\n") as one:
        one.speak()
        until(lambda: any(wait_s > 6 for wait_s in _waits(one)), 120)
        assert "is the clock right" in one.said()
        failed = len(_waits(one))
        fake.set(0)
        one.reach("ready", seconds=4)  # long before the next attempt was due
        assert "the clock was set; trying again at once" in one.said()
        assert len(_waits(one)) == failed
        assert one.answered()


def _waits(one: Scene) -> list[float]:
    return [float(wait_s) for wait_s in re.findall(r"next attempt in ([\d.]+) s", one.said())]


def _replied(one: Scene, times: int) -> bool:
    return bool(one.status()["counters"]["replies"] == times)


def test_the_time_of_day_is_asked_for_only_where_it_is_stamped_or_compared_with_the_servers() -> None:
    asked = {
        str(path.relative_to(_DEVICE)): sorted(set(_WALL.findall(path.read_text())))
        for path in _DEVICE.rglob("*.py")
        if _WALL.search(path.read_text())
    }
    assert set(asked) == {
        "bundle.py",  # its name
        "daemon.py",  # the date of the limits, stamps of events, whether the clock was set
        "enrol.py",  # assertions
        "orders.py",  # grants, stamps of sessions
        "net/backend.py",  # how far the companion's clock is off
        "net/flow.py",  # the ledger's stamps
        "net/warm.py",  # grants
        "system/ledger.py",
        "system/logs.py",
        "system/recent.py",
        "system/recording.py",
    }
