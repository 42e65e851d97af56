"""A rollout with an installer that says how each device ends."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from provision.fleet.apply import roll_out
from provision.fleet.planning import Plan
from provision.fleet.report import Outcome
from provision.schema import FleetSection
from tests.provision.targets import target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@pytest.mark.parametrize(
    ("bad", "waves", "unstarted", "stopped"),
    [
        ("", ["a", "bc", "de"], "", False),
        ("a", ["a"], "bcde", True),
        ("b", ["a", "bc", "de"], "", False),  # half of a batch is not more than half
        ("bc", ["a", "bc"], "de", True),
        ("de", ["a", "bc", "de"], "", False),  # the last: there is nothing left to stop
    ],
)
def test_it_goes_on_until_too_many_of_a_wave_failed(
    tmp_path: Path, bad: str, waves: list[str], unstarted: str, stopped: bool
) -> None:
    one = target(tmp_path)
    plans = [Plan(dataclasses.replace(one, name=name), "1.0", ("update",)) for name in "abcde"]
    seen: list[str] = []

    def install(wave: Sequence[Plan]) -> list[Outcome]:
        seen.append("".join(plan.target.name for plan in wave))
        return [
            Outcome(plan.target.name, "rolled back" if plan.target.name in bad else "changed")
            for plan in wave
        ]

    settings = FleetSection(companion="https://c", canary=1, batch=2, fail_percent=50)
    outcomes, ended = roll_out(plans, settings, install)
    assert seen == waves
    assert ended is stopped
    assert [outcome.name for outcome in outcomes] == list("abcde")
    assert "".join(outcome.name for outcome in outcomes if outcome.result == "not started") == unstarted
