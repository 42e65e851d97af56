"""config.txt, read by a Raspberry Pi's firmware: our marked block, and sound overlays that clash with it.

The installer on the device keeps the same block by the same rules: neither changes what the other wrote.
"""

from __future__ import annotations

import re

from provision.errors import MediaError

BEGIN = "# >>> pressel"
END = "# <<< pressel"
_OVERLAY = re.compile(r"dtoverlay=([\w.-]+)")
# Overlays that put a sound card on the I2S pins, by the words in the kernel's names for them.
_SOUND = re.compile(
    r"soundcard|voicecard|voicehat|respeaker|hifiberry|iqaudio|codec|audio|dac|amp|wm8960|max98357a|adau|"
    r"justboom|allo-|pisound|i-sabre|dionaudio|i2s"
)


def with_block(text: str, lines: tuple[str, ...]) -> str:
    """Return config.txt with these lines in our block, in its place or at the end; without lines, no block.

    All other bytes stay. Raises MediaError where only one of the block's two marks is there, or another sound
    board's overlay would clash.
    """
    before, after = _around(text)
    if lines:
        _refuse_clash(before + after, lines)
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


def _refuse_clash(others: str, lines: tuple[str, ...]) -> None:
    if not any(_is_sound(line) for line in lines):
        return
    for line in others.splitlines():
        if _is_sound(line):
            raise MediaError(
                f'config.txt: "{line.strip()}" is a sound board\'s, and two on the I2S pins exclude each '
                "other: delete that line, or choose its board in the inventory"
            )


def _is_sound(line: str) -> bool:
    found = _OVERLAY.match(line.strip())
    return bool(found and _SOUND.search(found[1]))
