"""pressel-fleet apply: canary, then batches, each through its health gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision import inventory
from provision.deploy import deploy
from provision.plan import forecast
from provision.release import open_release
from provision.report import Outcome, Progress, show
from provision.rollout import must_stop, waves
from provision.survey import survey

if TYPE_CHECKING:
    import argparse

    from provision.inventory import Fleet
    from provision.planning import Plan
    from provision.release import Release


def main(options: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    fleet = inventory.load(options.inventory)
    targets = fleet.select(options.limit)
    release = open_release(fleet.bundle)
    plans, failures = survey(targets, release, options.parallel)
    outcomes = [Outcome(name, "unreachable", detail=why) for name, why in failures.items()]
    outcomes += [forecast(plan) for plan in plans if plan.problem or not plan.steps]
    changing = [plan for plan in plans if plan.steps and not plan.problem]
    with Progress(len(targets)) as progress:
        for outcome in outcomes:
            progress.end(outcome)
        installed, stopped = _roll_out(fleet, changing, release, options.parallel, progress)
    order = [target.name for target in targets]
    outcomes = sorted([*outcomes, *installed], key=lambda outcome: order.index(outcome.name))
    return show(
        outcomes, as_json=options.json, fleet=fleet.settings.name, release=release.version, stopped=stopped
    )


def _roll_out(
    fleet: Fleet, plans: list[Plan], release: Release, parallel: int, progress: Progress
) -> tuple[list[Outcome], bool]:
    """Install wave by wave; return what became of each device, and whether it was stopped."""
    settings = fleet.settings
    outcomes: list[Outcome] = []
    for wave in waves(plans, settings.canary, settings.batch):
        done = deploy(wave, release, settings.gate_s, parallel, progress)
        outcomes += done
        failed = sum(not outcome.well for outcome in done)
        if must_stop(failed, len(done), settings.fail_percent):
            why = f"stopped: {failed} of {len(done)} failed, more than {settings.fail_percent:g} %"
            rest = plans[len(outcomes) :]
            outcomes += [Outcome(plan.target.name, "not started", plan.version, why) for plan in rest]
            return outcomes, bool(rest)
    return outcomes, False
