"""What plan says about a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision.fleet.plan import forecast
from provision.fleet.planning import Plan
from tests.provision.targets import target

if TYPE_CHECKING:
    from pathlib import Path


def test_a_plan_is_a_change_nothing_or_a_problem(tmp_path: Path) -> None:
    one = target(tmp_path)
    change = forecast(Plan(one, "1.0", ("update 1.0 to 2.0", "change config.toml")))
    assert (change.result, change.detail) == ("would change", "update 1.0 to 2.0; change config.toml")
    assert forecast(Plan(one, "2.0")).result == "unchanged"
    problem = forecast(Plan(one, "", problem="the bundle is for aarch64"))
    assert (problem.result, problem.detail, problem.well) == ("failed", "the bundle is for aarch64", False)
