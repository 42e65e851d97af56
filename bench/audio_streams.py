"""Blocking streams against callbacks, and a loudspeaker that rests against one that is always fed.

Method: each row is a process of its own with the daemon's Capture and Playback (48 kHz, microphone 2 x S32,
loudspeaker 2 x S16, wire 24 kHz) on a virtual card of its own; only the driver differs. A reply of 2 s is
queued in pieces of 100 ms, at once; every second one is flushed after about 0.6 s. What the speaker played is
recorded at PulseAudio's monitor, so its buffers are in the figures; all clocks are this machine's monotonic
clock.

    start     from `play` to the first sample at the speaker
    silence   from `flush` to the last sample
    error     what `flush` said was heard, less what the recording holds
    inserted  length of an unflushed reply in the recording, less 2 s
    work      from the return of a 20 ms read to the end of its processing
    CPU       of the whole process, in seconds a minute: idle, listening, and while a reply plays

    python bench/audio_streams.py [--turns N] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyaudio

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from device.audio.capture import Capture
from device.audio.playback import Playback
from device.audio.portaudio import PortAudioInput, PortAudioOutput
from device.audio.ring import Ring
from rig.card import MIC, SPEAKER, Card

if TYPE_CHECKING:
    from device.ports import AudioInput, AudioOutput, Frames, Samples

RATE, WIRE = 48_000, 24_000
REPLY_S = 2.0
WAYS = {
    "blocking, rests": "blocking-rest",
    "blocking, always fed": "blocking",
    "callback, rests": "callback-rest",
    "callback, always fed": "callback",
}


class CallbackInput:
    """The other way: PortAudio's own thread calls, a queue hands over."""

    def __init__(self) -> None:
        self.rate, self.channels, self.overruns, self.latency_s = RATE, 2, 0, 0.0
        self._blocks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._library = pyaudio.PyAudio()
        self._stream = self._library.open(
            RATE,
            2,
            pyaudio.paInt32,
            input=True,
            input_device_index=device(self._library, MIC),
            frames_per_buffer=RATE // 50,
            stream_callback=self._take,
        )

    def _take(self, data: bytes | None, *_: object) -> tuple[None, int]:
        self._blocks.put(data or b"")
        return None, pyaudio.paContinue

    def read(self, frames: int) -> Frames:
        data = b"".join(self._blocks.get() for _ in range(frames * 50 // RATE))
        return np.frombuffer(data, np.int32).reshape(-1, 2)

    def close(self) -> None:
        self._stream.close()


class CallbackOutput:
    """One block ahead in Python, the rest in the card."""

    def __init__(self, *, rests: bool) -> None:
        self.rate, self.block, self.underruns = RATE, RATE // 200, 0
        self._rests, self._running = rests, True
        self._blocks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._room = threading.Semaphore(1)
        self._silence = bytes(4 * self.block)
        self._library = pyaudio.PyAudio()
        self._stream = self._library.open(
            RATE,
            2,
            pyaudio.paInt16,
            output=True,
            output_device_index=device(self._library, SPEAKER),
            frames_per_buffer=self.block,
            stream_callback=self._give,
        )

    def _give(self, *_: object) -> tuple[bytes, int]:
        try:
            data = self._blocks.get_nowait()
        except queue.Empty:
            return self._silence, pyaudio.paContinue
        self._room.release()
        return data, pyaudio.paContinue

    def write(self, samples: Samples) -> None:
        if not self._running:
            self._stream.start_stream()
            self._running = True
        for start in range(0, len(samples), self.block):
            self._room.acquire(timeout=1.0)
            self._blocks.put(np.repeat(samples[start : start + self.block], 2).tobytes())

    def rest(self) -> bool:
        if self._rests and self._running:
            self._stream.stop_stream()
            self._running = False
        return self._rests

    @property
    def pending(self) -> int:
        return 4 * self.block if self._running else 0

    def close(self) -> None:
        self._stream.close()


def device(library: pyaudio.PyAudio, name: str) -> int:
    listed = (library.get_device_info_by_index(i) for i in range(library.get_device_count()))
    return next(int(info["index"]) for info in listed if info["name"] == name)


def wait(seconds: float) -> None:
    threading.Event().wait(seconds)


def streams(way: str) -> tuple[AudioInput, AudioOutput]:
    rests = way.endswith("rest")
    if way.startswith("callback"):
        return CallbackInput(), CallbackOutput(rests=rests)
    return PortAudioInput(MIC, RATE, 2, "s32"), PortAudioOutput(SPEAKER, RATE, 2, "s16", rests=rests)


def child(way: str, turns: int) -> dict[str, Any]:
    """Runs inside the row's own process and prints its times."""
    source, sink = streams(way)
    ring = Ring(5.0, RATE)
    ages: list[float] = []
    capture = Capture(
        source,
        ring,
        gain_db=12.0,
        on_block=lambda: ages.append((ring.position_at(time.monotonic()) - ring.written) / RATE * 1000),
    )
    drained = threading.Event()
    playback = Playback(sink, on_drained=lambda _reply: drained.set())
    capture.start()
    playback.start()
    facts: dict[str, Any] = {"idle_cpu": cpu_share(capture, playback, idle=True)}
    facts["listening_cpu"] = cpu_share(capture, playback, idle=False)
    ages.clear()
    facts["replies"] = [one_reply(playback, drained, turn) for turn in range(turns)]
    cpu, began = time.process_time(), time.monotonic()
    drained.clear()
    tell(playback, "long", 8.0)
    drained.wait(20)
    facts["playing_cpu"] = (time.process_time() - cpu) / (time.monotonic() - began) * 60
    facts["work_ms"] = statistics.median(ages)
    facts["underruns"] = playback.underruns
    return facts


def cpu_share(capture: Capture, playback: Playback, *, idle: bool) -> float:
    capture.idle(idle)
    playback.idle(idle)
    wait(0.5)
    cpu, began = time.process_time(), time.monotonic()
    wait(8.0)
    return (time.process_time() - cpu) / (time.monotonic() - began) * 60


def one_reply(playback: Playback, drained: threading.Event, turn: int) -> dict[str, float]:
    wait(0.4 + np.random.default_rng(turn).random() / 20)  # any phase of the card's period
    drained.clear()
    facts = {"played_at": time.monotonic()}
    tell(playback, str(turn), REPLY_S)
    if turn % 2:
        wait(0.6 + np.random.default_rng(turn).random() / 20)
        facts["flushed_at"] = time.monotonic()
        heard = playback.flush()
        facts["heard_ms"] = heard.samples / heard.rate * 1000 if heard else 0.0
        wait(0.3)
    else:
        drained.wait(10)
    return facts


def tell(playback: Playback, reply: str, seconds: float) -> None:
    piece = np.full(WIRE // 10, 8000, np.int16).tobytes()
    for _ in range(round(seconds * 10)):
        playback.play(reply, "item", piece, WIRE)
    playback.finish(reply)


def row(way: str, turns: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench") as name, Card(Path(name)) as card:
        recorder = card.record(Path(name) / "speaker.wav")
        command = [sys.executable, __file__, "--child", way, "--turns", str(turns)]
        done = subprocess.run(command, env=card.env, check=True, capture_output=True, text=True)
        recorder.stop()
        facts = json.loads(done.stdout)
        with wave.open(str(recorder.path)) as file:
            loud = np.abs(np.frombuffer(file.readframes(file.getnframes()), np.int16)) > 200
        return figures(facts, np.flatnonzero(loud) / RATE + recorder.started_at)


def figures(facts: dict[str, Any], sound: Any) -> dict[str, Any]:
    found: dict[str, list[float]] = {"start": [], "silence": [], "error": [], "inserted": []}
    for reply in facts["replies"]:
        at = reply["played_at"]
        here = sound[(sound > at) & (sound < at + REPLY_S + 0.2)]
        if "flushed_at" in reply:
            here = here[here < reply["flushed_at"] + 0.25]
            found["silence"].append((here[-1] - reply["flushed_at"]) * 1000)
            found["error"].append(reply["heard_ms"] - (here[-1] - here[0]) * 1000)
        else:
            found["inserted"].append((here[-1] - here[0] - REPLY_S) * 1000)
        found["start"].append((here[0] - at) * 1000)
    shown = {name: f"{statistics.median(v):.1f} ({min(v):.1f} to {max(v):.1f})" for name, v in found.items()}
    cpu = " / ".join(f"{facts[f'{name}_cpu']:.2f}" for name in ("idle", "listening", "playing"))
    return {**shown, "work": f"{facts['work_ms']:.2f}", "CPU": cpu, "underruns": facts["underruns"]}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", choices=WAYS.values(), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child, options.turns)), flush=True)
        os._exit(0)
    rows = {title: row(way, options.turns) for title, way in WAYS.items()}
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {options.turns} replies"
    print(f"{machine}; ms, p50 (min to max)")
    for title, facts in rows.items():
        print(f"{title:22}" + ", ".join(f"{name} {value}" for name, value in facts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
