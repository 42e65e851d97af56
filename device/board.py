"""What a board is beside what the daemon drives: the `[hat]` table, and whose line of the header is whose.

Read by the installer (config.txt, overlay, mixer) and by `script/wiring` (the drawings), checked with every
configuration. Lines are BCM numbers, pins are positions on the 40-pin header.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from device.errors import ConfigError

Line = Annotated[int, Meta(ge=0, le=53)]  # a GPIO line, BCM numbering
Pin = Annotated[int, Meta(ge=1, le=40)]  # a place on the header
Bus = Literal["i2s", "i2c1", "spi0", "usb"]
Model = Literal["zero2w", "pi3", "pi4", "pi5"]

PIN_OF_LINE = {
    2: 3, 3: 5, 4: 7, 14: 8, 15: 10, 17: 11, 18: 12, 27: 13, 22: 15, 23: 16, 24: 18, 10: 19, 9: 21, 25: 22,
    11: 23, 8: 24, 7: 26, 0: 27, 1: 28, 5: 29, 6: 31, 12: 32, 13: 33, 19: 35, 16: 36, 26: 37, 20: 38, 21: 40,
}  # fmt: skip
LINE_OF_PIN = {pin: line for line, pin in PIN_OF_LINE.items()}
SUPPLY_OF_PIN = dict.fromkeys((1, 17), "3.3 V") | dict.fromkeys((2, 4), "5 V")
SUPPLY_OF_PIN |= dict.fromkeys((6, 9, 14, 20, 25, 30, 34, 39), "ground")
BUS_LINES: dict[str, dict[int, str]] = {
    "i2s": {18: "bit clock", 19: "word clock", 20: "microphone data", 21: "speaker data"},
    "i2c1": {2: "data", 3: "clock"},
    "spi0": {7: "chip select 1", 8: "chip select 0", 9: "data in", 10: "data out", 11: "clock"},
    "usb": {},
}
_MODEL_WORDS = {"Zero 2": "zero2w", "Pi 3": "pi3", "Pi 4": "pi4", "Pi 5": "pi5"}
_BUS_NAMES = {"i2s": "I2S", "i2c1": "I2C", "spi0": "SPI"}


class PartConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A thing with wires to the header: its own name for each contact, and the pin that it goes to."""

    name: str
    wires: dict[str, Pin]


class HatConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The board as hardware.

    `config_txt`: lines for config.txt. `overlay_source`: a device-tree source in the board's folder, ours.
    `mixer`: arguments of `amixer sset`, one list a call, for the card that is `audio.output.device`.
    `buses` own their lines; `pins` names every other line that the board or its overlay drives.
    `channel_map` names the capture channels in order; `mics_mm` is where the microphones are, x and y.
    `formats` and `rates_hz`: what the card takes, of which `[audio]` uses one.
    """

    url: str = ""
    models: tuple[Model, ...] = ()
    buses: tuple[Bus, ...] = ()
    pins: dict[str, Line] = {}
    parts: tuple[PartConfig, ...] = ()
    formats: tuple[Literal["s16", "s24", "s32"], ...] = ()
    rates_hz: tuple[int, ...] = ()
    channel_map: tuple[str, ...] = ()
    mics_mm: tuple[tuple[float, float], ...] = ()
    config_txt: tuple[str, ...] = ()
    overlay_source: str = ""
    mixer: tuple[tuple[str, ...], ...] = ()
    quirks: tuple[str, ...] = ()


def owned_lines(hat: HatConfig) -> dict[int, str]:
    """Return the lines that are not free for a panel, each with what it is.

    I2S is never free: every sound board uses it. Raises ConfigError where the board contradicts itself.
    """
    owned = {line: f"the I2S {what}" for line, what in BUS_LINES["i2s"].items()}
    for bus in hat.buses:
        owned |= {line: f"the {_BUS_NAMES[bus]} {what}" for line, what in BUS_LINES[bus].items()}
    for name, line in hat.pins.items():
        if line in owned:
            raise ConfigError(
                f"hat.pins.{name} is GPIO {line}, which is {owned[line]}: give each its own line"
            )
        owned[line] = f"the board's {name.replace('_', ' ')}"
    return owned


def check_lines(hat: HatConfig, wanted: dict[str, int | None]) -> None:
    """Refuse a line that is taken or wanted twice. `wanted`: key of the configuration -> its line.

    Raises ConfigError, one line that names the key, the line and its owner.
    """
    owned = owned_lines(hat)
    for key, line in wanted.items():
        if line is None:
            continue
        if line not in PIN_OF_LINE:
            raise ConfigError(f"{key} is GPIO {line}, which is not on the header: choose one from 0 to 27")
        if line in owned:
            raise ConfigError(f"{key} is GPIO {line}, which is {owned[line]}: choose another line")
        owned[line] = key


def check_wires(hat: HatConfig, wanted: dict[str, int | None]) -> None:
    """Refuse a wire to a line that nothing owns, and an owned line that no wire reaches. Raises ConfigError.

    A bus may keep lines that a board leaves open.
    """
    used = set(hat.pins.values()) | {line for line in wanted.values() if line is not None}
    may = used | {line for bus in hat.buses for line in BUS_LINES[bus]}
    wired = set()
    for part in hat.parts:
        for contact, pin in part.wires.items():
            line = LINE_OF_PIN.get(pin)
            if line is not None and line not in may:
                raise ConfigError(
                    f'hat.parts: {contact} of "{part.name}" goes to GPIO {line}, used by nothing'
                )
            wired.add(line)
    if hat.parts and (missing := used - wired):
        raise ConfigError(f"hat.parts: no wire goes to GPIO {', '.join(map(str, sorted(missing)))}")


def unfit(hat: HatConfig, machine: str) -> bool:
    """Whether a board is not meant for a machine, which is named as in /proc/device-tree/model.

    One that is no Raspberry Pi, and a model that no board names, gets the benefit of the doubt.
    """
    model = next((known for words, known in _MODEL_WORDS.items() if words in machine), None)
    return bool(hat.models) and model is not None and model not in hat.models
