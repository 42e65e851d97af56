"""One virtual Pi for all tests here: a card written once, one companion; each test finds it on and ready."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from rig.processes import ROOT, Companion
from rig.rootfs import Unavailable
from rig.vpi.home import Home
from tests.appliance.vpi import BROKEN, NEXT, House, wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rig.vpi.pi import Pi


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A card with Pressel on it that was never booted, a companion, and a stick with three releases."""
    folder = tmp_path_factory.mktemp("vpi")
    try:
        with Companion(folder / "companion") as companion:
            home = Home(folder / "pi", companion)
            home.add_settings()
            first = home.add_bundle()
            broken = home.add_bundle(BROKEN, _with_a_deaf_microphone(folder / "broken"))
            made = House(home, first, home.add_bundle(NEXT), broken, home.make(first))
            yield made
            made.pi.cut()
    except Unavailable as reason:
        pytest.skip(f"THERE IS NO VIRTUAL PI HERE: {reason}")


@pytest.fixture
def pi(house: House) -> Pi:
    """The virtual Pi: on, and Pressel answers."""
    if not house.pi.on:
        house.pi.boot()
    wait_until_ready(house.pi)
    return house.pi


def _with_a_deaf_microphone(to: Path) -> Path:
    """Copy the source and put a bug into it that no part notices: captured blocks are not counted."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("device", "companion", "provision", "rig", "demo", "hardware", "systemd"):
        shutil.copytree(ROOT / name, to / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, to / name)
    capture = to / "device/audio/capture.py"
    text = capture.read_text()
    assert text.count("self.frames += len(samples)") == 1
    capture.write_text(text.replace("self.frames += len(samples)", "self.frames += 0"))
    return to
