"""What presses of a button mean."""

from device.core.events import Held, Pressed, Released, Woken
from device.core.gestures import Gestures


def test_edges_become_presses_and_repeats_say_nothing() -> None:
    g = Gestures(1000)
    assert g.edge("button", active=True, at=1.0) == Pressed(1.0)
    assert g.edge("button", active=True, at=1.1) is None
    assert g.edge("button", active=False, at=1.2) == Released(1.2)
    assert g.edge("button", active=False, at=1.3) is None


def test_a_long_press_is_reported_once_at_its_deadline() -> None:
    g = Gestures(1000)
    assert g.expire(0.0) is None
    g.edge("button", active=True, at=1.0)
    assert g.deadline == 2.0
    assert g.expire(1.9) is None
    assert g.expire(2.0) == Held()
    assert g.expire(3.0) is None


def test_a_release_takes_the_long_press_back() -> None:
    g = Gestures(1000)
    g.edge("button", active=True, at=1.0)
    g.edge("button", active=False, at=1.5)
    assert g.deadline is None
    assert g.expire(5.0) is None


def test_the_wake_line_counts_when_it_becomes_active() -> None:
    g = Gestures(1000)
    assert g.edge("wake", active=True, at=1.0) == Woken(1.0)
    assert g.edge("wake", active=False, at=1.1) is None
