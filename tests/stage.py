"""A device as a process, a mouth in front of its microphone and an ear at its speaker."""

from __future__ import annotations

import wave
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from device.dsp.resample import Resampler
from rig.card import Card
from rig.processes import Companion, Device, Simulator, wav_audio
from rig.speech import SPOKEN_HZ, hear, say
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

CARD_HZ = 48_000


class Stage:
    """A device, a mouth in front of its microphone, and an ear at its speaker."""

    def __init__(
        self,
        device: Device,
        speak: Callable[[NDArray[np.int16]], float],
        listen: Callable[[], NDArray[np.int16]],
    ) -> None:
        self.device = device
        self.speak = speak
        self._listen = listen

    def ask(self, text: str) -> tuple[str, str]:
        """Hold the button while saying `text`; returns what was understood and what was heard in answer."""
        words = say(text)
        start = len(self._listen())
        with self.device.watch(30) as events:
            self.device.ask("press")
            seconds = self.speak(words)
            captured = self.captured()
            until(lambda: self.captured() > captured + (seconds + 0.3) * 50, 15)
            self.device.ask("release")
            understood = next(
                event["text"]
                for event in events
                if event["event"] == "transcript" and event["role"] == "user" and event["final"]
            )
            next(event for event in events if event["event"] == "state" and event["state"] == "ready")
        return understood, hear(self._listen()[start:], CARD_HZ)

    def press(self, text: str) -> None:
        """Hold the button while saying `text`, and wait for nothing."""
        words = say(text)
        self.device.ask("press")
        seconds = self.speak(words)
        captured = self.captured()
        until(lambda: self.captured() > captured + (seconds + 0.3) * 50, 15)
        self.device.ask("release")

    def captured(self) -> int:
        """Return how many blocks of 20 ms the device has captured."""
        frames: int = self.device.ask("status")["counters"]["frames_captured"]
        return frames

    def rung(self) -> str:
        """Return the rung of the open session."""
        rung: str = self.device.ask("status")["session"]["rung"]
        return rung


def notice(events: Iterable[dict[str, Any]], words: str) -> str:
    """Return the first notice that holds the words."""
    return next(
        str(event["text"]) for event in events if event["event"] == "notice" and words in event["text"]
    )


def samples(path: Path) -> NDArray[np.int16]:
    return np.frombuffer(path.read_bytes()[44:], np.int16) if path.exists() else np.zeros(0, np.int16)


class WavDevice(Device):
    """A device whose microphone is a file; each start begins with an empty one: what was said is gone."""

    def __init__(self, folder: Path, companion: Companion | None, more: str, backend: str) -> None:
        self.microphone, self.speaker = folder / "mic.wav", folder / "speaker.wav"
        audio = wav_audio(self.microphone, self.speaker) + more
        super().__init__(folder / "device", companion, audio, backend=backend)

    def prepare(self) -> None:
        """Empty the microphone's file too."""
        with wave.open(str(self.microphone), "wb") as file:
            file.setparams((1, 2, CARD_HZ, 0, "NONE", "not compressed"))
        super().prepare()


@contextmanager
def wav_stage(
    folder: Path, companion: Companion | None, more: str = "", backend: str = ""
) -> Iterator[Stage]:
    """WAV files for a card; `backend` is TOML for a device without a companion."""
    with WavDevice(folder, companion, more, backend) as device:

        def speak(pcm: NDArray[np.int16]) -> float:
            with device.microphone.open("ab") as file:
                file.write(Resampler(SPOKEN_HZ, CARD_HZ).process(pcm).tobytes())
            return len(pcm) / SPOKEN_HZ

        yield Stage(device, speak, lambda: samples(device.speaker))


@contextmanager
def card_stage(folder: Path, companion: Companion, more: str = "") -> Iterator[Stage]:
    """PyAudio on the virtual card."""
    with Card(folder / "card") as card:
        recorder = card.record(folder / "speaker.wav")

        def speak(pcm: NDArray[np.int16]) -> float:
            card.feed(pcm, SPOKEN_HZ)
            return len(pcm) / SPOKEN_HZ

        with Device(folder / "device", companion, more, card.env) as device:
            yield Stage(device, speak, lambda: samples(recorder.path))


@contextmanager
def served(
    folder: Path, service: Simulator, provider: str, endpoint: str = "", device: str = "", *, more: str = ""
) -> Iterator[Stage]:
    """A companion before the service, and a device; `endpoint`, `device`, `more` of the provider: TOML."""
    (folder / "key").write_text("simulated-key")
    own = f'base_url = "{service.url}"\nkey_file = "{folder}/key"\n{more}\n'
    tables = f'[endpoints.default]\nprovider = "{provider}"\n{endpoint}\n[providers.{provider}]\n{own}'
    with (
        Companion(folder / "companion", tables=tables) as companion,
        wav_stage(folder, companion, device) as stage,
    ):
        yield stage
