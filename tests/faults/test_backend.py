"""The backend's faults: away at boot, busy, broken, slow; and never more than one attempt in flight."""

from __future__ import annotations

import re
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.faults.wire import Wire, wire
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Wire]:
    with wire(tmp_path) as running:
        yield running


def test_a_backend_that_is_away_at_boot_is_asked_until_it_is_there(tmp_path: Path) -> None:
    with wire(tmp_path, start=False) as line:
        line.mint.refuse()
        line.device.start()
        line.press()
        line.release()
        for _ in range(4):
            line.told("nothing listens there now; next attempt in")
        line.mint.resume()
        line.answered(1)


def test_a_backend_that_is_away_for_long_costs_the_turn_one_line_and_is_there_for_the_next(
    tmp_path: Path,
) -> None:
    with wire(tmp_path, more="[talk]\nkeep_turn_ms = 3000\n", start=False) as line:
        line.mint.refuse()
        line.device.start()
        line.press()
        line.release()
        line.told("no session within 3 s")
        line.mint.resume()
        line.reach("ready", seconds=40)  # it went on asking
        line.ask(1)


def test_a_429_is_asked_again_when_the_backend_said_and_not_sooner(line: Wire) -> None:
    line.mint.answer("429 Too Many Requests", b"{}", Retry_After="3")
    began = time.monotonic()
    line.press()
    line.told("answered 429")
    line.mint.resume()
    line.release()
    line.device.ask("press")  # not even a press hurries it
    line.device.ask("release")
    line.told("the server asked for patience")
    until(lambda: line.mint.connections == 2)
    assert time.monotonic() - began >= 3.0
    line.reach("ready")
    assert line.mint.connections == 2


@pytest.mark.parametrize(
    "status", ["500 Internal Server Error", "502 Bad Gateway", "503 Service Unavailable"]
)
def test_a_server_s_error_is_tried_again(line: Wire, status: str) -> None:
    line.mint.answer(status, b"<html>")
    line.press()
    line.release()
    for _ in range(2):
        line.told(f"answered {status[:3]}")
    line.mint.resume()
    line.answered(1)


def test_a_press_tries_at_once(line: Wire) -> None:
    line.mint.answer("503 Service Unavailable", b"{}")
    line.press()
    line.release()

    def long_wait() -> bool:
        waits = re.findall(r"next attempt in ([\d.]+) s", line.device.log.read_text())
        return bool(waits) and float(waits[-1]) >= 3.0 and line.state == "retrying"

    until(long_wait, 60)
    before, began = line.mint.connections, time.monotonic()
    line.device.ask("press")
    until(lambda: line.mint.connections > before)
    assert time.monotonic() - began < 2.5  # less than the wait that was due
    line.device.ask("release")


def test_never_more_than_one_attempt_is_in_flight(line: Wire) -> None:
    line.mint.black_hole("down")
    for count in range(1, 6):
        line.device.ask("press")
        until(lambda n=count: line.mint.connections == n)  # type: ignore[misc] # mypy knows no type of n
        until(lambda: line.mint.open <= 2)  # the older one's ends are gone: of this one there are two
        line.device.ask("forget")  # hang up in the middle of the mint
        line.device.ask("release")
        line.reach("idle")
    line.mint.resume()
    line.ask(1)


def test_a_secret_that_is_refused_is_minted_once_more_and_then_told(line: Wire) -> None:
    line.live.answer("401 Unauthorized")
    line.press()
    line.told("refused the session with HTTP 401; asking for a new session")
    line.told("a new secret was refused too: check the key and the model at the backend")
    line.release()
    line.reach("idle")
    assert line.mint.connections == 2
    line.live.resume()
    line.ask(1)


def test_a_grant_that_was_minted_ahead_serves_a_press_while_the_backend_is_away(tmp_path: Path) -> None:
    with wire(tmp_path, backend="warm = true") as line:
        until(lambda: line.mint.passed("down") > 0 and line.mint.open == 0)
        line.mint.refuse()
        line.ask(1)
        assert line.mint.connections == 1


def test_waits_between_attempts_grow_and_are_spread(line: Wire) -> None:
    line.mint.refuse()
    line.press()
    line.release()
    for _ in range(7):
        line.told("next attempt in", 60)
    text = line.device.log.read_text()
    waits = [float(wait) for wait in re.findall(r"next attempt in ([\d.]+) s", text)]
    for number, wait in enumerate(waits[:7]):
        assert wait <= 0.25 * 2**number + 0.05
    assert any(one != other for one, other in pairwise(waits))
