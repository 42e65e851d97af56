"""Limits on blocking calls, and their cancellation from another thread."""

from __future__ import annotations

import threading
import time

import pytest

from device.net.cancel import CancelledError, CancelScope, limited, within
from tests.servers import until


class Peer:
    """Something that blocks until it is severed."""

    def __init__(self) -> None:
        self.gone = threading.Event()
        self.severed = 0
        self.started = self.ended = False

    def work(self) -> str:
        self.started = True
        self.gone.wait(10)
        self.ended = True
        return "late"

    def sever(self) -> None:
        self.severed += 1
        self.gone.set()


def test_a_result_and_an_error_pass_through() -> None:
    peer = Peer()
    peer.gone.set()
    assert limited(peer.work, 5, peer.sever) == "late"
    with pytest.raises(ZeroDivisionError):
        limited(lambda: 1 // 0, 5, peer.sever)
    assert peer.severed == 0


def test_what_is_over_the_limit_is_severed_and_left() -> None:
    peer = Peer()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        limited(peer.work, 0.05, peer.sever)
    assert time.monotonic() - began < 5
    assert peer.ended
    until(lambda: peer.severed >= 2)  # at once, and once more for what it may have opened meanwhile


def test_a_cancel_ends_the_call_under_way_and_all_later_ones() -> None:
    peer, scope = Peer(), CancelScope()
    threading.Timer(0.05, scope.cancel).start()
    with scope, pytest.raises(CancelledError):
        limited(peer.work, 10, peer.sever)
    assert peer.ended
    late = Peer()
    with scope, pytest.raises(CancelledError):
        limited(late.work, 10, late.sever)
    assert scope.cancelled
    assert not late.started


def test_a_call_that_cannot_be_severed_is_left_after_a_second() -> None:
    peer, scope = Peer(), CancelScope()
    threading.Timer(0.05, scope.cancel).start()
    began = time.monotonic()
    with scope, pytest.raises(CancelledError):
        limited(peer.work, 10, lambda: None)
    assert 1.0 <= time.monotonic() - began < 5
    assert not peer.ended
    peer.gone.set()


def test_a_cancelled_scope_is_no_business_of_calls_outside_it() -> None:
    scope = CancelScope()
    scope.cancel()
    with scope:
        pass
    assert limited(lambda: 1, 5, lambda: None) == 1


def test_a_scope_shortens_a_limit_and_never_lengthens_it() -> None:
    assert within(5.0) == 5.0
    with CancelScope(3.0):
        assert within(5.0) == 3.0
        assert within(1.0) == 1.0
    with CancelScope():
        assert within(5.0) == 5.0
