"""Debouncing: the first edge at once, no bounce, and no contact that sticks."""

from __future__ import annotations

import random

import pytest

from device.panel.debounce import Change, Debounce


def test_the_first_edge_is_reported_at_once_and_its_bounces_are_not() -> None:
    contact = Debounce(20)
    assert contact.edge(True, 1.000) == (True, 1.000)
    assert contact.edge(False, 1.001) is None
    assert contact.edge(True, 1.002) is None
    assert contact.deadline == pytest.approx(1.020)
    assert contact.reread(True, 1.020) is None
    assert contact.active


def test_a_release_inside_the_window_is_found_at_its_end_and_dated_to_its_edge() -> None:
    contact = Debounce(20)
    contact.edge(True, 1.0)
    assert contact.edge(False, 1.007) is None
    assert contact.reread(False, 1.019) is None, "not due yet"
    assert contact.reread(False, 1.021) == (False, 1.007)
    assert contact.edge(True, 1.030) is None, "the release bounces too"
    assert contact.reread(False, 1.042) is None
    assert contact.deadline > 1.042


def test_a_lost_release_is_found_by_looking_again() -> None:
    contact = Debounce(20, recheck_ms=100)
    contact.edge(True, 1.0)
    assert contact.reread(True, 1.02) is None
    assert contact.deadline == pytest.approx(1.12)
    assert contact.reread(True, 1.125) is None
    assert contact.reread(False, 1.23) == (False, 1.23)


def test_a_lost_press_is_found_by_looking_from_the_start_on() -> None:
    contact = Debounce(20, recheck_ms=100)
    assert contact.reread(False, 1.0) is None
    assert contact.reread(True, 1.05) is None, "not due yet"
    assert contact.reread(True, 1.15) == (True, 1.15)


def test_a_spike_over_before_it_is_read_is_no_press_but_is_looked_into() -> None:
    contact = Debounce(20)
    assert contact.edge(False, 1.0) is None
    assert contact.deadline == pytest.approx(1.02)
    assert contact.reread(True, 1.02) == (True, 1.02)


def test_the_press_after_a_window_is_reported_at_once_even_before_the_look() -> None:
    contact = Debounce(20)
    contact.edge(True, 1.0)
    assert contact.edge(False, 1.5) == (False, 1.5)
    assert contact.edge(True, 1.6) == (True, 1.6)


def test_held_at_the_start_only_the_release_is_news() -> None:
    contact = Debounce(20, active=True)
    assert contact.edge(True, 1.0) is None
    assert contact.edge(False, 2.0) == (False, 2.0)


def test_no_window_reports_every_edge() -> None:
    contact = Debounce(0)
    assert [contact.edge(active, 1.0) for active in (True, False, True)] == [
        (True, 1.0),
        (False, 1.0),
        (True, 1.0),
    ]


@pytest.mark.parametrize("seed", range(50))
def test_whatever_the_bounces_the_reports_alternate_and_end_as_the_line_does(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  # repeatable on purpose
    contact, now, level, reports = Debounce(20), 0.0, False, list[Change]()
    for _ in range(400):
        now += chance.choice((0.0001, 0.003, 0.019, 0.021, 0.3))
        reports += filter(None, [contact.reread(level, now)])  # the line as it was just before this edge
        level = not level
        if chance.random() > 0.1:  # one edge in ten is lost
            reports += filter(None, [contact.edge(level, now)])
    for _ in range(2):
        reports += filter(None, [contact.reread(level, contact.deadline)])
    assert contact.active == level
    states = [active for active, _ in reports]
    assert states == [number % 2 == 0 for number in range(len(states))]
    dates = [at for _, at in reports]
    assert dates == sorted(dates)
