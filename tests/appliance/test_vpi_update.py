"""Updates on the virtual Pi: one that is good stays, one that fails its gate goes back by itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from rig.vpi.home import install
from tests.appliance.vpi import NEXT, talk, wait_until_ready

if TYPE_CHECKING:
    from rig.vpi.pi import Pi
    from tests.appliance.vpi import House

pytestmark = pytest.mark.appliance

_GATE = "--gate 15"


def _installed(pi: Pi) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(pi.agent.run("/opt/pressel/install.sh --status --json").output)
    return found


def test_the_same_bundle_again_changes_nothing(pi: Pi, house: House) -> None:
    done = install(pi, house.first)
    assert done.status == 0, done.output
    assert done.output.splitlines()[-1] == "nothing to change"


def test_a_second_release_stays_and_a_third_that_fails_its_gate_goes_back(pi: Pi, house: House) -> None:
    was = _installed(pi)["version"]
    done = install(pi, house.following, _GATE)
    assert done.status == 0, done.output
    assert (_installed(pi)["version"], _installed(pi)["previous"]) == (NEXT, was)
    assert status_version(pi) == NEXT
    done = install(pi, house.broken, _GATE)
    assert done.status == 3, done.output
    assert "blocks" in done.output
    assert _installed(pi)["version"] == NEXT
    assert not _installed(pi)["trial"]
    wait_until_ready(pi)
    assert status_version(pi) == NEXT
    assert "peter" in talk(pi, "my name is peter")
    done = pi.agent.run(f"/opt/pressel/install.sh --rollback {_GATE}", timeout_s=600.0)
    assert done.status == 0, done.output
    assert _installed(pi)["version"] == was


def status_version(pi: Pi) -> str:
    version: str = pi.ask("status")["version"]
    return version
