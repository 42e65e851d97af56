"""A talk by way of the kernel's own GPIO lines and sound card."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rig.vpi.pi import LED
from tests.appliance.vpi import status, talk

if TYPE_CHECKING:
    from rig.vpi.pi import Pi

pytestmark = pytest.mark.appliance


def test_what_is_said_with_the_button_held_is_answered_and_remembered(pi: Pi) -> None:
    assert "peter" in talk(pi, "my name is peter")
    assert "peter" in talk(pi, "what is my name")


def test_the_light_shows_what_goes_on(pi: Pi) -> None:
    watched = pi.agent.watch(LED, 8.0)
    talk(pi, "what time is it")
    levels = [level for _, level in watched.levels()]
    assert {0, 1} == set(levels)
    assert len(levels) >= 4, "it was switched on and off again at least"


def test_the_lines_belong_to_the_daemon(pi: Pi) -> None:
    lines = pi.agent.run("gpioinfo").output.splitlines()
    used = {line.split('"')[1] for line in lines if '"lg"' in line}
    assert used == {"GPIO23", "GPIO24", "GPIO25"}


def test_a_press_that_is_a_moment_only_is_no_turn(pi: Pi) -> None:
    before = status(pi)["counters"]["replies"]
    pi.press(seconds=0.02)
    assert status(pi)["counters"]["replies"] == before
