"""Builds the fake GPIO chip, says how to load it, presses its buttons and reads its outputs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import Self

_SOURCE = Path(__file__).with_name("chip.c")


def missing() -> str | None:
    """Return why the chip cannot be used here, with the mend; None when it can."""
    if shutil.which("cc") is None:
        return "no C compiler: apt-get install gcc libc6-dev"
    if importlib.util.find_spec("_lgpio") is None or importlib.util.find_spec("RPi") is None:
        return "rpi-lgpio is not installed (lgpio has no wheel for this Python)"
    return None


class FakeChip:
    """28 lines for one process at a time, which is started with `env` added to its environment.

    Lines float until they are driven, so a pull-up reads 1; `held` ones are low from the start. `busy` lines
    belong to somebody else.
    """

    def __init__(self, folder: Path, *, held: tuple[int, ...] = (), busy: tuple[int, ...] = ()) -> None:
        library, control, self._log = folder / "chip.so", folder / "control", folder / "outputs"
        subprocess.run(
            ["cc", "-O1", "-Wall", "-shared", "-fPIC", "-o", library, _SOURCE, "-ldl", "-lpthread"],
            check=True,
        )
        os.mkfifo(control, 0o600)
        self._orders = os.open(control, os.O_RDWR)
        self.env = {
            "LD_PRELOAD": str(library),
            "FAKE_GPIO_CONTROL": str(control),
            "FAKE_GPIO_LOG": str(self._log),
            "FAKE_GPIO_HELD": ",".join(map(str, held)),
            "FAKE_GPIO_BUSY": ",".join(map(str, busy)),
            "RPI_LGPIO_REVISION": "c03115",  # a Pi 4
            "RPI_LGPIO_CHIP": "0",
            "LG_WD": str(folder),  # where lgpio puts its pipe
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def drive(self, line: int, level: int) -> None:
        """Hold the line at a level from outside, with an edge."""
        self._order(f"drive {line} {level}")

    def slip(self, line: int, level: int) -> None:
        """Hold the line at a level, but lose the edge on the way to the program."""
        self._order(f"slip {line} {level}")

    def press(self, line: int) -> None:
        """Push a button that pulls the line low."""
        self.drive(line, 0)

    def release(self, line: int) -> None:
        """Let that button go."""
        self.drive(line, 1)

    def storm(self, line: int, level: int, *, bounces: int, every_us: int) -> None:
        """Change to `level` the way a contact does: at once, then `bounces` times away and back."""
        orders = [f"drive {line} {level}"]
        for _ in range(bounces):
            for bounced in (1 - level, level):
                orders += [f"pause {every_us}", f"drive {line} {bounced}"]
        self._order("\n".join(orders))

    def outputs(self, line: int) -> list[tuple[float, int]]:
        """Return every level the program has put on the line, as (monotonic seconds, level)."""
        if not self._log.exists():
            return []
        rows = (row.split() for row in self._log.read_text().splitlines())
        return [(float(t), int(level)) for t, number, level in rows if int(number) == line]

    def close(self) -> None:
        """Let go of the pipe; the folder is the caller's."""
        if self._orders >= 0:
            os.close(self._orders)
            self._orders = -1

    def _order(self, text: str) -> None:
        os.write(self._orders, f"{text}\n".encode())
