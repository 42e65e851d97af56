"""The virtual sound card itself."""

from __future__ import annotations

import os
import subprocess
import threading
import time
import wave
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest

from rig.card import _MAPS, SPEAKER_RATE, Card, CardError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def card(tmp_path: Path) -> Iterator[Card]:
    with Card(tmp_path / "card") as card:
        yield card


def noise(seconds: float) -> Any:
    return np.random.default_rng(9).integers(-9_000, 9_000, int(seconds * SPEAKER_RATE)).astype(np.int16)


def play(card: Card, samples: Any) -> None:
    command = [
        "pacat",
        "--device=speaker",
        "--raw",
        "--format=s16le",
        f"--rate={SPEAKER_RATE}",
        "--channels=1",
    ]
    subprocess.run(command, env=card.env, input=samples.tobytes(), check=True, timeout=20)


class Ears:
    """What comes out of the microphone: blocks of shape (frames, channels), 32 bit."""

    def __init__(self, card: Card) -> None:
        command = ["parec", "--device=mic", "--raw", "--format=s32le", "--rate=48000", "--latency-msec=20"]
        command += [f"--channels={card.mic_channels}", f"--channel-map={_MAPS[card.mic_channels]}"]
        self._channels = card.mic_channels
        self._process = subprocess.Popen(command, env=card.env, stdout=subprocess.PIPE)
        self.hear(0.02)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def hear(self, seconds: float) -> Any:
        assert self._process.stdout is not None
        data = self._process.stdout.read(round(seconds * SPEAKER_RATE) * self._channels * 4)
        return np.frombuffer(data, np.int32).reshape(-1, self._channels)


def recorded(path: Path) -> Any:
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels()) == (SPEAKER_RATE, 1)
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def test_what_is_played_is_recorded_bit_for_bit_and_on_time(card: Card, tmp_path: Path) -> None:
    recorder = card.record(tmp_path / "speaker.wav")
    before = time.monotonic()
    play(card, noise(0.5))
    after = time.monotonic()
    heard = recorded(recorder.stop())
    at = heard.tobytes().find(noise(0.5)[:100].tobytes()) // 2
    assert at >= 0
    assert np.array_equal(heard[at : at + SPEAKER_RATE // 2], noise(0.5))
    assert before < recorder.started_at + at / SPEAKER_RATE < after - 0.4


def test_what_is_fed_is_in_every_channel_of_the_microphone(card: Card) -> None:
    with Ears(card) as ears:
        utterance = card.feed(noise(0.5), SPEAKER_RATE)
        heard = ears.hear(1.0) >> 16
    utterance.wait()
    for channel in range(2):
        assert noise(0.5).tobytes() in heard[:, channel].astype(np.int16).tobytes()


def test_an_utterance_can_be_stopped(card: Card) -> None:
    began = time.monotonic()
    utterance = card.feed(noise(30.0), SPEAKER_RATE)
    utterance.stop()
    utterance.stop()
    utterance.wait(5.0)
    assert time.monotonic() - began < 5.0


def test_cards_do_not_hear_each_other(card: Card, tmp_path: Path) -> None:
    with Card(tmp_path / "other") as other:
        here, there = card.record(tmp_path / "here.wav"), other.record(tmp_path / "there.wav")
        play(other, noise(0.2))
        assert recorded(there.stop()).any()
        assert not recorded(here.stop()).any()


def test_the_microphone_hears_the_speaker_when_asked_to(tmp_path: Path) -> None:
    with Card(tmp_path / "card", echo_ms=60) as card, Ears(card) as ears:
        play(card, noise(0.5))
        heard = ears.hear(1.0)
    assert np.abs(heard >> 16).max() > 3_000


def test_pulled_out_it_gives_nothing_and_put_back_it_plays_again(card: Card, tmp_path: Path) -> None:
    card.unplug()
    with pytest.raises(CardError, match="unplugged"):
        card.record(tmp_path / "none.wav")
    card.replug()
    recorder = card.record(tmp_path / "speaker.wav")
    play(card, noise(0.2))
    assert recorded(recorder.stop()).any()


def test_it_leaves_nothing_behind(tmp_path: Path) -> None:
    with Card(tmp_path / "card") as card:
        runtime = card.env["XDG_RUNTIME_DIR"]
        assert card._daemon is not None
        pid = card._daemon.pid
        utterance = card.feed(noise(30.0), SPEAKER_RATE)
    assert not os.path.exists(runtime)  # noqa: PTH110  (a path from the environment)
    assert not os.path.exists(f"/proc/{pid}")  # noqa: PTH110
    utterance.wait(0.1)


def test_without_pulseaudio_it_names_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CardError, match=r"apt-get install .* pulseaudio-utils"), Card(tmp_path / "card"):
        pass


def test_a_card_of_an_odd_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"5 channels cannot be made: take one of \[1, 2, 4, 6, 8\]"):
        Card(tmp_path, mic_channels=5)


def test_a_daemon_that_does_not_start_says_where_its_log_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("pulseaudio", "pactl", "pacat", "parec"):
        (tools / tool).write_text("#!/bin/sh\nexit 1\n")
        (tools / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/bin:/usr/bin")
    with pytest.raises(CardError, match=r"see .*pulseaudio.log"), Card(tmp_path / "card"):
        pass


def test_a_microphone_that_hangs_gives_nothing_until_it_goes_on(card: Card) -> None:
    with Ears(card) as ears:
        card.hang(True)
        listener = threading.Thread(target=ears.hear, args=(1.0,))
        listener.start()
        listener.join(2.0)
        assert listener.is_alive()
        card.hang(False)
        listener.join(10.0)
        assert not listener.is_alive()


def test_a_card_works_again_after_its_server_was_killed(card: Card) -> None:
    card.crash()
    with pytest.raises(CardError):
        card._pactl("info")
    card.revive()
    with Ears(card) as ears:
        card.feed(np.full(SPEAKER_RATE, 7_000, np.int16), SPEAKER_RATE)
        assert (np.abs(ears.hear(2.0) >> 16) > 6_000).any()
