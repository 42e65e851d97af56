"""A wall clock that the tests set, for programs that are started with `env` added to their environment."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("clock.c")


def missing() -> str | None:
    """Return why it cannot be had here, with the mend; None when it can."""
    return None if shutil.which("cc") else "no C compiler: apt-get install gcc libc6-dev"


class FakeClock:
    """The machine's time of day plus an offset. Monotonic clocks are left alone, as by settimeofday(2)."""

    def __init__(self, folder: Path) -> None:
        library, self._offset = folder / "clock.so", folder / "clock"
        subprocess.run(
            ["cc", "-O1", "-Wall", "-shared", "-fPIC", "-o", library, _SOURCE, "-ldl"],
            check=True,
        )
        self.set(0)
        self.env = {"LD_PRELOAD": str(library), "FAKE_CLOCK": str(self._offset)}

    def set(self, seconds: int) -> None:
        """Be that far ahead of the machine's clock, or behind it."""
        if not self._offset.exists():
            self._offset.write_bytes(bytes(8))
        with self._offset.open("r+b", buffering=0) as file:  # the same file: it is mapped
            file.write(struct.pack("=q", seconds))
