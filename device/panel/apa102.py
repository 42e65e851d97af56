"""A chain of APA102 (DotStar) LEDs as one lamp: over spidev, or bit by bit on two GPIO lines.

A chain takes 32 zero bits, then for each LED 111 and five bits of brightness, blue, green, red, then at least
half a clock for each LED (APA102-2020 data sheet, "Cascading data structure"). It has no lower clock limit.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from device.errors import PanelError

if TYPE_CHECKING:
    from collections.abc import Callable

_SET_SPEED = 0x40046B04  # SPI_IOC_WR_MAX_SPEED_HZ of linux/spi/spidev.h
_SPEED_HZ = 1_000_000  # spidev's own is the bus's most, 125 MHz, which the wires do not carry


@dataclass(frozen=True)
class Chain:
    """How many LEDs, their colour (red, green, blue, 0 to 255), brightness (0 to 31) and where they are.

    `data` and `clock` are BCM lines; None takes the SPI `device`.
    """

    leds: int
    color: tuple[int, int, int]
    brightness: int
    device: str = "/dev/spidev0.0"
    data: int | None = None
    clock: int | None = None

    def frame(self, on: bool) -> bytes:
        """Return what makes every LED of the chain light up or go dark."""
        red, green, blue = self.color if on else (0, 0, 0)
        led = bytes((0xE0 | (self.brightness if on else 0), blue, green, red))
        return bytes(4) + led * self.leds + bytes(self.leds // 16 + 1)


class Spi:
    """A spidev device that is written to. Raises PanelError when it is not there or not ours."""

    def __init__(self, device: str) -> None:
        try:
            self._fd = os.open(device, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise PanelError(
                f"the LEDs' {device} cannot be opened ({error.strerror}): set dtparam=spi=on in config.txt,"
                " and add this user to the group spi"
            ) from error
        try:
            fcntl.ioctl(self._fd, _SET_SPEED, struct.pack("I", _SPEED_HZ))
        except OSError as error:
            if error.errno != errno.ENOTTY:  # a plain file or pipe has no clock to set
                os.close(self._fd)
                raise PanelError(f"{device} cannot be set to {_SPEED_HZ} Hz: {error.strerror}") from error

    def send(self, frame: bytes) -> None:
        """Clock a frame out; it is one transfer."""
        os.write(self._fd, frame)

    def close(self) -> None:
        """Give the device back."""
        os.close(self._fd)


def clock_out(frame: bytes, data: int, clock: int, output: Callable[[int, bool], None]) -> None:
    """Send a frame on two lines, highest bit first; the LEDs read `data` when `clock` rises."""
    for byte in frame:
        for bit in range(7, -1, -1):
            output(data, bool(byte >> bit & 1))
            output(clock, True)
            output(clock, False)
