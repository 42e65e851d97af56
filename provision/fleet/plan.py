"""pressel-fleet plan: what apply would change; the devices are asked and not touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision.fleet import survey
from provision.fleet.report import Outcome, show

if TYPE_CHECKING:
    import argparse

    from provision.fleet.planning import Plan


def main(options: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    fleet, release, plans, unreachable = survey.whole(options)
    outcomes = [*map(forecast, plans), *unreachable]
    if not options.json:
        for plan in plans:
            if plan.diff:
                print(f"{plan.target.name}:\n{plan.diff}\n")
    diffs = {plan.target.name: plan.diff for plan in plans if plan.diff}
    return show(
        outcomes, as_json=options.json, fleet=fleet.settings.name, release=release.version, diffs=diffs
    )


def forecast(plan: Plan) -> Outcome:
    """Return what would become of a device."""
    name, version = plan.target.name, plan.version
    if plan.problem:
        return Outcome(name, "failed", version, plan.problem)
    steps = "; ".join(plan.steps)
    return Outcome(name, "would change" if plan.steps else "unchanged", version, steps, plan.steps)
