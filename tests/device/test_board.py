"""The board's hardware table: whose line is whose, and the one line that says so."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from device.board import (
    BUS_LINES,
    LINE_OF_PIN,
    PIN_OF_LINE,
    SUPPLY_OF_PIN,
    HatConfig,
    check_lines,
    check_wires,
    unfit,
)
from device.errors import ConfigError


def hat(**values: Any) -> HatConfig:
    return msgspec.convert(values, HatConfig)


def test_the_header_has_forty_pins_each_one_thing() -> None:
    assert sorted([*LINE_OF_PIN, *SUPPLY_OF_PIN]) == list(range(1, 41))
    assert sorted(PIN_OF_LINE) == list(range(28))


@pytest.mark.parametrize(
    ("board", "line", "owner"),
    [
        ({}, 18, "the I2S bit clock"),
        ({"buses": ["usb"]}, 21, "the I2S speaker data"),
        ({"buses": ["i2s", "i2c1"]}, 2, "the I2C data"),
        ({"buses": ["spi0"]}, 10, "the SPI data out"),
        ({"pins": {"amplifier_shutdown": 16}}, 16, "the board's amplifier shutdown"),
    ],
)
def test_a_line_that_is_taken_is_refused_and_its_owner_named(board: Any, line: int, owner: str) -> None:
    with pytest.raises(ConfigError, match=f"^panel.button is GPIO {line}, which is {owner}: choose another"):
        check_lines(hat(**board), {"panel.button": line})


def test_a_line_is_not_used_twice() -> None:
    with pytest.raises(ConfigError, match=r"^panel.led is GPIO 23, which is panel.button"):
        check_lines(hat(), {"panel.button": 23, "panel.led": 23})


def test_a_line_beyond_the_header_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^panel.led is GPIO 40, which is not on the header"):
        check_lines(hat(), {"panel.led": 40})


def test_a_board_that_claims_an_i2s_line_for_itself_contradicts_itself() -> None:
    with pytest.raises(ConfigError, match=r"^hat.pins.mute is GPIO 20, which is the I2S microphone data"):
        check_lines(hat(pins={"mute": 20}), {})


def test_lines_of_a_bus_that_the_board_does_not_need_are_free() -> None:
    for bus in ("i2c1", "spi0"):
        check_lines(hat(buses=["i2s"]), {f"panel.{line}": line for line in BUS_LINES[bus]})


def test_a_wire_to_a_line_of_nobody_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'data of "LED" goes to GPIO 5, used by nothing'):
        check_wires(hat(parts=[{"name": "LED", "wires": {"data": 29}}]), {})


def test_a_line_without_a_wire_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no wire goes to GPIO 25"):
        check_wires(
            hat(parts=[{"name": "button", "wires": {"one": 16}}]), {"panel.button": 23, "panel.led": 25}
        )


@pytest.mark.parametrize(
    ("machine", "told"),
    [
        ("Raspberry Pi 5 Model B Rev 1.0", True),
        ("Raspberry Pi 4 Model B Rev 1.5", False),
        ("Raspberry Pi Zero 2 W Rev 1.0", False),
        ("Raspberry Pi 3 Model A Plus Rev 1.0", True),
        ("Radxa ROCK 5B", False),
        ("", False),
    ],
)
def test_a_board_on_a_model_that_it_is_not_meant_for_is_known(machine: str, told: bool) -> None:
    assert unfit(hat(models=["zero2w", "pi4"]), machine) is told
    assert not unfit(hat(), machine)
