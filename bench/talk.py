"""Latency, loss, truncation, CPU and memory of `pressel run` on the virtual sound card.

Method: the daemon is its own process, with PyAudio on a private PulseAudio card (48 kHz, 2 channels). The
server answers at once, over loopback; the button is pressed over the control socket. All clocks are this
machine's monotonic clock. The speaker is recorded at its monitor, so the figures include PulseAudio's own
buffers. What is said is band-limited noise; what arrived is compared with it in windows of 100 ms: a lost or
doubled sample shifts every window behind it.

    python bench/talk.py [--turns N] [--idle SECONDS] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import wave
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from device.errors import StateError
from device.system.control_client import Watch, request
from rig.card import Card
from rig.realtime import RATE, RealtimeServer, realtime_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

CARD_RATE = 48_000
TICKS = os.sysconf("SC_CLK_TCK")


class Daemon:
    """`pressel run` as a process."""

    def __init__(self, folder: Path, server: RealtimeServer, env: dict[str, str]) -> None:
        config = folder / "config.toml"
        config.write_text(
            f'board = "simulated"\n[backend]\nkind = "token"\nurl = "{server.url}"\n'
            f'realtime_url = "{server.realtime_url}"\nmodel = "bench"\n[state]\ndir = "{folder}/state"\n'
        )
        self.socket = folder / "state" / "control.sock"
        began = time.monotonic()
        self.log = (folder / "daemon.log").open("wb")
        command = [sys.executable, "-m", "device.cli", "run", "--config", str(config)]
        self.process = subprocess.Popen(command, env={**os.environ, **env}, stderr=self.log)
        until(self._answers, 20)
        self.start_s = time.monotonic() - began

    def _answers(self) -> bool:
        try:
            return bool(request(self.socket, {"cmd": "status"})["ok"])
        except StateError:
            return False

    def do(self, command: str) -> float:
        """Give a command; returns when it was given."""
        at = time.monotonic()
        request(self.socket, {"cmd": command})
        return at

    def status(self) -> dict[str, Any]:
        return request(self.socket, {"cmd": "status"})

    def reach(self, *states: str) -> None:
        """Wait for a state; told by the daemon, so that asking costs it nothing."""
        with Watch(self.socket, timeout_s=20) as events:
            if self.status()["state"] not in states:
                next(event for event in events if event["event"] == "state" and event["state"] in states)

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss_mib(self) -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)
        self.log.close()


def until(fact: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            raise SystemExit("bench: the daemon did not get there in time; its log is in the folder above")
        threading.Event().wait(0.01)


def wait(seconds: float) -> None:
    threading.Event().wait(seconds)


def noise(seconds: float, rate: int, seed: int) -> NDArray[np.int16]:
    """Noise up to 4 kHz: it survives every conversion here and matches itself at one lag only."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(int(seconds * rate)))
    spectrum[np.fft.rfftfreq(int(seconds * rate), 1 / rate) > 4000] = 0
    signal_ = np.fft.irfft(spectrum)
    scaled: NDArray[np.int16] = (signal_ / np.abs(signal_).max() * 12000).astype(np.int16)
    return scaled


def lags(said: NDArray[np.int16], got: NDArray[np.int16]) -> list[int]:
    """Return for each window of `got` how far from its own place it was found in `said`."""
    size = RATE // 10
    reference = np.fft.rfft(said.astype(np.float64), 1 << (len(said) + size).bit_length())
    found = []
    for start in range(0, len(got) - size, size):
        window = got[start : start + size].astype(np.float64)
        if np.abs(window).max() < 500:
            continue
        match = np.fft.irfft(reference * np.conj(np.fft.rfft(window, 2 * (len(reference) - 1))))
        found.append(int(match[: len(said)].argmax()) - start)
    return found


def recording(path: Path, started_at: float) -> Callable[[float, float], tuple[float, float] | None]:
    """Return a function that finds the sound between two times: when it began and ended."""
    with wave.open(str(path)) as file:
        sound = np.abs(np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.int32))

    def find(start: float, end: float) -> tuple[float, float] | None:
        low, high = (max(0, int((at - started_at) * CARD_RATE)) for at in (start, end))
        loud = np.flatnonzero(sound[low:high] > 300)
        return (start + loud[0] / CARD_RATE, start + (loud[-1] + 1) / CARD_RATE) if len(loud) else None

    return find


def measure(turns: int, idle_s: float) -> dict[str, Any]:
    reply = noise(4.0, RATE, 2)
    said = noise(12.0, RATE, 1)
    results: dict[str, Any] = {}
    times: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="bench") as name, realtime_server(reply) as server:
        folder = Path(name)
        with Card(folder / "card") as card:
            daemon = Daemon(folder, server, card.env)
            try:
                results["start_to_ready_s"] = round(daemon.start_s, 3)
                results["lost_samples"] = {
                    mint: lost(daemon, server, card, said, mint) for mint in (0.0, 0.5, 2.5)
                }
                server.mint_s = 0.0
                recorder = card.record(folder / "speaker.wav")
                cpu, began = daemon.cpu_s(), time.monotonic()
                for _ in range(turns):
                    times.append(turn(daemon, server, card, said))
                    times[-1] |= interrupted(daemon, server)
                spent = time.monotonic() - began
                results["cpu_s_a_minute_talking"] = round((daemon.cpu_s() - cpu) / spent * 60, 2)
                results["rss_mib"] = round(daemon.rss_mib(), 1)
                recorder.stop()
                daemon.do("forget")
                daemon.reach("idle")
                wait(2)
                cpu = daemon.cpu_s()
                wait(idle_s)
                results["cpu_s_a_minute_idle"] = round((daemon.cpu_s() - cpu) / idle_s * 60, 2)
                results["counters"] = daemon.status()["counters"]
            finally:
                daemon.stop()
            results |= heard(times, recording(recorder.path, recorder.started_at))
    return results


def lost(
    daemon: Daemon, server: RealtimeServer, card: Card, said: NDArray[np.int16], mint_s: float
) -> dict[str, Any]:
    """Press, speak at once, release; count what did not arrive between the press and the release."""
    daemon.do("forget")
    daemon.reach("idle")
    server.forget()
    server.mint_s = mint_s
    voice = card.feed(said, RATE)
    wait(1.5)
    pressed = daemon.do("press")
    wait(3.5)
    released = daemon.do("release")
    until(lambda: bool(server.commits), 20)
    voice.stop()
    found = lags(said, server.heard())
    daemon.reach("ready")
    wanted_s = released - pressed + 0.5
    return {
        "shifts": sum(abs(a - b) > 1 for a, b in pairwise(found)),
        "lost_or_doubled_samples": max(found) - min(found) if found else None,
        "sent_s_less_wanted_s": round(len(server.heard()) / RATE - wanted_s, 3),
    }


def turn(daemon: Daemon, server: RealtimeServer, card: Card, said: NDArray[np.int16]) -> dict[str, float]:
    """One turn with the session open, heard to its end."""
    if daemon.status()["state"] != "ready":
        daemon.do("press")
        wait(0.5)
        daemon.do("release")
        daemon.reach("speaking")
        daemon.reach("ready")
    server.forget()
    voice = card.feed(said, RATE)
    wait(0.5)
    pressed = daemon.do("press")
    wait(1.0)
    released = daemon.do("release")
    until(lambda: bool(server.first_delta), 10)
    voice.stop()
    facts = {
        "press_to_frame_ms": (server.first_append[0] - pressed) * 1000,
        "release_to_last_frame_ms": (server.last_append - released) * 1000,
        "release_to_commit_ms": (server.commits[0] - released) * 1000,
        "delta": server.first_delta[0],
    }
    daemon.reach("speaking")
    daemon.reach("ready")
    facts["quiet"] = time.monotonic()
    return facts


def interrupted(daemon: Daemon, server: RealtimeServer) -> dict[str, float]:
    """One turn whose reply is cut by a press after about 1.5 s."""
    server.forget()
    daemon.do("press")
    wait(0.5)
    daemon.do("release")
    until(lambda: bool(server.first_delta), 10)
    wait(1.5 + np.random.default_rng().random() / 10)
    pressed = daemon.do("press")
    until(lambda: bool(server.truncated_ms), 5)
    daemon.do("release")
    daemon.reach("ready")
    wait(0.3)
    return {
        "cut_delta": server.first_delta[0],
        "cut_press": pressed,
        "truncated_ms": server.truncated_ms[0],
        "cut_quiet": time.monotonic(),
    }


def heard(
    times: list[dict[str, float]], find: Callable[[float, float], tuple[float, float] | None]
) -> dict[str, Any]:
    rows: dict[str, list[float]] = {
        name: [one[name] for one in times] for name in times[0] if name.endswith("_ms")
    }
    for name in ("reply_to_sound_ms", "inserted_ms", "press_to_silence_ms", "truncate_error_ms"):
        rows[name] = []
    for one in times:
        whole, cut = find(one["delta"], one["quiet"]), find(one["cut_delta"], one["cut_quiet"])
        if whole is None or cut is None:
            raise SystemExit("bench: a reply is missing from the recording")
        rows["reply_to_sound_ms"] += [(whole[0] - one["delta"]) * 1000, (cut[0] - one["cut_delta"]) * 1000]
        rows["inserted_ms"].append((whole[1] - whole[0] - 4.0) * 1000)
        rows["press_to_silence_ms"].append((cut[1] - one["cut_press"]) * 1000)
        rows["truncate_error_ms"].append(one["truncated_ms"] - (cut[1] - cut[0]) * 1000)
    rows.pop("truncated_ms")
    return {name: spread(values) for name, values in rows.items()}


def spread(values: list[float]) -> dict[str, float]:
    """Return median, smallest, largest and number."""
    figures = {"p50": statistics.median(values), "min": min(values), "max": max(values)}
    return {**{name: round(float(figure), 1) for name, figure in figures.items()}, "n": len(values)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--idle", type=float, default=20.0, help="seconds of idling to measure")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = measure(options.turns, options.idle)
    if options.json:
        print(json.dumps(results, indent=2))
        return 0
    load, python = os.getloadavg()[0], sys.version.split()[0]
    print(f"{os.cpu_count()} cores, load {load:.1f}, Python {python}, {options.turns} turns")
    for name, value in results.items():
        print(f"{name:28} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
