"""The light's patterns as data, the function that reads them, and the thread that plays them."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from typing import TYPE_CHECKING

import pytest

from device.panel.lights import PATTERNS, Light, lamp_at

if TYPE_CHECKING:
    from collections.abc import Callable

STATES = {"idle", "connecting", "retrying", "ready", "listening", "awaiting", "speaking", "muted", "fault"}


def test_every_state_has_its_own_pattern() -> None:
    assert set(PATTERNS) == STATES
    assert len(set(PATTERNS.values())) == len(STATES)


def test_a_blink_by_the_clock() -> None:
    assert lamp_at("awaiting", 0.0) == (True, pytest.approx(0.25))
    assert lamp_at("awaiting", 0.24) == (True, pytest.approx(0.01))
    assert lamp_at("awaiting", 0.25) == (False, pytest.approx(0.25))
    assert lamp_at("awaiting", 10.3) == (False, pytest.approx(0.2))


def test_steady_never_changes() -> None:
    assert lamp_at("listening", 0) == lamp_at("listening", 1e6) == (True, None)


def test_an_unknown_name_is_idle() -> None:
    assert lamp_at("no-such-pattern", 0.01) == lamp_at("idle", 0.01)


@pytest.mark.parametrize("pattern", sorted(STATES - {"listening"}))
def test_following_the_changes_plays_the_pattern(pattern: str) -> None:
    played, t = [], 0.0
    for _ in range(2 * len(PATTERNS[pattern]) * 3):
        lit, change_s = lamp_at(pattern, t)
        assert change_s is not None
        played.append((lit, round(change_s * 1000)))
        t += change_s + 1e-9
    expected = [(lit, ms) for on, off in PATTERNS[pattern] for lit, ms in ((True, on), (False, off))]
    assert played == expected * 3


@pytest.mark.parametrize("pattern", sorted(STATES))
def test_no_moment_is_without_a_change_ahead(pattern: str) -> None:
    for t in itertools.chain((n / 1000 for n in range(12_000)), (n * 0.1 for n in range(1000))):
        _, change_s = lamp_at(pattern, t)
        assert change_s is None or change_s > 0


def test_the_lamp_follows_and_ends_dark() -> None:
    seen: queue.Queue[bool] = queue.Queue()
    light = Light(seen.put)
    light.show("listening")
    assert seen.get(timeout=10) is True
    light.show("connecting")
    assert [seen.get(timeout=10) for _ in range(4)] == [True, False, True, False]
    light.close()
    light.close()
    light.show("listening")
    *_, last = seen.queue
    assert last is False


def test_showing_the_same_again_does_not_start_it_over() -> None:
    changed, times = threading.Semaphore(0), []

    def lamp(lit: bool) -> None:
        times.append((lit, time.monotonic()))
        changed.release()

    light = Light(lamp)
    light.show("awaiting")
    until = time.monotonic() + 10
    while not changed.acquire(timeout=0.01) or len(times) < 2:
        light.show("awaiting")
        assert time.monotonic() < until
    light.close()
    assert [lit for lit, _ in times[:2]] == [True, False]


@pytest.mark.parametrize("error", [RuntimeError("GPIO not allocated"), OSError("gone")])
def test_a_broken_lamp_is_said_once_and_harms_nothing(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    tried = threading.Semaphore(0)

    def broken(_: bool) -> None:
        tried.release()
        raise error

    light = Light(broken)
    show: Callable[[str], None] = light.show
    show("connecting")
    for _ in range(3):
        assert tried.acquire(timeout=10)
    light.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"the status light cannot be set ({error}); going on without it"
    ]
