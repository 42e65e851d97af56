"""What both drivers promise: PyAudio on a virtual card, and WAV files."""

from __future__ import annotations

import contextlib
import threading
import time
import wave
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from device.audio.portaudio import PortAudioInput, PortAudioOutput
from device.audio.wavfile import WavInput, WavOutput
from device.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from device.ports import AudioInput, AudioOutput
    from rig.card import Card

RATE = 48_000
# Of real time; a busy machine may stretch a second, but never shrink it.
SHORTEST, LONGEST = 0.9, 2.0


@pytest.fixture(params=["portaudio", "wav"])
def source(request: pytest.FixtureRequest) -> Iterator[AudioInput]:
    """A silent microphone of two channels."""
    if request.param == "portaudio":
        request.getfixturevalue("card")
        source: AudioInput = PortAudioInput("rigmic", RATE, 2, "s32")
    else:
        path = request.getfixturevalue("wav")(np.zeros((100, 2), np.int32), RATE)
        source = WavInput(path, RATE, 2, "s32")
    yield source
    source.close()


@pytest.fixture(params=["portaudio", "portaudio, always fed", "wav"])
def sink(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AudioOutput]:
    """A loudspeaker."""
    if request.param == "wav":
        sink: AudioOutput = WavOutput(tmp_path / "speaker.wav", RATE)
    else:
        request.getfixturevalue("card")
        sink = PortAudioOutput("rigspk", RATE, 2, "s16", rests=request.param == "portaudio")
    yield sink
    sink.close()


@pytest.fixture(params=["portaudio", "wav"])
def heard(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[AudioOutput, Callable[[], Any]]:
    """A loudspeaker, and what was heard of it once it has been closed."""
    path = tmp_path / "speaker.wav"
    if request.param == "portaudio":
        card: Card = request.getfixturevalue("card")
        recorder = card.record(path)
        sink: AudioOutput = PortAudioOutput("rigspk", RATE, 2, "s16", rests=True)
        return sink, lambda: samples_of(path, sink.close, recorder.stop)
    wav_sink = WavOutput(path, RATE)
    return wav_sink, lambda: samples_of(path, wav_sink.close)


def samples_of(path: Path, *finish: Callable[[], object]) -> Any:
    for step in finish:
        step()
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def test_a_block_is_frames_by_channels(source: AudioInput) -> None:
    block = source.read(RATE // 50)
    assert block.shape == (RATE // 50, source.channels)
    assert block.dtype == np.int32
    assert source.read(RATE // 10).shape == (RATE // 10, 2)


def test_a_microphone_keeps_real_time(source: AudioInput) -> None:
    for _ in range(5):
        source.read(RATE // 50)
    began = time.monotonic()
    for _ in range(50):
        source.read(RATE // 50)
    assert SHORTEST < time.monotonic() - began < LONGEST
    assert source.overruns == 0
    assert 0.0 <= source.latency_s < 0.1


def test_a_loudspeaker_keeps_real_time_and_a_small_cushion(sink: AudioOutput) -> None:
    block = np.zeros(sink.block, np.int16)
    began, written = time.monotonic(), 0
    while written < RATE:
        sink.write(block)
        written += len(block)
        assert 0 <= sink.pending <= RATE * 0.05
    assert SHORTEST < time.monotonic() - began < LONGEST
    assert sink.rate == RATE
    assert RATE // 250 <= sink.block <= RATE // 100


def test_after_a_rest_it_plays_on(sink: AudioOutput) -> None:
    tone = np.full(sink.block, 500, np.int16)
    for _ in range(3):
        for _ in range(10):
            sink.write(tone)
        for _ in range(10):
            sink.write(np.zeros(sink.block, np.int16))
        sink.rest()
        threading.Event().wait(0.05)
    sink.write(tone)
    assert sink.underruns == 0


def test_what_is_written_is_heard_to_the_last_sample(
    heard: tuple[AudioOutput, Callable[[], Any]],
) -> None:
    sink, recorded = heard
    noise = np.random.default_rng(6).integers(-9_000, 9_000, sink.block * 100).astype(np.int16)
    for start in range(0, len(noise), sink.block):
        sink.write(noise[start : start + sink.block])
    for _ in range(20):
        sink.write(np.zeros(sink.block, np.int16))
    sink.rest()
    recording = recorded()
    assert np.array_equal(recording[recording != 0], noise[noise != 0])  # a busy machine may stretch it


def read_once(source: AudioInput) -> None:
    source.read(RATE // 50)


def write_once(sink: AudioOutput) -> None:
    sink.write(np.zeros(sink.block, np.int16))


def test_closing_a_microphone_twice_is_safe_and_using_it_then_an_error(source: AudioInput) -> None:
    source.close()
    source.close()
    with pytest.raises(AudioError):
        read_once(source)


def test_closing_a_loudspeaker_twice_is_safe_and_using_it_then_an_error(sink: AudioOutput) -> None:
    sink.close()
    sink.close()
    with pytest.raises(AudioError):
        write_once(sink)


def test_closing_a_microphone_ends_a_thread_that_listens(source: AudioInput) -> None:
    assert ended_by(source.close, lambda: read_once(source))


def test_closing_a_loudspeaker_ends_a_thread_that_plays(sink: AudioOutput) -> None:
    assert ended_by(sink.close, lambda: write_once(sink))


def ended_by(close: Callable[[], None], use: Callable[[], None]) -> bool:
    """Close while another thread is in a call again and again; whether it ended with an AudioError."""
    ended, used = threading.Event(), threading.Semaphore(0)

    def go_on() -> None:
        with contextlib.suppress(AudioError):
            while True:
                use()
                used.release()
        ended.set()

    user = threading.Thread(target=go_on)
    user.start()
    for _ in range(3):
        assert used.acquire(timeout=5.0)
    close()
    user.join(5.0)
    return ended.is_set()
