"""Every device is asked what it has, and compared with the inventory; nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision import inventory
from provision.errors import SecretError
from provision.fleet.facts import Installation
from provision.fleet.planning import Plan, make_plan
from provision.fleet.report import Outcome, asking
from provision.fleet.ssh import Session
from provision.release import open_release

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from provision.inventory import Fleet, Target
    from provision.release import Release


def whole(options: argparse.Namespace) -> tuple[Fleet, Release, list[Plan], list[Outcome]]:
    """Return inventory, release and plans for a command's options, and the devices that cannot be reached.

    Raises FleetError.
    """
    fleet = inventory.load(options.inventory)
    targets = fleet.select(options.limit)
    release = open_release(fleet.bundle)
    plans, failures = survey(targets, release, options.parallel)
    return fleet, release, plans, [Outcome(name, "unreachable", detail=why) for name, why in failures.items()]


def survey(targets: Sequence[Target], release: Release, parallel: int) -> tuple[list[Plan], dict[str, str]]:
    """Return the plans in the order of the targets, and why a device has none, by name.

    Raises SecretError that names every secret which is needed and missing.
    """
    with asking(len(targets)) as asked, Session(targets, parallel) as session:
        found = session.facts(Installation, asked)
    plans, missing = [], []
    for target in targets:
        if target.name not in found:
            continue
        try:
            plans.append(make_plan(target, release, found[target.name]))
        except SecretError as error:
            missing.append(str(error))
    if missing:
        raise SecretError("; ".join(missing) + " - nothing was changed on any device")
    return plans, dict(session.failures)
