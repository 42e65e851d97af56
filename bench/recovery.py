"""How soon the device answers again after a fault, and what it loses of the user's words.

Method: `pressel run` is its own process; the mint and the session go through byte-level proxies that break
them (rig/proxy.py). Sound comes from and goes to WAV files in real time; where the card itself is pulled
out, it is PyAudio on the private virtual card. The user says a phrase of 1 s of noise that matches itself
at one lag only, 0.2 s after the press.

"seconds" is from the end of the fault to the first block of the next answer at the card. Where the user
speaks through the fault ("during"), the words that were said must be answered without another press; the
end of a cut, which lasts no time, is then the release. Elsewhere ("after") the button is pressed as soon as
the fault is over, and the 1.2 s of the phrase and its release are in the seconds. "due" is what was left,
at the end of the fault, of the back-off that the device had announced: for a card 0.5, 1, 2, 4, 5 s after
one another. "beyond" is seconds less due, and less the phrase where it was said after.

"lost" and "doubled" count samples of the phrase at 24 kHz in what the session that answered was sent. The
phrase is laid over that, to a quarter of a sample, wherever a stretch of 20 ms of it is found; a sample is
there when the 48 samples that end with it, or begin with it, differ from the phrase by less than a fiftieth
of their energy. A sample that is nowhere is lost; each further place where it is counts as one doubled. Where
two pieces of the phrase meet this is right to 50 samples (2 ms).

    python bench/recovery.py [--runs N] [--only NAME] [--json]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import signal
import statistics
import sys
import tempfile
import threading
import time
import wave
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.phrase import PHRASE_S, count, phrase
from bench.talk import noise
from device.dsp.resample import Resampler
from device.errors import StateError
from rig.card import Card
from rig.processes import Device, wav_audio
from rig.proxy import Proxy
from rig.realtime import RATE, RealtimeServer, realtime_server
from rig.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

CARD_HZ = 48_000
BREATH_S = 0.2  # between the press and the phrase
_CARD_WAITS_S = (0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0)


@dataclass
class Result:
    """One run: seconds, and samples of the phrase at 24 kHz."""

    seconds: float
    due: float
    beyond: float
    lost: int
    doubled: int


class Rig:
    """A device, a server, the two lines between them, and what the device told."""

    def __init__(
        self, folder: Path, server: RealtimeServer, mint: Proxy, live: Proxy, device: Device
    ) -> None:
        self.folder, self.server, self.mint, self.live, self.device = folder, server, mint, live, device
        self.card: Card | None = None
        self.events: list[dict[str, Any]] = []

    def listen(self) -> None:
        """Note what the device tells from now on."""
        watch = self.device.watch()

        def note() -> None:
            with suppress(StateError), watch as events:
                self.events.extend(events)

        threading.Thread(target=note, daemon=True).start()

    def status(self) -> dict[str, Any]:
        """Ask the device."""
        return self.device.ask("status")

    def reach(self, *states: str, seconds: float = 40) -> None:
        """Wait for a state."""
        until(lambda: self.status()["state"] in states, seconds)

    def speak(self, sound: NDArray[np.int16]) -> None:
        """Put a breath and the sound before the microphone; it takes its time."""
        sound = np.concatenate((np.zeros(int(BREATH_S * RATE), np.int16), sound))
        if self.card:
            self.card.feed(sound, RATE)
            return
        with (self.folder / "mic.wav").open("ab") as file:
            file.write(Resampler(RATE, CARD_HZ).process(sound).tobytes())

    def captured(self) -> int:
        """Blocks of 20 ms so far."""
        return int(self.status()["counters"]["frames_captured"])

    def say(self, sound: NDArray[np.int16]) -> None:
        """Press, say it, release when it has been captured."""
        before = self.captured()
        self.device.ask("press")
        self.speak(sound)
        late = 30 if self.card else 25
        until(lambda: self.captured() > before + len(sound) * 50 // RATE + late, 20)
        self.device.ask("release")

    def sounded_after(self, at: float) -> float:
        """Wait for the next reply to sound; returns when it did."""

        def found() -> float | None:
            times = [
                one["t"]
                for one in list(self.events)
                if one["event"] == "state" and one["state"] == "speaking"
            ]
            return next((t for t in times if t > at), None)

        return float(until(found, 45))

    def due(self, at: float) -> float:
        """What was left, at that time, of the back-off that had been announced."""
        ends = [0.0]
        for one in list(self.events):
            told = re.search(r"next attempt in ([\d.]+) s", one.get("text", ""))
            if told and one["t"] <= at:
                ends.append(one["t"] + float(told.group(1)) - at)
        return max(0.0, ends[-1])


def until(fact: Callable[[], Any], seconds: float) -> Any:
    """Wait for a fact; returns it."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(StateError):
            if found := fact():
                return found
        if time.monotonic() > deadline:
            raise TimeoutError("bench: the device did not get there in time")
        threading.Event().wait(0.005)


def wait(seconds: float) -> None:
    """Let real time pass."""
    threading.Event().wait(seconds)


# --- the faults: each makes one run


def speaking_through(
    rig: Rig, said: NDArray[np.int16], strike: Callable[[], None], mend: Callable[[], None], lasts_s: float
) -> Result:
    """The fault begins in the middle of the phrase, and the user lets go of the button meanwhile."""
    before = rig.captured()
    rig.device.ask("press")
    rig.speak(said)
    until(lambda: rig.captured() > before + 25, 10)
    strike()
    began = time.monotonic()
    until(lambda: rig.captured() > before + 75, 10)
    rig.device.ask("release")
    wait(max(0.0, began + lasts_s - time.monotonic()))
    ended = time.monotonic()
    mend()
    return _answered(rig, ended, said, after=False)


def minting_through(
    rig: Rig, said: NDArray[np.int16], strike: Callable[[], None], mend: Callable[[], None], lasts_s: float
) -> Result:
    """The fault is there when the button is pressed, with no session open."""
    rig.device.ask("forget")
    rig.reach("idle")
    strike()
    began = time.monotonic()
    rig.say(said)
    wait(max(0.0, began + lasts_s - time.monotonic()))
    ended = time.monotonic()
    mend()
    return _answered(rig, ended, said, after=False)


def afterwards(rig: Rig, said: NDArray[np.int16], strike: Callable[[], None]) -> Result:
    """The fault is over at once, and the user says something."""
    strike()
    ended = time.monotonic()
    rig.say(said)
    return _answered(rig, ended, said, after=True)


def _answered(rig: Rig, ended: float, said: NDArray[np.int16], *, after: bool) -> Result:
    sounded = rig.sounded_after(ended)
    due = rig.due(ended)
    seconds = sounded - ended
    lost, doubled = count(said, rig.server.heard_in(-1))
    rig.reach("ready", "idle")
    return Result(seconds, due, seconds - due - (BREATH_S + PHRASE_S if after else 0.0), lost, doubled)


def _both(rig: Rig, name: str, *arguments: Any, **more: Any) -> Callable[[], None]:
    def act() -> None:
        for line in (rig.mint, rig.live):
            getattr(line, name)(*arguments, **more)

    return act


def _away(rig: Rig) -> None:
    _both(rig, "refuse")()
    rig.live.cut()


def _cut_reply(rig: Rig, said: NDArray[np.int16]) -> Result:
    rig.say(said)
    rig.reach("speaking")
    return afterwards(rig, phrase(99), rig.live.cut)


def _expired(rig: Rig, said: NDArray[np.int16]) -> Result:
    rig.device.ask("say", more={"text": "hello"})
    rig.reach("speaking")
    rig.reach("ready")
    return afterwards(rig, said, lambda: _expire(rig))


def _expire(rig: Rig) -> None:
    del rig.server.peers[:-1]  # those of earlier runs are gone
    rig.server.expire()


WIRE: dict[str, Callable[[Rig, NDArray[np.int16]], Result]] = {
    "cut in speech": lambda rig, said: speaking_through(rig, said, rig.live.cut, rig.live.resume, 0.0),
    "cut in a reply": _cut_reply,
    "half open in speech, 5 s": lambda rig, said: speaking_through(
        rig, said, rig.live.black_hole, rig.live.resume, 5.0
    ),
    "half open in speech, 7 s": lambda rig, said: speaking_through(
        rig, said, rig.live.black_hole, rig.live.resume, 7.0
    ),
    "stall in speech, 0.5 s": lambda rig, said: speaking_through(
        rig, said, rig.live.stall, rig.live.resume, 0.5
    ),
    "stall in speech, 2 s": lambda rig, said: speaking_through(
        rig, said, rig.live.stall, rig.live.resume, 2.0
    ),
    "stall in speech, 10 s": lambda rig, said: speaking_through(
        rig, said, rig.live.stall, rig.live.resume, 10.0
    ),
    "network away in speech, 3 s": lambda rig, said: speaking_through(
        rig, said, lambda: _away(rig), _both(rig, "resume"), 3.0
    ),
    "network away in speech, 12 s": lambda rig, said: speaking_through(
        rig, said, lambda: _away(rig), _both(rig, "resume"), 12.0
    ),
    "drip of 2000 bytes a second in speech, 3 s": lambda rig, said: speaking_through(
        rig, said, lambda: rig.live.drip(2000), rig.live.resume, 3.0
    ),
    "cut while connecting": lambda rig, said: minting_through(
        rig, said, lambda: rig.live.cut_after("up", 10), rig.live.resume, 1.0
    ),
    "cut while minting": lambda rig, said: minting_through(
        rig, said, lambda: rig.mint.cut_after("up", 10), rig.mint.resume, 1.0
    ),
    "backend refuses, 3 s": lambda rig, said: minting_through(
        rig, said, rig.mint.refuse, rig.mint.resume, 3.0
    ),
    "backend answers 500, 5 s": lambda rig, said: minting_through(
        rig, said, lambda: rig.mint.answer("500 Oops", b"{}"), rig.mint.resume, 5.0
    ),
    "captive portal, 3 s": lambda rig, said: minting_through(
        rig,
        said,
        lambda: rig.mint.answer("200 OK", b"<html>", Content_Type="text/html"),
        rig.mint.resume,
        3.0,
    ),
    "backend answers 429, Retry-After 3": lambda rig, said: minting_through(
        rig, said, lambda: rig.mint.answer("429 Slow", b"{}", Retry_After="3"), rig.mint.resume, 1.5
    ),
    "502 at the session's socket, 3 s": lambda rig, said: minting_through(
        rig, said, lambda: rig.live.answer("502 Bad Gateway"), rig.live.resume, 3.0
    ),
    "session_expired at rest": _expired,
    "session_expired in speech": lambda rig, said: speaking_through(
        rig, said, lambda: _expire(rig), lambda: None, 0.0
    ),
}


def pulled_out(rig: Rig, said: NDArray[np.int16]) -> Result:
    """The card is away for 3 s, while nobody speaks."""
    assert rig.card  # noqa: S101 # the caller has one
    rig.reach("ready", "idle")
    rig.card.unplug()
    out = until(
        lambda: next(
            (one["t"] for one in rig.events if "microphone is missing" in one.get("text", "")), None
        ),
        20,
    )
    wait(max(0.0, out + 3.0 - time.monotonic()))
    rig.card.replug()
    ended = time.monotonic()
    until(lambda: any("microphone is back" in one.get("text", "") for one in rig.events), 30)
    tries = np.cumsum(_CARD_WAITS_S) + out
    due = max(0.0, float(next(at for at in tries if at > ended)) - ended)
    rig.say(said)
    seconds = rig.sounded_after(ended) - ended
    lost, doubled = count(said, rig.server.heard_in(-1))
    rig.events.clear()
    return Result(seconds, due, seconds - due - BREATH_S - PHRASE_S, lost, doubled)


def away_at_boot(rig: Rig, said: NDArray[np.int16]) -> Result:
    """The backend is away for 20 s from the start on; the user speaks after 15 s, and it is kept."""
    rig.mint.refuse()
    with rig.device:
        began = time.monotonic()
        rig.events.clear()
        rig.listen()
        rig.device.ask("press")
        rig.device.ask("release")
        wait(max(0.0, began + 15.0 - time.monotonic()))
        rig.say(said)
        wait(max(0.0, began + 20.0 - time.monotonic()))
        ended = time.monotonic()
        rig.mint.resume()
        return _answered(rig, ended, said, after=False)


def killed(rig: Rig, said: NDArray[np.int16], supervisor: Supervisor) -> Result:
    """SIGKILL in the middle of a phrase; it is said again once the device has started again."""
    rig.device.ask("press")
    rig.speak(said)
    wait(0.5)
    lives = len(supervisor.runs)
    os.kill(supervisor.runs[-1].pid, signal.SIGKILL)
    ended = time.monotonic()
    _empty(rig.folder / "mic.wav")  # a microphone keeps nothing for the next life
    until(lambda: len(supervisor.runs) > lives and supervisor.runs[-1].ready_at, 30)
    rig.listen()
    rig.say(said)
    seconds = rig.sounded_after(ended) - ended
    lost, doubled = count(said, rig.server.heard_in(-1))
    rig.reach("ready", "idle")
    due = 0.1  # the supervisor's pause
    return Result(seconds, due, seconds - due - BREATH_S - PHRASE_S, lost, doubled)


def _empty(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, CARD_HZ, 0, "NONE", "not compressed"))


@contextmanager
def rig_of(folder: Path, card: Card | None = None) -> Iterator[Rig]:
    """A server, two lines and a device that is not started yet."""
    with ExitStack() as stack:
        server = stack.enter_context(realtime_server(noise(1.0, RATE, 2)))
        mint = stack.enter_context(Proxy(server.url))
        live = stack.enter_context(Proxy(server.realtime_url))
        backend = f'kind = "token"\nurl = "{mint.url}"\nrealtime_url = "{live.url}"\nmodel = "bench"'
        _empty(folder / "mic.wav")
        audio = "" if card else wav_audio(folder / "mic.wav", folder / "speaker.wav")
        device = Device(folder, None, audio, card.env if card else None, backend=backend)
        rig = Rig(folder, server, mint, live, device)
        rig.card = card
        yield rig


def _runs(rig: Rig, run: Callable[[Rig, NDArray[np.int16]], Result], runs: int) -> list[Result]:
    results = []
    for number in range(runs):
        rig.server.forget()
        rig.events.clear()
        try:
            results.append(run(rig, phrase(10 + number)))
        except TimeoutError:
            print(f"no answer; the device's last line: {rig.device.last_line()}", file=sys.stderr)
            results.append(Result(float("inf"), 0.0, float("inf"), int(PHRASE_S * RATE), 0))
            rig.reach("idle", "ready")
    return results


def measure(runs: int, only: str) -> dict[str, list[Result]]:
    """Every fault, `runs` times, each on a device of its own."""
    table: dict[str, list[Result]] = {}

    def wanted(name: str) -> bool:
        if only in name:
            print(f"… {name}", file=sys.stderr)
        return only in name

    for name, run in WIRE.items():
        if wanted(name):
            with tempfile.TemporaryDirectory(prefix="rec") as path, rig_of(Path(path)) as rig, rig.device:
                rig.listen()
                table[name] = _runs(rig, run, runs)
    if wanted("card pulled out, 3 s"):
        with (
            tempfile.TemporaryDirectory(prefix="rec") as path,
            Card(Path(path) / "card") as card,
            rig_of(Path(path), card) as rig,
            rig.device,
        ):
            rig.listen()
            table["card pulled out, 3 s"] = _runs(rig, pulled_out, runs)
    if wanted("backend away at boot, 20 s"):
        with tempfile.TemporaryDirectory(prefix="rec") as path, rig_of(Path(path)) as rig:
            table["backend away at boot, 20 s"] = _runs(rig, away_at_boot, runs)
    if wanted("SIGKILL in speech"):
        with tempfile.TemporaryDirectory(prefix="rec") as path, rig_of(Path(path)) as rig:
            rig.device.prepare()
            with Supervisor(rig.device.command, rig.device.log) as supervisor:
                until(lambda: supervisor.run and supervisor.run.ready_at, 30)
                rig.listen()
                table["SIGKILL in speech"] = _runs(rig, lambda one, said: killed(one, said, supervisor), runs)
    return table


def figures(results: list[Result]) -> dict[str, Any]:
    """p50, p95 and the largest, in seconds; samples lost and doubled in all runs."""
    row: dict[str, Any] = {"n": len(results)}
    for name in ("seconds", "due", "beyond"):
        values = sorted(getattr(one, name) for one in results)
        high = values[math.ceil(0.95 * len(values)) - 1]
        row[name] = {"p50": statistics.median(values), "p95": high, "max": values[-1]}
        row[name] = {key: round(value, 2) for key, value in row[name].items()}
    row |= {"lost": sum(one.lost for one in results), "doubled": sum(one.doubled for one in results)}
    return row


def main() -> int:
    """Print the table; 0 when every fault met the target."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="", help="faults with this in their name")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = {name: figures(results) for name, results in measure(options.runs, options.only).items()}
    good = all(
        row["beyond"]["max"] <= 2.0 and not row["lost"] and not row["doubled"] for row in rows.values()
    )
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0 if good else 1
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    print(
        "| fault | n | seconds p50 | p95 | max | due p50 | beyond p50 | p95 | max | samples lost | doubled |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        cells = [row["n"], *row["seconds"].values(), row["due"]["p50"], *row["beyond"].values()]
        print(f"| {name} | {' | '.join(map(str, cells))} | {row['lost']} | {row['doubled']} |")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
