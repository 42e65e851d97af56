"""The LED chain: what goes over the wire, to a device file and to two lines."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from device.errors import PanelError
from device.panel.apa102 import Chain, Spi, clock_out

if TYPE_CHECKING:
    from pathlib import Path

CHAIN = Chain(leds=3, color=(1, 2, 3), brightness=4)


def test_a_lit_chain_is_brightness_blue_green_red_for_each_led_after_32_zeros() -> None:
    assert CHAIN.frame(True) == bytes(4) + bytes((0xE4, 3, 2, 1)) * 3 + bytes(1)


def test_a_dark_chain_is_as_long_and_shines_nowhere() -> None:
    assert CHAIN.frame(False) == bytes(4) + bytes((0xE0, 0, 0, 0)) * 3 + bytes(1)


@pytest.mark.parametrize("leds", [1, 3, 12, 16, 64])
def test_half_a_clock_for_each_led_follows_the_last(leds: int) -> None:
    after = CHAIN.frame(True) if leds == 3 else Chain(leds, (1, 2, 3), 4).frame(True)
    assert (len(after) - 4 - 4 * leds) * 8 >= leds / 2


def test_a_device_gets_each_frame_whole(tmp_path: Path) -> None:
    wire = tmp_path / "spidev0.0"
    os.mkfifo(wire)
    reader = os.open(wire, os.O_RDONLY | os.O_NONBLOCK)
    spi = Spi(str(wire))
    spi.send(CHAIN.frame(True))
    assert os.read(reader, 4096) == CHAIN.frame(True)
    spi.close()
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_a_device_that_is_not_there_says_what_to_turn_on(tmp_path: Path) -> None:
    with pytest.raises(PanelError, match=r"spidev0\.0 cannot be opened .*dtparam=spi=on.*group spi"):
        Spi(str(tmp_path / "spidev0.0"))


def test_two_lines_give_the_same_bits_at_the_rising_clock() -> None:
    levels, read = {5: False, 6: False}, []

    def output(line: int, level: bool) -> None:
        if line == 6 and level and not levels[6]:
            read.append(levels[5])
        levels[line] = level

    frame = CHAIN.frame(True)
    clock_out(frame, 5, 6, output)
    value = int("".join("1" if bit else "0" for bit in read), 2)
    assert value.to_bytes(len(frame), "big") == frame
    assert levels[6] is False
