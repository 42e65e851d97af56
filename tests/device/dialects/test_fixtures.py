"""Every recorded conversation, played again: the same frames must mean the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from device.net.attempt import DIALECTS
from tests.device.dialects.replay import RECORDINGS, load, make, play

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("path", RECORDINGS, ids=[path.stem for path in RECORDINGS])
def test_a_recording_means_what_it_meant(path: Path) -> None:
    head, steps = load(path)
    dialect = make(head)
    for number, step in enumerate(steps, 1):
        assert play(dialect, step) == step["out"], f"step {number}: {str(step)[:200]}"


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_has_a_recording_that_opens_and_replies(name: str) -> None:
    mine = [steps for head, steps in map(load, RECORDINGS) if head["grant"]["dialect"] == name]
    told = [line for steps in mine for step in steps for line in step["out"]]
    for event in ("Opened(", "ReplyStarted(", "ReplyEnded("):
        assert any(line.startswith(event) for line in told), f"no recording of {name} has {event}…)"
