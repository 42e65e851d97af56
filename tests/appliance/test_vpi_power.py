"""The plug is pulled twenty times, at random moments of a talk; no state is ever lost or corrupt."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.appliance.vpi import PATIENCE_S, status, wait_until_ready
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rig.vpi.pi import Pi
    from tests.appliance.vpi import House

pytestmark = pytest.mark.appliance

CUTS = 20
SEED = 5
_STATE = "/var/lib/pressel"


@pytest.fixture
def hasty(house: House) -> Iterator[Pi]:
    """The virtual Pi without the steady clock: its sound has holes, and it boots in half the time."""
    pi = house.pi
    if pi.on:
        pi.off()
    pi.steady = False
    pi.boot()
    wait_until_ready(pi)
    yield pi
    pi.cut()
    pi.steady = True


def test_a_cut_at_any_moment_costs_nothing_but_the_moment(hasty: Pi) -> None:
    dice = random.Random(SEED)  # noqa: S311  # moments, no secrets
    _ask(hasty, "my name is peter")
    until(lambda: status(hasty)["state"] == "ready", PATIENCE_S)
    for number in range(CUTS):
        if number % 2:
            _cut_in_a_reply(hasty, dice)
        else:
            _cut_while_words_are_kept(hasty, dice)
        hasty.boot()
        wait_until_ready(hasty)
        _check_state(hasty, number)
        _ask(hasty, "what is my name")
        until(lambda: status(hasty)["session"], PATIENCE_S)
        assert status(hasty)["session"]["rung"] != "fresh", f"cut {number}"
    until(lambda: status(hasty)["state"] == "ready", PATIENCE_S)
    assert "peter" in hasty.ask("transcript")["turns"][-1]["text"].lower()


def _ask(pi: Pi, words: str) -> None:
    pi.ask("say", text=words)


def _cut_in_a_reply(pi: Pi, dice: random.Random) -> None:
    _ask(pi, "tell me a story about the sea")
    until(lambda: status(pi)["state"] == "speaking", PATIENCE_S)
    _after(dice.uniform(0.0, 2.0))
    pi.cut()


def _cut_while_words_are_kept(pi: Pi, dice: random.Random) -> None:
    _ask(pi, f"set a timer for {dice.randint(2, 50)} minutes")
    _after(dice.uniform(0.0, 1.5))
    pi.cut()


def _check_state(pi: Pi, number: int) -> None:
    assert pi.agent.run(f"ls {_STATE}/*.bad-*").status, f"cut {number}: a file was set aside as corrupt"
    kept = json.loads(pi.agent.run(f"cat {_STATE}/sessions.json").raw)
    assert kept, f"cut {number}"
    assert pi.agent.run("systemctl show --value -p NRestarts pressel").output.strip() == "0", f"cut {number}"
    said = pi.agent.run("dmesg --level=err,crit,alert,emerg").output
    assert "EXT4-fs error" not in said, f"cut {number}"


def _after(seconds: float) -> None:
    # The moment itself is what is tried: there is no fact to wait for.
    time.sleep(seconds)
