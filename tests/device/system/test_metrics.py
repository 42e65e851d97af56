"""The counters and latencies of the status answer."""

from __future__ import annotations

import pytest

from device.system.metrics import Counters, Latencies


def test_they_start_at_nothing_and_count() -> None:
    counters = Counters()
    assert counters.as_dict() == {"replies": 0, "interruptions": 0, "reconnects": 0}
    counters.replies += 2
    counters.reconnects += 1
    assert counters.as_dict() == {"replies": 2, "interruptions": 0, "reconnects": 1}


def test_a_misspelt_counter_is_a_bug() -> None:
    with pytest.raises(AttributeError):
        Counters().reply = 1  # type: ignore[attr-defined]


def test_a_latency_is_between_two_marks_of_one_turn() -> None:
    latencies = Latencies()
    latencies.mark("commit", 2.0)
    latencies.measure("a_ms", "release", "commit")
    assert latencies.ms == {}
    latencies.mark("release", 1.9)
    latencies.measure("a_ms", "release", "commit")
    assert latencies.ms == {"a_ms": 100.0}
    latencies.mark("release", 3.0)  # of the next turn, whose commit has not come
    latencies.measure("a_ms", "release", "commit")
    assert latencies.ms == {"a_ms": 100.0}
    latencies.forget("release")
    latencies.forget("release")
    latencies.mark("commit", 4.0)
    latencies.measure("a_ms", "release", "commit")
    assert latencies.ms == {"a_ms": 100.0}
