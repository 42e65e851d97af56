"""Every device is asked what it has, and compared with the inventory; nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision.errors import SecretError
from provision.fleet.facts import Installation
from provision.fleet.planning import Plan, make_plan
from provision.fleet.report import asking
from provision.fleet.ssh import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provision.inventory import Target
    from provision.release import Release


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
