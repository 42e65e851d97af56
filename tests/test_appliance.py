"""The whole appliance: both commands as processes, speech in, speech out, a kill, a resume."""

from __future__ import annotations

import wave
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.dsp.resample import Resampler
from rig.card import Card
from rig.processes import Companion, Device, wav_audio
from rig.speech import SPOKEN_HZ, hear, say
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
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

    def captured(self) -> int:
        """Return how many blocks of 20 ms the device has captured."""
        frames: int = self.device.ask("status")["counters"]["frames_captured"]
        return frames

    def rung(self) -> str:
        """Return the rung of the open session."""
        rung: str = self.device.ask("status")["session"]["rung"]
        return rung


def samples(path: Path) -> NDArray[np.int16]:
    return np.frombuffer(path.read_bytes()[44:], np.int16) if path.exists() else np.zeros(0, np.int16)


@contextmanager
def wav_stage(folder: Path, companion: Companion, more: str = "") -> Iterator[Stage]:
    """WAV files for a card."""
    microphone, speaker = folder / "mic.wav", folder / "speaker.wav"
    with wave.open(str(microphone), "wb") as file:
        file.setparams((1, 2, CARD_HZ, 0, "NONE", "not compressed"))

    def speak(pcm: NDArray[np.int16]) -> float:
        with microphone.open("ab") as file:
            file.write(Resampler(SPOKEN_HZ, CARD_HZ).process(pcm).tobytes())
        return len(pcm) / SPOKEN_HZ

    with Device(folder / "device", companion, wav_audio(microphone, speaker) + more) as device:
        yield Stage(device, speak, lambda: samples(speaker))


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


@pytest.fixture
def companion(tmp_path: Path) -> Iterator[Companion]:
    with Companion(tmp_path / "companion") as running:
        yield running


@pytest.mark.parametrize("stage", [wav_stage, card_stage])
def test_a_conversation_is_held_and_resumed_after_a_kill(
    tmp_path: Path, companion: Companion, stage: Callable[..., AbstractContextManager[Stage]]
) -> None:
    with stage(tmp_path, companion) as one:
        understood, heard = one.ask("my name is peter")
        assert "peter" in understood.lower()
        assert "peter" in heard
        assert one.rung() == "fresh"
        one.device.kill()
        one.device.start()
        understood, heard = one.ask("what is my name")
        assert "name" in understood.lower()
        assert "peter" in heard
        assert one.rung() == "live"


def test_a_restart_of_both_ends_still_knows_the_name(tmp_path: Path, companion: Companion) -> None:
    with wav_stage(tmp_path, companion) as one:
        one.ask("my name is peter")
        one.device.kill()
        companion.kill()
        companion.start()
        one.device.start()
        assert "peter" in one.ask("what is my name")[1]


@pytest.mark.parametrize("turn_end", ["server", "client"])
def test_an_open_talk_goes_hands_free_from_turn_to_turn(
    tmp_path: Path, companion: Companion, turn_end: str
) -> None:
    more = f'[talk]\nmode = "open_mic"\nturn_end = "{turn_end}"\n'
    with wav_stage(tmp_path, companion, more) as one, one.device.watch(40) as events:
        one.device.ask("tap")
        for text, word in (("my name is peter", "peter"), ("what is my name", "peter")):
            until(lambda: one.device.ask("status")["state"] == "listening", 20)
            one.speak(say(text))
            reply = next(
                event["text"]
                for event in events
                if event["event"] == "transcript" and event["role"] == "assistant" and event["final"]
            )
            assert word in reply.lower()
        until(lambda: one.device.ask("status")["state"] == "listening", 20)
        one.device.ask("tap")
        until(lambda: one.device.ask("status")["state"] == "ready", 20)


def test_a_wake_in_push_to_talk_takes_one_turn_by_voice(tmp_path: Path, companion: Companion) -> None:
    with wav_stage(tmp_path, companion) as one, one.device.watch(40) as events:
        one.device.ask("wake")
        one.speak(say("my name is peter"))
        reply = next(
            event["text"]
            for event in events
            if event["event"] == "transcript" and event["role"] == "assistant" and event["final"]
        )
        assert "peter" in reply.lower()
        until(lambda: one.device.ask("status")["state"] == "ready", 20)
