"""Every board file: it fits the schema, names devices by name, and puts nothing on a line that is taken."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from device.config import Config

BOARDS = sorted((Path(__file__).parents[2] / "hardware").glob("*/board.toml"))
I2C, I2S = {2, 3}, {18, 19, 20, 21}
OVERLAY_LINES = {"sndrpigooglevoi": {16}}  # the amplifier's shutdown
DEVICE_LINES = ("button", "wake", "led")
# Pins of the 40-pin header by BCM number, for the tables in wiring.md.
PINS = {
    2: 3,
    3: 5,
    4: 7,
    14: 8,
    15: 10,
    17: 11,
    18: 12,
    27: 13,
    22: 15,
    23: 16,
    24: 18,
    10: 19,
    9: 21,
    25: 22,
}
PINS |= {
    11: 23,
    8: 24,
    7: 26,
    0: 27,
    1: 28,
    5: 29,
    6: 31,
    12: 32,
    13: 33,
    19: 35,
    16: 36,
    26: 37,
    20: 38,
    21: 40,
}
POWER_PINS = {"3.3 V": {1, 17}, "5 V": {2, 4}, "ground": {6, 9, 14, 20, 25, 30, 34, 39}}


def load(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def lines_of(board: dict[str, Any]) -> dict[str, int]:
    return {name: board["panel"][name] for name in DEVICE_LINES if name in board["panel"]}


@pytest.fixture(params=BOARDS, ids=[path.parent.name for path in BOARDS])
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def test_the_boards_of_the_readme_are_those_there_are() -> None:
    readme = (BOARDS[0].parents[1] / "README.md").read_text()
    listed = set(re.findall(r"^\| \[?([a-z0-9-]+)\]?", readme, flags=re.MULTILINE)) - {"board"}
    assert listed - {"---"} == {path.parent.name for path in BOARDS}


def test_it_fits_the_schema_and_is_named_as_its_folder(path: Path) -> None:
    board = load(path)
    msgspec.convert(board, Config)
    assert board["name"] == path.parent.name
    assert board["description"]
    assert isinstance(board["hardware_aec"], bool)


def test_sound_devices_go_by_name(path: Path) -> None:
    for side in ("input", "output"):
        device = load(path)["audio"][side]["device"]
        assert isinstance(device, str)
        assert not re.search(r"hw:\d|^\d*$", device), f"{device}: card numbers move from boot to boot"


def test_the_picked_channel_is_there(path: Path) -> None:
    sound = load(path)["audio"]["input"]
    assert sound["channel"] == "mix" or sound["channel"] < sound["channels"]


def test_one_card_for_both_ways_has_one_clock(path: Path) -> None:
    audio = load(path)["audio"]
    if audio["input"]["device"] == audio["output"]["device"]:
        assert audio["input"]["rate_hz"] == audio["output"]["rate_hz"]


def test_no_line_is_used_twice_or_taken_by_a_bus(path: Path) -> None:
    board = load(path)
    taken = I2C | I2S
    for side in ("input", "output"):
        taken |= OVERLAY_LINES.get(board["audio"][side]["device"], set())
    lines = lines_of(board)
    assert len(set(lines.values())) == len(lines)
    assert not taken & set(lines.values())
    assert all(line in PINS for line in lines.values())


def test_a_gpio_panel_has_a_button_and_its_wiring_is_written_down(path: Path) -> None:
    board = load(path)
    if board["panel"]["driver"] != "gpio":
        return
    assert "button" in board["panel"]
    wiring = (path.parent / "wiring.md").read_text()
    for name, line in lines_of(board).items():
        assert re.search(rf"^\|.*GPIO {line}\b.*\| {PINS[line]} \|$", wiring, flags=re.MULTILINE), name


def test_every_wire_goes_to_the_pin_that_has_its_line(path: Path) -> None:
    wiring = path.parent / "wiring.md"
    if not wiring.exists():
        assert load(path)["panel"]["driver"] == "simulated"
        return
    wires = re.findall(r"^\|[^|]*\|[^|]*\| ([^|]+) \| (\d+) \|$", wiring.read_text(), flags=re.MULTILINE)
    assert wires
    for where, pin in wires:
        line = re.match(r"GPIO (\d+)", where)
        expected = {PINS[int(line[1])]} if line else POWER_PINS[where.split(":")[0]]
        assert int(pin) in expected, f"{where} is not on pin {pin}"
