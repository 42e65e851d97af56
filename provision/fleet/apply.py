"""pressel-fleet apply: canary, then batches, each through its health gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision.fleet import survey
from provision.fleet.deploy import deploy
from provision.fleet.plan import forecast
from provision.fleet.report import Outcome, Progress, show
from provision.fleet.rollout import must_stop, waves

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from provision.fleet.planning import Plan
    from provision.schema import FleetSection


def main(options: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    fleet, release, plans, unreachable = survey.whole(options)
    outcomes = [*unreachable, *(forecast(plan) for plan in plans if plan.problem or not plan.steps)]
    changing = [plan for plan in plans if plan.steps and not plan.problem]
    with Progress(len(plans) + len(unreachable)) as progress:
        for outcome in outcomes:
            progress.end(outcome)
        installed, stopped = roll_out(
            changing,
            fleet.settings,
            lambda wave: deploy(wave, release, fleet.settings.gate_s, options.parallel, progress),
        )
    order = [target.name for target in fleet.targets]
    outcomes = sorted([*outcomes, *installed], key=lambda outcome: order.index(outcome.name))
    return show(
        outcomes, as_json=options.json, fleet=fleet.settings.name, release=release.version, stopped=stopped
    )


def roll_out(
    plans: Sequence[Plan], settings: FleetSection, install: Callable[[Sequence[Plan]], list[Outcome]]
) -> tuple[list[Outcome], bool]:
    """Install wave by wave; return what became of each device, and whether it was stopped."""
    outcomes: list[Outcome] = []
    for wave in waves(plans, settings.canary, settings.batch):
        done = install(wave)
        outcomes += done
        failed = sum(not outcome.well for outcome in done)
        rest = plans[len(outcomes) :]
        if rest and must_stop(failed, len(done), settings.fail_percent):
            why = f"stopped: {failed} of {len(done)} failed, more than {settings.fail_percent:g} %"
            outcomes += [Outcome(plan.target.name, "not started", plan.version, why) for plan in rest]
            return outcomes, True
    return outcomes, False
