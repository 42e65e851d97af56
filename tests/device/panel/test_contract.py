"""What every panel does: the simulated one, and the GPIO one with edge detection and without."""

from __future__ import annotations

import time
from typing import Any


def test_a_press_and_a_release_are_two_edges_in_time(panel: Any) -> None:
    before = time.monotonic()
    panel.press()
    line, active, pressed_at = panel.edge()
    assert (line, active) == ("button", True)
    panel.release()
    line, active, released_at = panel.edge()
    assert (line, active) == ("button", False)
    assert before <= pressed_at < released_at <= time.monotonic()


def test_a_held_button_says_nothing_twice(panel: Any) -> None:
    panel.press()
    panel.press()
    assert panel.edge()[:2] == ("button", True)
    panel.release()
    assert panel.edge()[:2] == ("button", False)
    panel.release()
    panel.press()
    assert panel.edge()[:2] == ("button", True)
    assert panel.no_more_edges()


def test_a_tap_faster_than_any_finger_still_ends(panel: Any) -> None:
    panel.press()
    panel.edge()
    panel.release()
    assert panel.edge()[:2] == ("button", False)


def test_every_pattern_and_an_unknown_one_can_be_shown(panel: Any) -> None:
    for pattern in ("idle", "connecting", "ready", "speaking", "fault", "no-such-pattern"):
        panel.show(pattern)
    panel.press()
    assert panel.edge()[:2] == ("button", True)


def test_after_closing_nothing_is_reported_and_closing_again_is_fine(panel: Any) -> None:
    panel.press()
    panel.edge()
    panel.close()
    panel.release()
    panel.show("ready")
    panel.close()
    assert panel.no_more_edges()
