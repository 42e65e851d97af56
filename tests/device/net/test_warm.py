"""Grants minted ahead, over real HTTP; the port's contract, cold and warm."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from device.core.grant import Grant, GrantRequest
from device.errors import BackendError
from device.net.backend import CompanionBackend
from device.net.cancel import CancelledError, CancelScope
from device.net.warm import WarmBackend
from tests.servers import Answer, HttpServer, http_server, until

if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST = GrantRequest("default", "push_to_talk", "client", None, 0)
OTHER = msgspec.structs.replace(REQUEST, resume_session="sess_0")
NOW = 1000.0


def answer(number: int, expires_at: float | None = NOW + 60) -> Answer:
    grant = {"dialect": "openai", "url": "ws://127.0.0.1:1", "session_id": f"s{number}"}
    return (200, json.dumps({**grant, "expires_at": expires_at}).encode(), {})


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def warmed(server: HttpServer, clock: Clock, ticks: Clock | None = None) -> WarmBackend:
    """A backend that has minted ahead once; `ticks`: its monotonic clock."""
    backend = WarmBackend(CompanionBackend(server.url, "t"), clock, ticks or time.monotonic)
    backend.warm(REQUEST)
    until(lambda: server.asked)
    until(lambda: not any(one.name == "warm" for one in threading.enumerate()))
    return backend


KINDS = {
    "cold": lambda server: CompanionBackend(server.url, "t"),
    "not warm": lambda server: WarmBackend(CompanionBackend(server.url, "t"), Clock()),
    "warm": lambda server: warmed(server, Clock()),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_every_backend_gives_a_good_grant_or_one_line(
    make: Callable[[HttpServer], CompanionBackend | WarmBackend],
) -> None:
    with http_server(answer(1)) as server:
        assert make(server).mint(REQUEST, NOW).session_id == "s1"
    with http_server((503, b"{}", {"Retry-After": "4"})) as server:
        with pytest.raises(BackendError, match="503") as caught:
            make(server).mint(REQUEST, NOW)
        assert caught.value.retry_after_s == 4


def test_a_grant_minted_ahead_is_handed_over_once() -> None:
    with http_server(answer(1), answer(2)) as server:
        backend = warmed(server, Clock())
        backend.warm(REQUEST)  # it is there already
        assert [backend.mint(REQUEST, NOW).session_id for _ in range(2)] == ["s1", "s2"]
        assert len(server.asked) == 2


@pytest.mark.parametrize("life_s", [60.0, None])
@pytest.mark.parametrize("later", [51.0, -5.0])
def test_a_grant_that_would_be_stale_is_thrown_away(later: float, life_s: float | None) -> None:
    clock = Clock()
    ends = None if life_s is None else NOW + life_s
    with http_server(answer(1, ends), answer(2, None)) as server:
        backend = warmed(server, clock)
        assert backend.mint(REQUEST, NOW + later).session_id == "s2"
    with http_server(answer(1, ends), answer(2, None)) as server:  # and `warm` mints anew in time
        backend = warmed(server, clock)
        clock.now = NOW + later
        backend.warm(REQUEST)
        until(lambda: len(server.asked) == 2)
        clock.now = NOW


def test_a_grant_for_another_request_is_thrown_away() -> None:
    with http_server(answer(1), answer(2)) as server:
        assert warmed(server, Clock()).mint(OTHER, NOW).session_id == "s2"


def test_a_failure_ahead_is_not_told_and_not_repeated_at_every_call() -> None:
    with http_server((500, b"{}", {}), answer(2)) as server:
        backend = warmed(server, Clock())
        backend.warm(REQUEST)
        assert len(server.asked) == 1
        assert backend.mint(REQUEST, NOW).session_id == "s2"


@pytest.mark.parametrize(("retry_after", "pause_s"), [("600", 600), ("1", 30)])
def test_a_backend_that_asks_for_patience_is_not_asked_ahead_before(retry_after: str, pause_s: int) -> None:
    clock, ticks = Clock(), Clock()
    with http_server((429, b"{}", {"Retry-After": retry_after}), answer(2)) as server:
        backend = warmed(server, clock, ticks)
        ticks.now += pause_s - 1
        for request in (REQUEST, OTHER):  # its patience has nothing to do with what is asked for
            backend.warm(request)
        assert len(server.asked) == 1
        ticks.now += 2
        backend.warm(REQUEST)
        until(lambda: len(server.asked) == 2)


def test_what_was_refused_for_good_is_not_asked_ahead_again() -> None:
    refusal = b'{"error":{"code":"unauthorized","message":"no such token"}}'
    clock, ticks = Clock(), Clock()
    with http_server((401, refusal, {}), (401, refusal, {}), answer(3)) as server:
        backend = warmed(server, clock, ticks)
        with pytest.raises(BackendError, match="no such token"):
            backend.mint(REQUEST, NOW)  # a press asks all the same, and is told
        ticks.now += 1e6
        backend.warm(REQUEST)
        assert len(server.asked) == 2
        backend.warm(OTHER)
        until(lambda: len(server.asked) == 3)


@pytest.mark.parametrize("life_s", [5.0, 12.0])
def test_grants_that_are_soon_stale_are_not_minted_ahead_at_every_call(life_s: float) -> None:
    clock, ticks = Clock(), Clock()
    with http_server(answer(1, NOW + life_s), answer(2)) as server:
        backend = warmed(server, clock, ticks)
        clock.now += 3
        for _ in range(25):
            backend.warm(REQUEST)
        assert len(server.asked) == 1
        ticks.now += 31
        backend.warm(REQUEST)
        until(lambda: len(server.asked) == 2)


class Hanging:
    """A backend that gives its grant when it is let go; counts who waits."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked = 0

    def mint(self, _request: GrantRequest, _now: float) -> Grant:
        self.asked += 1
        self.go.wait(10)
        return Grant("openai", "ws://127.0.0.1:1", expires_at=NOW + 60)


def test_a_press_waits_for_the_mint_that_is_under_way() -> None:
    inner = Hanging()
    backend = WarmBackend(inner, Clock())
    backend.warm(REQUEST)
    until(lambda: inner.asked)
    got: list[Grant] = []
    press = threading.Thread(target=lambda: got.append(backend.mint(REQUEST, NOW)))
    press.start()
    inner.go.set()
    press.join(5)
    assert got
    assert inner.asked == 1


def test_a_wait_for_the_mint_under_way_can_be_cancelled() -> None:
    inner = Hanging()
    backend = WarmBackend(inner, Clock())
    backend.warm(REQUEST)
    scope = CancelScope()
    timer = threading.Timer(0.05, scope.cancel)
    timer.start()
    began = time.monotonic()
    with scope, pytest.raises(CancelledError):
        backend.mint(REQUEST, NOW)
    assert time.monotonic() - began < 5
    inner.go.set()


def test_a_mint_under_way_that_takes_too_long_is_given_up_with_one_line() -> None:
    inner = Hanging()
    backend = WarmBackend(inner, Clock())
    backend.warm(REQUEST)
    until(lambda: inner.asked)
    with CancelScope(0.05), pytest.raises(BackendError, match=r"did not answer within 0\.05 s") as caught:
        backend.mint(REQUEST, NOW)
    assert not caught.value.fatal
    inner.go.set()
    assert backend.mint(REQUEST, NOW).dialect == "openai"  # the next press has a mint of its own
    assert inner.asked == 2
