"""The virtual Pi given to somebody else: it forgets who it was, and a new claim makes it talk again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rig.vpi.home import claim
from tests.appliance.vpi import PATIENCE_S, talk, wait_until_ready
from tests.servers import until

if TYPE_CHECKING:
    from pathlib import Path

    from rig.vpi.pi import Pi
    from tests.appliance.vpi import House

pytestmark = pytest.mark.appliance


def test_after_a_reset_it_knows_nobody_and_a_new_claim_brings_it_back(
    pi: Pi, house: House, tmp_path: Path
) -> None:
    assert "peter" in talk(pi, "my name is peter")
    done = pi.agent.run("/opt/pressel/install.sh --reset", timeout_s=300.0)
    assert done.status == 0, done.output
    ended = until(lambda: _exit_status(pi), PATIENCE_S)
    assert ended == "78", "EX_CONFIG: without a claim there is nobody to be"
    kept = pi.agent.run("ls /var/lib/pressel").output.split()
    assert not {"identity.key", "identity.json", "sessions.json", "claim.json"} & set(kept)
    claim(house.home.companion, tmp_path / "claim.json")
    pi.agent.run("umask 077; cat > /run/vpi/claim.json", (tmp_path / "claim.json").read_bytes())
    bundle = f"/mnt/stick/{house.first}/install.sh --claim /run/vpi/claim.json --gate 0"
    mounted = "mkdir -p /mnt/stick; mountpoint -q /mnt/stick || mount -o ro LABEL=stick /mnt/stick"
    done = pi.agent.run(f"{mounted}; {bundle}", timeout_s=600.0)
    assert done.status == 0, done.output
    wait_until_ready(pi)
    until(lambda: pi.ask("check")["ok"], PATIENCE_S)
    assert pi.agent.run("test -e /var/lib/pressel/claim.json").status, "a claim that was used is gone"
    assert "peter" not in talk(pi, "what is my name")


def _exit_status(pi: Pi) -> str:
    """Return the status that the service ended with, "" while it is on its way."""
    if pi.agent.run("systemctl is-failed pressel").output.strip() != "failed":
        return ""
    return pi.agent.run("systemctl show --value -p ExecMainStatus pressel").output.strip()
