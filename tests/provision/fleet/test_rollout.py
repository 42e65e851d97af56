"""Canary, batches, and when a rollout stops."""

from __future__ import annotations

import pytest

from provision.fleet.rollout import must_stop, waves


@pytest.mark.parametrize(
    ("count", "canary", "batch", "sizes"),
    [
        (0, 1, 5, []),
        (1, 1, 5, [1]),
        (12, 1, 5, [1, 5, 5, 1]),
        (6, 0, 5, [5, 1]),
        (3, 5, 2, [3]),
        (4, 2, 1, [2, 1, 1]),
    ],
)
def test_everybody_comes_once_and_in_order(count: int, canary: int, batch: int, sizes: list[int]) -> None:
    found = waves(range(count), canary, batch)
    assert [len(wave) for wave in found] == sizes
    assert [item for wave in found for item in wave] == list(range(count))


@pytest.mark.parametrize(
    ("failed", "of", "percent", "stop"),
    [
        (0, 5, 0, False),
        (1, 5, 20, False),
        (2, 5, 20, True),
        (1, 1, 20, True),
        (1, 5, 0, True),
        (5, 5, 100, False),
    ],
)
def test_it_stops_above_the_percentage_and_not_at_it(
    failed: int, of: int, percent: float, stop: bool
) -> None:
    assert must_stop(failed, of, percent) is stop
