"""Turn after turn with chaos on: is every one answered, do memory, threads and delay stay flat?

Method: `pressel run --chaos SPEC` is its own process, with WAV files for a sound card, against a server on
loopback that answers at once. Each turn is a press, 0.4 s of noise and a release, the next one follows as
soon as the last one has had its outcome, at most 45 s after the release: "answered" (the reply reached the
speaker), "told" (the sound of a lost or refused turn with a line that gives the reason, or the line that no
reply came), or "unanswered". A device that is not at rest 45 s after its answer is "stuck". After every turn
the process's resident memory, threads and descriptors are read, and the delay from the release to the sound;
of the delay only turns count during which no fault struck.

The first minute, in which the ring of the last 30 s fills, or half of a shorter run, is left out. Slopes are
of ordinary least squares, for an hour, with twice their standard errors, which takes the readings for
independent. A slope is "flat" when it is below the limit (1 MiB, 1 thread, 1 descriptor, 50 ms an hour) with
all of that error, "GROWS" when it is above with all of it, else the run was too short to tell.

Exit status: 0 all is flat, 1 something grows or a turn was unanswered or stuck, 2 too short to tell.

    python bench/soak.py [--minutes N] [--chaos SPEC] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
import wave
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.talk import noise
from device.dsp.resample import Resampler
from device.errors import StateError
from rig.processes import Device, wav_audio
from rig.realtime import RATE, realtime_server

if TYPE_CHECKING:
    from collections.abc import Callable

OUTCOMES = ("answered", "told", "unanswered", "stuck")
CARD_HZ = 48_000
PHRASE_S = 0.4
OUTCOME_S = 45.0
WARM_UP_S = 60.0
RING = "[talk]\nlongest_turn_ms = 15000\nbuffer_s = 30\n"
CHAOS = (
    "seed=1 mint.fail=0.15 mint.stall=0.05:1 link.refuse=0.1 link.cut@9/13 link.cut=0.0005 link.stall@31/47:2"
    " link.stall@83/127:10 mic.gone@23/61:3 speaker.gone@41/73:3 store.full=0.1"
)
MOST_AN_HOUR = {"rss_mib": 1.0, "threads": 1.0, "descriptors": 1.0, "delay_ms": 50.0}
_LOST = ("lost", "refused")  # the sounds that a turn ends with when it gets no answer
_NO_REPLY = "no reply within"


@dataclass
class Log:
    """What came of the turns, and the figures by time: (seconds since the start, figure)."""

    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    figures: dict[str, list[tuple[float, float]]] = field(
        default_factory=lambda: {name: [] for name in MOST_AN_HOUR}
    )


class Soak:
    """One device in its chaos."""

    def __init__(self, folder: Path, device: Device) -> None:
        self._microphone = folder / "mic.wav"
        self._device = device
        self._events: list[dict[str, Any]] = []
        self._began = time.monotonic()
        self.log = Log()
        watch = device.watch()

        def note() -> None:
            with suppress(StateError), watch as events:
                self._events.extend(events)

        threading.Thread(target=note, daemon=True).start()

    def turn(self, phrase: bytes) -> None:
        """Say something and wait for what comes of it."""
        struck = self._injected()
        self._events.clear()
        before = self._captured()
        self._device.ask("press")
        with self._microphone.open("ab") as file:
            file.write(phrase)
        self._until(lambda: self._captured() > before + PHRASE_S * 50 + 3, 10)
        released = time.monotonic()
        self._device.ask("release")
        result = self._until(lambda: outcome(list(self._events)), OUTCOME_S) or "unanswered"
        if result == "answered":
            sounded = next(one["t"] for one in self._events if one.get("state") == "speaking")
            if not self._until(lambda: self._state() in ("ready", "idle"), OUTCOME_S):
                result = "stuck"
            elif self._injected() == struck:
                self._note("delay_ms", (sounded - released) * 1000)
        self.log.outcomes[result] += 1
        self._look()

    def _look(self) -> None:
        folder = Path(f"/proc/{self._device.pid}")
        facts = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        self._note("rss_mib", int(facts["VmRSS"].split()[0]) / 1024)
        self._note("threads", int(facts["Threads"]))
        self._note("descriptors", len(list((folder / "fd").iterdir())))

    def _note(self, name: str, figure: float) -> None:
        self.log.figures[name].append((time.monotonic() - self._began, figure))

    def _status(self) -> dict[str, Any]:
        return self._device.ask("status")

    def _state(self) -> str:
        return str(self._status()["state"])

    def _captured(self) -> int:
        return int(self._status()["counters"]["frames_captured"])

    def _injected(self) -> dict[str, int]:
        return dict(self._status()["chaos"]["injected"])

    @staticmethod
    def _until(fact: Callable[[], Any], seconds: float) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := fact():
                return found
            threading.Event().wait(0.02)
        return None


def outcome(events: list[dict[str, Any]]) -> str | None:
    """Tell what came of a turn from what the device told since its press; None: nothing yet."""
    lost = False
    for one in events:
        if one.get("state") == "speaking":
            return "answered"
        lost = lost or (one["event"] == "chime" and one["sound"] in _LOST)
        if one["event"] != "notice":
            continue
        if one["text"].startswith(_NO_REPLY) or (lost and one["level"] == "error"):
            return "told"
    return None


def soak(minutes: float, chaos: str = CHAOS) -> Log:
    """Hold turns for so long."""
    sound = Resampler(RATE, CARD_HZ).process(noise(PHRASE_S, RATE, 1)).tobytes()
    with tempfile.TemporaryDirectory(prefix="soak") as path, realtime_server(noise(0.3, RATE, 2)) as server:
        folder = Path(path)
        with wave.open(str(folder / "mic.wav"), "wb") as file:
            file.setparams((1, 2, CARD_HZ, 0, "NONE", "not compressed"))
        backend = f'kind = "token"\nurl = "{server.url}"\nrealtime_url = "{server.realtime_url}"\nmodel = "m"'
        audio = wav_audio(folder / "mic.wav", folder / "speaker.wav") + RING
        with Device(folder, None, audio, backend=backend, chaos=chaos) as device:
            one = Soak(folder, device)
            end = time.monotonic() + minutes * 60
            while time.monotonic() < end:
                one.turn(sound)
                server.forget()
                server.sessions.clear()
        return one.log


def slope(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the slope of a line by least squares and its standard error, for an hour; nan for too few."""
    if len(points) < 3:
        return float("nan"), float("nan")
    x, y = np.array(points).T
    centred = x - x.mean()
    spread = float((centred**2).sum())
    rise = float((centred * y).sum()) / spread
    rest = y - y.mean() - rise * centred
    return rise * 3600, float(np.sqrt((rest**2).sum() / (len(x) - 2) / spread)) * 3600


def verdict(rise: float, error: float, limit: float) -> str:
    """Say whether a slope with its standard error is below a limit; "too short" when that is not sure."""
    if rise + 2 * error <= limit:
        return "flat"
    return "GROWS" if rise - 2 * error > limit else "too short"


def judge(log: Log) -> dict[str, Any]:
    """Return what is printed; "verdict" of each figure as the head of this file says."""
    rows: dict[str, Any] = {}
    for name, points in log.figures.items():
        kept = [point for point in points if point[0] >= min(WARM_UP_S, points[-1][0] / 2)]
        rise, error = slope(kept)
        rows[name] = {
            "n": len(kept),
            "first": round(kept[0][1], 1) if kept else None,
            "median": round(float(np.median([figure for _, figure in kept])), 1) if kept else None,
            "last": round(kept[-1][1], 1) if kept else None,
            "slope_per_h": round(rise, 2),
            "twice_standard_error": round(2 * error, 2),
            "limit_per_h": MOST_AN_HOUR[name],
            "verdict": verdict(rise, error, MOST_AN_HOUR[name]),
        }
    return {"turns": log.outcomes, **rows}


def status(results: dict[str, Any]) -> int:
    """Return the exit status of what `judge` found."""
    turns = results["turns"]
    verdicts = {results[name]["verdict"] for name in MOST_AN_HOUR}
    if turns["unanswered"] or turns["stuck"] or not turns["answered"] or "GROWS" in verdicts:
        return 1
    return 2 if "too short" in verdicts else 0


def main() -> int:
    """Print the outcomes and the slopes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--chaos", default=CHAOS, help="the faults (default: %(default)s)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = judge(soak(options.minutes, options.chaos))
    if options.json:
        print(json.dumps(results, indent=2))
        return status(results)
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.1f}, {options.minutes:g} min; turns: {results['turns']}")
    print("| what | n | first | median | last | grows an hour by | limit an hour | verdict |")
    print("|---|---|---|---|---|---|---|---|")
    for name in MOST_AN_HOUR:
        row = results[name]
        cells = [row[key] for key in ("n", "first", "median", "last")]
        cells += [f"{row['slope_per_h']} ± {row['twice_standard_error']}", row["limit_per_h"], row["verdict"]]
        print(f"| {name} | {' | '.join(map(str, cells))} |")
    return status(results)


if __name__ == "__main__":
    sys.exit(main())
