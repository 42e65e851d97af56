"""The simulated panel's own: what it shows, and its wake line."""

from __future__ import annotations

from device.panel.simulated import SimulatedPanel


def test_it_remembers_the_pattern() -> None:
    panel = SimulatedPanel()
    assert panel.pattern == "idle"
    panel.show("speaking")
    assert panel.pattern == "speaking"
    panel.show("no-such-pattern")
    assert panel.pattern == "idle"


def test_a_wake_is_a_pulse_dated_by_the_clock() -> None:
    edges: list[tuple[str, bool, float]] = []
    panel = SimulatedPanel(clock=lambda: 7.0)
    panel.start(lambda *edge: edges.append(edge))
    panel.wake()
    assert edges == [("wake", True, 7.0), ("wake", False, 7.0)]


def test_before_it_is_started_it_only_remembers_the_finger() -> None:
    edges: list[tuple[str, bool, float]] = []
    panel = SimulatedPanel(clock=lambda: 7.0)
    panel.press()
    panel.start(lambda *edge: edges.append(edge))
    panel.press()
    panel.release()
    assert edges == [("button", False, 7.0)]
