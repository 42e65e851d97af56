"""What holds of all facts."""

from __future__ import annotations

from device.core import events as e
from device.core.moves import State
from tests.device.core.stories import talk


def test_facts_of_an_older_attempt_change_nothing() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    c.handle(e.Lost(1, "no network"), 0.1)
    c.handle(e.Elapsed(), 1.0)
    assert c.attempt == 2
    assert c.handle(e.Lost(1, "an old socket"), 1.1) == []
    assert c.state is State.CONNECTING
