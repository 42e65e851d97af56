"""The bucket: a burst, then an even rate."""

from __future__ import annotations

import pytest

from companion.limits import Bucket


def test_a_burst_and_then_the_rate() -> None:
    bucket = Bucket(per_minute=3, now=100.0)
    assert [bucket.take(100.0) for _ in range(3)] == [0, 0, 0]
    assert bucket.take(100.0) == pytest.approx(20)
    assert bucket.take(110.0) == pytest.approx(10)
    assert bucket.take(120.0) == 0
    assert bucket.remaining(120.0) == 0
    assert bucket.full_in_s(120.0) == pytest.approx(60)


def test_it_never_holds_more_than_the_burst() -> None:
    bucket = Bucket(per_minute=2, now=0.0)
    assert bucket.remaining(1e6) == 2
    assert [bucket.take(1e6) == 0 for _ in range(3)] == [True, True, False]
