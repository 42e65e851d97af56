"""The space bar as a button."""

from __future__ import annotations

import pytest

from demo.person import obey


@pytest.mark.parametrize(
    ("keys", "done"),
    [
        ("  q", ["press", "release"]),
        (" q", ["press", "release"]),
        ("x q ", ["press", "release"]),
        ("q ", []),
        ("    ", ["press", "release", "press", "release"]),
        (" \x04", ["press", "release"]),
    ],
)
def test_one_stroke_holds_it_down_and_the_next_lets_go(keys: str, done: list[str]) -> None:
    pressed: list[str] = []
    obey(keys, pressed.append)
    assert pressed == done
