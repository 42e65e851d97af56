"""The virtual Pi from a written card to its first talk, first without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.appliance.vpi import PATIENCE_S, status, talk, wait_until_ready
from tests.servers import until

if TYPE_CHECKING:
    from tests.appliance.vpi import House

pytestmark = pytest.mark.appliance


def test_it_is_ready_without_a_network_and_talks_as_soon_as_there_is_one(house: House) -> None:
    pi = house.pi
    pi.cut()
    pi.power_on()
    pi.network(up=False)
    pi.wait()
    wait_until_ready(pi)
    assert pi.agent.run("systemctl is-active pressel").output.strip() == "active"
    assert pi.agent.run("ip -4 -o address show scope global").output == ""
    pi.ask("say", text="hello")
    until(lambda: status(pi)["state"] == "retrying", PATIENCE_S)
    pi.network(up=True)
    until(lambda: status(pi)["state"] == "ready", PATIENCE_S)
    assert "peter" in talk(pi, "my name is peter")


def test_what_the_installer_left_is_whole(house: House) -> None:
    said = house.said.splitlines()
    assert "skipped config.txt: this machine has none, so it is no Raspberry Pi" in said
    assert said[-1].endswith("changes")


def test_nothing_has_failed_in_the_guest(pi: object, house: House) -> None:
    assert pi is house.pi
    assert house.pi.agent.run("systemctl --failed --no-legend --plain").output == ""
    assert house.pi.agent.run("systemctl is-system-running --wait").output.strip() == "running"
