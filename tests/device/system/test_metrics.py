"""The counters of the status answer."""

from __future__ import annotations

import pytest

from device.system.metrics import Counters


def test_they_start_at_nothing_and_count() -> None:
    counters = Counters()
    assert counters.as_dict() == {"replies": 0, "interruptions": 0, "reconnects": 0}
    counters.replies += 2
    counters.reconnects += 1
    assert counters.as_dict() == {"replies": 2, "interruptions": 0, "reconnects": 1}


def test_a_misspelt_counter_is_a_bug() -> None:
    with pytest.raises(AttributeError):
        Counters().reply = 1  # type: ignore[attr-defined]
