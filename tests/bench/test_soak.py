"""The soak in small, and what it makes of its figures."""

from __future__ import annotations

import pytest

from bench.soak import Log, judge, slope, soak


def test_a_quarter_of_a_minute_of_chaos_leaves_no_turn_unanswered() -> None:
    log = soak(0.25)
    assert log.outcomes["unanswered"] == 0
    assert log.outcomes["answered"] > 0
    assert len(log.figures["rss_mib"]) == sum(log.outcomes.values())


def test_a_slope_and_its_error_are_those_of_least_squares() -> None:
    rise, error = slope([(0.0, 1.0), (1.0, 2.0), (2.0, 4.0), (3.0, 4.0)])
    assert rise == pytest.approx(1.1 * 3600)
    assert error == pytest.approx(0.26458 * 3600, rel=1e-3)
    assert slope([(0.0, 1.0)]) != slope([(0.0, 1.0)])  # nan


def test_what_grows_is_told_and_what_only_wavers_is_not() -> None:
    grows = [(float(t), 50.0 + t / 100 + t % 2 / 10) for t in range(600)]
    wavers = [(float(t), 11.0 + t % 2) for t in range(600)]
    log = Log()
    log.figures |= {"rss_mib": grows, "threads": wavers, "descriptors": wavers, "delay_ms": wavers}
    rows = judge(log)
    assert not rows["rss_mib"]["flat"]
    assert rows["rss_mib"]["slope_per_h"] == pytest.approx(36, rel=0.05)
    assert rows["threads"]["flat"]
