"""config.txt, read by a Raspberry Pi's firmware: our marked block, and overlays that clash with it.

The installer on the device keeps the same block by the same rules: neither changes what the other wrote.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from provision.errors import MediaError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BEGIN = "# >>> pressel"
END = "# <<< pressel"
_OVERLAY = re.compile(r"dtoverlay=([\w.-]+)")
_INCLUDE = re.compile(r"include\s+(\S+)")
# Overlays that put a sound card on the I2S pins, by the words in the kernel's names for them.
_SOUND = re.compile(
    r"soundcard|voicecard|voicehat|respeaker|hifiberry|iqaudio|codec|audio|dac|amp|wm8960|max98357a|adau|"
    r"justboom|allo-|pisound|i-sabre|dionaudio|i2s|cirrus|pibell|pifi-|draws|udrc|ugreen"
)
_I2S = {18, 19, 20, 21}
_PIN = re.compile(r"(\w*pin\d?)=(\d+)")
# Pins of overlays that say none. Source: README of the firmware's overlays folder; SPI1's are fixed.
_PINS: dict[str, dict[str, int]] = {
    "gpio-ir": {"gpio_pin": 18},
    "gpio-ir-tx": {"gpio_pin": 18},
    "pwm-ir-tx": {"gpio_pin": 18},
    "pwm": {"pin": 18},
    "pwm-2chan": {"pin": 18, "pin2": 19},
    **{f"spi1-{count}cs": {"MISO": 19, "MOSI": 20, "SCLK": 21} for count in (1, 2, 3)},
}


def with_block(text: str, lines: tuple[str, ...], folder: Path) -> str:
    """Return config.txt with these lines in our block, in its place or at the end; without lines, no block.

    All other bytes stay. `folder`: the boot partition, where files that config.txt includes lie. Raises
    MediaError where only one of the block's two marks is there, or another overlay is a sound board's or
    takes a pin of I2S, in whatever section it stands.
    """
    before, after = _around(text)
    if any(_is_sound(line) for line in lines):
        _refuse_clash("config.txt", before + after)
        for name, included in _includes(before + after, folder, {"config.txt"}):
            _refuse_clash(name, included)
    if lines:
        if before and not before.endswith("\n"):
            before += "\n"
        before += "\n".join((BEGIN, "[all]", *lines, END)) + "\n"
    return before + after


def _around(text: str) -> tuple[str, str]:
    """Return what stands before and after the block."""
    lines = text.splitlines(keepends=True)
    marks = [line.strip() for line in lines if line.strip() in (BEGIN, END)]
    if not marks:
        return text, ""
    if marks != [BEGIN, END]:
        raise MediaError(f'config.txt: "{BEGIN}" and "{END}" are not one pair: delete these lines by hand')
    begin, end = (next(n for n, line in enumerate(lines) if line.strip() == mark) for mark in (BEGIN, END))
    return "".join(lines[:begin]), "".join(lines[end + 1 :])


def _includes(text: str, folder: Path, seen: set[str]) -> Iterator[tuple[str, str]]:
    """Yield name and text of each file that is included, and of those that it includes."""
    for line in text.splitlines():
        found = _INCLUDE.match(line.strip())
        if found and found[1] not in seen and (folder / found[1]).is_file():
            included = (folder / found[1]).read_text(errors="replace")
            yield found[1], included
            yield from _includes(included, folder, seen | {found[1]})


def _refuse_clash(name: str, text: str) -> None:
    for line in text.splitlines():
        if _is_sound(line):
            raise MediaError(
                f'{name}: "{line.strip()}" is a sound board\'s, and two on the I2S pins exclude each other: '
                "delete that line, or choose that board for this device"
            )
        if taken := sorted(_pins(line) & _I2S):
            raise MediaError(
                f'{name}: "{line.strip()}" takes GPIO {taken[0]}, which the sound board\'s I2S needs: '
                "give it another pin where it can have one, or delete that line"
            )


def _pins(line: str) -> set[int]:
    found = _OVERLAY.match(line.strip())
    if not found:
        return set()
    said = {name: int(number) for name, number in _PIN.findall(line)}
    return {*(_PINS.get(found[1], {}) | said).values()}


def _is_sound(line: str) -> bool:
    found = _OVERLAY.match(line.strip())
    return bool(found and _SOUND.search(found[1]))
