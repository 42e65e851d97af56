"""A reply of an hour from a server that sends in real time by a clock of its own: does the delay grow?

Method: the daemon's queue of replies (`device/audio/replies.py`), 24 kHz in steps of 80 ms from a server that
is 200 ms ahead, through a network that is up to 30 ms late; a card of 48 kHz in blocks of 6.7 ms. No time
passes: the card's blocks are the clock. "off" is the same without the stretching.

    delay     from the arrival of a sample to its being heard, mean of 4 s; after a minute, and what it has
              grown by at the end
    gaps      underruns
    ratio     least and most in the last ten minutes, in ppm; 10 ppm are a sixtieth of a cent
    CPU       for a second of sound

    python bench/drift.py [--seconds N] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from device.audio.live import Live
from device.audio.replies import Replies

WIRE, CARD = 24_000, 48_000
STEP = WIRE * 80 // 1000
AHEAD_S, LATE_S = 0.2, 0.03


class Off(Live):
    """Plays what comes as it is."""

    def observe(self, level_s: float, step_s: float) -> None:
        """Look away."""


class Hour:
    """A queue between two clocks."""

    def __init__(self, ppm: float, live: Live) -> None:
        self.replies = Replies(CARD, CARD // 150)
        self.replies._live = live  # noqa: SLF001 # to compare
        self._live = live
        self._block = CARD // 150
        self._position = self._pushed = 0
        self._step_s = STEP / WIRE / (1 + ppm * 1e-6)
        self._dice = np.random.default_rng(5)
        self._sound = np.rint(9_000 * np.sin(np.arange(STEP) * 2 * np.pi * 1_000 / WIRE)).astype(np.int16)

    def run(self, seconds: float) -> tuple[float, float]:
        """Return the least and the most ratio on the way."""
        end = self._position + int(seconds * CARD)
        least, most = 2.0, 0.0
        while self._position < end:
            self._arrive()
            self.replies.next_block(self._position)
            self._position += self._block
            least, most = min(least, self._live.ratio), max(most, self._live.ratio)
        return least, most

    def delay_ms(self) -> float:
        """Run for 4 s and return the mean."""
        delays = []
        for _ in range(600):
            self.run(1 / 150)
            heard = self.replies.heard(self._position)
            delays.append((self._pushed - (heard.samples if heard else 0)) / WIRE)
        return float(np.mean(delays)) * 1000

    def _arrive(self) -> None:
        while self._position / CARD >= self._due_s():
            self.replies.push("r", "i", self._sound, WIRE)
            self._pushed += STEP

    def _due_s(self) -> float:
        late_s = float(self._dice.uniform(0, LATE_S))
        return self._pushed / STEP * self._step_s - AHEAD_S + late_s


def measure(ppm: float, live: Live, seconds: float) -> dict[str, Any]:
    """Return one row."""
    hour, began = Hour(ppm, live), time.process_time()
    hour.run(60)
    before = hour.delay_ms()
    hour.run(max(0.0, seconds - 660))
    least, most = hour.run(min(600.0, seconds))
    cpu_ms = (time.process_time() - began) / seconds * 1000
    return {
        "ppm": ppm,
        "stretching": "off" if isinstance(live, Off) else "on",
        "delay_ms": round(before, 1),
        "grown_ms": round(hour.delay_ms() - before, 1),
        "gaps": hour.replies.underruns,
        "ratio_ppm": [round((1 / most - 1) * 1e6), round((1 / least - 1) * 1e6)],
        "cpu_ms": round(cpu_ms, 2),
    }


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3_600)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [measure(ppm, live(), options.seconds) for ppm in (200, -200) for live in (Live, Off)]
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    heads = ("ppm", 5), ("stretching", 10), ("delay ms", 9), ("grown ms", 9), ("gaps", 5), ("ratio ppm", 14)
    print(*(f"{head:>{width}}" for head, width in heads), " CPU ms/s")
    for row in rows:
        ratio = "{} … {}".format(*row["ratio_ppm"])
        print(
            f"{row['ppm']:>5} {row['stretching']:>10} {row['delay_ms']:>9} {row['grown_ms']:>9} "
            f"{row['gaps']:>5} {ratio:>14} {row['cpu_ms']:>9}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
