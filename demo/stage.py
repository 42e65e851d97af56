"""Where the demo happens: a virtual sound card, or WAV files that stand for one."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from demo.sound import RATE, Recording, at_card_rate, load, merged, save
from rig.card import Card, Recorder
from rig.processes import wav_audio

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from demo.sound import Samples


class Said(Protocol):
    """Something that is being said into the microphone."""

    started_at: float

    def wait(self, timeout_s: float = 60.0) -> None:
        """Return once the last sample has been said."""


class Stage(Protocol):
    """A microphone to talk into and a speaker that is recorded, across several runs of the daemon."""

    name: str
    env: Mapping[str, str] | None
    audio: str

    def begin_run(self) -> None:
        """Make the files that the next run of the daemon wants."""

    def end_run(self) -> None:
        """Take note that the daemon has just gone."""

    def say(self, pcm: Samples, rate: int) -> Said:
        """Talk into the microphone without waiting."""

    def finish(self) -> tuple[Recording, Recording]:
        """End the recordings: mic.wav and speaker.wav, on the monotonic clock."""


class CardStage:
    """The virtual sound card: both recordings are made by the sound daemon, not by Pressel."""

    name = "virtual sound card"

    def __init__(self, card: Card, folder: Path) -> None:
        self._card = card
        self.env: Mapping[str, str] | None = card.env
        self.audio = ""  # the simulated board's own
        self._speaker = card.record(folder / "speaker.wav")
        self._mic = Recorder(_microphone_tap(), card.env, folder / "mic.wav")

    def begin_run(self) -> None:
        """Nothing to do: the card stays."""

    def end_run(self) -> None:
        """Nothing to do: the card goes on recording."""

    def say(self, pcm: Samples, rate: int) -> Said:
        """Talk into every channel of the microphone."""
        return self._card.feed(pcm, rate)

    def finish(self) -> tuple[Recording, Recording]:
        """End both recordings."""
        mic = load(self._mic.stop(), self._mic.started_at)
        return mic, load(self._speaker.stop(), self._speaker.started_at)


def _microphone_tap() -> list[str]:
    command = ["parec", "--device=micfeed.monitor", "--raw", "--latency-msec=10", "--format=s16le"]
    return [*command, f"--rate={RATE}", "--channels=1", "--channel-map=front-left", "--no-remix"]


@dataclass
class _Paced:
    """Sound in a file that a reader takes at the pace of the clock."""

    started_at: float
    seconds: float

    def wait(self, timeout_s: float = 60.0) -> None:
        """Return once the reader has had the time for all of it."""
        left = self.started_at + self.seconds - time.monotonic()
        threading.Event().wait(max(0.0, min(left, timeout_s)))


class WavStage:
    """A growing WAV for a microphone and a WAV for a speaker, new ones for each run of the daemon."""

    name = "WAV files"
    env: Mapping[str, str] | None = None

    def __init__(self, folder: Path, scratch: Path) -> None:
        self._folder, self._scratch = folder, scratch
        self._began = time.monotonic()
        self._said: list[Recording] = []
        self._played: list[Recording] = []
        self._run = 0
        self.audio = ""

    def begin_run(self) -> None:
        """Make an empty microphone for the next run."""
        self._run += 1
        save(self._file("mic"), Recording(np.zeros(0, np.int16), RATE, 0.0))
        self.audio = wav_audio(self._file("mic"), self._file("speaker"), RATE)

    def end_run(self) -> None:
        """Place the recording on the clock: its last sample was played when its file was last written."""
        path = self._file("speaker")
        if path.exists():  # otherwise it ended before it opened its speaker
            part = load(path, 0.0)
            end = path.stat().st_mtime - time.time() + time.monotonic()
            self._played.append(Recording(part.pcm, part.rate, end - len(part.pcm) / part.rate))

    def say(self, pcm: Samples, rate: int) -> Said:
        """Append to the microphone's file: the daemon is at its end and hears it at once."""
        sound = at_card_rate(pcm, rate)
        with self._file("mic").open("ab") as file:
            file.write(sound.astype("<i2").tobytes())
        paced = _Paced(time.monotonic(), len(sound) / RATE)
        self._said.append(Recording(sound, RATE, paced.started_at))
        return paced

    def finish(self) -> tuple[Recording, Recording]:
        """Write what all runs heard and said as two files."""
        now = time.monotonic()
        tracks: list[Recording] = []
        for name, parts in (("mic", self._said), ("speaker", self._played)):
            tracks.append(merged(parts, self._began, now))
            save(self._folder / f"{name}.wav", tracks[-1])
        return tracks[0], tracks[1]

    def _file(self, kind: str) -> Path:
        return self._scratch / f"{kind}-{self._run}.wav"


def describe(recording: Recording, file: str) -> dict[str, Any]:
    """Return the facts of a recording for the journal."""
    return {"file": file, "start": recording.start, "end": recording.end, "rate": recording.rate}
