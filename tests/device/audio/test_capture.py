"""The capture thread on a WAV file that is played in real time."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hibari import Hibari

from device.audio.capture import Capture
from device.audio.ring import Ring
from device.audio.wavfile import WavInput
from device.dsp.resample import Resampler
from device.dsp.vad import Vad, VadSettings
from device.errors import AudioError
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

RATE = 16_000


def sweep(seconds: float) -> NDArray[np.int16]:
    at = np.arange(int(seconds * RATE)) / RATE
    return (8_000 * np.sin(2 * np.pi * (400 + 300 * at) * at)).astype(np.int16)


def open_wav(wav: Callable[..., Path], samples: NDArray[np.int16], channels: int = 1) -> WavInput:
    return WavInput(wav(samples, RATE), RATE, channels, "s16")


def test_every_sample_reaches_the_ring_once(wav: Callable[..., Path]) -> None:
    spoken, ring = sweep(0.5), Ring(2.0, RATE)
    source = open_wav(wav, spoken)
    capture = Capture(source, ring, highpass_hz=None)
    capture.start()
    until(lambda: ring.written >= len(spoken))
    capture.stop()
    source.close()
    assert np.abs(ring.read(0, len(spoken)).astype(int) - spoken).max() <= 1
    assert capture.frames == ring.written
    assert capture.overruns == 0


@pytest.mark.parametrize(("channel", "value"), [(0, 1_000), (1, 3_000), ("mix", 2_000)])
def test_a_channel_is_picked_or_all_are_mixed(
    wav: Callable[..., Path], channel: int | str, value: int
) -> None:
    stereo = np.tile(np.array([1_000, 3_000], np.int16), (1_600, 1))
    ring = Ring(2.0, RATE)
    source = open_wav(wav, stereo, channels=2)
    capture = Capture(source, ring, channel=channel, highpass_hz=None)
    capture.start()
    until(lambda: ring.written >= 320)
    capture.stop()
    source.close()
    assert set(ring.read(0, 320).tolist()) == {value}


def test_a_channel_that_is_not_there_is_refused(wav: Callable[..., Path]) -> None:
    source = open_wav(wav, sweep(0.1))
    with pytest.raises(AudioError, match="channel 1 is not there: 0 to 0 or mix"):
        Capture(source, Ring(1.0, RATE), channel=1)
    source.close()


def test_gain_and_high_pass_are_in_the_way(wav: Callable[..., Path]) -> None:
    ring = Ring(3.0, RATE)
    source = open_wav(wav, (sweep(1.0) // 16 + 3_000).astype(np.int16))
    capture = Capture(source, ring, gain_db=20.0)
    capture.start()
    until(lambda: ring.written >= RATE)
    capture.stop()
    source.close()
    heard = ring.read(RATE // 2, RATE // 2).astype(float)
    assert abs(heard.mean()) < 50
    assert np.abs(heard).max() == pytest.approx(5_000, rel=0.05)


def test_a_muted_microphone_gives_silence_and_goes_on(wav: Callable[..., Path]) -> None:
    ring = Ring(5.0, RATE)
    source = open_wav(wav, sweep(3.0))
    capture = Capture(source, ring)
    capture.muted = True
    capture.start()
    until(lambda: ring.written >= 1_600)
    assert not ring.read(0, 1_600).any()
    capture.muted = False
    until(lambda: ring.read(ring.written - 320, 320).any())
    capture.stop()
    source.close()


def test_a_press_finds_what_was_said_at_that_time(wav: Callable[..., Path]) -> None:
    step = np.concatenate((np.zeros(RATE // 2, np.int16), np.full(RATE, 9_000, np.int16)))
    ring = Ring(5.0, RATE)
    began = time.monotonic()
    source = open_wav(wav, step)
    capture = Capture(source, ring, highpass_hz=None)
    capture.start()
    until(lambda: ring.written >= RATE)
    capture.stop()
    source.close()
    assert ring.position_at(began + 0.5) == pytest.approx(RATE // 2, abs=RATE * 0.03)


def test_speech_is_reported_with_its_beginning_and_its_end(wav: Callable[..., Path]) -> None:
    voice = np.asarray(Hibari()("what time is it"), np.float32)
    speech = Resampler(24_000, RATE).process((voice / np.abs(voice).max() * 12_000).astype(np.int16))
    source = open_wav(wav, np.concatenate((np.zeros(RATE // 4, np.int16), speech)))
    told: list[tuple[bool, float]] = []
    capture = Capture(
        source,
        Ring(5.0, RATE),
        speech=Vad(RATE, VadSettings(end_ms=300)),
        on_speech=lambda speaking, at: told.append((speaking, at)),
    )
    began = time.monotonic()
    capture.start()
    until(lambda: len(told) == 2, 10.0)
    capture.stop()
    source.close()
    assert [speaking for speaking, _ in told] == [True, False]
    assert began < told[0][1] < told[1][1] <= time.monotonic()


def test_while_idle_nothing_is_lost_and_less_is_done(wav: Callable[..., Path]) -> None:
    spoken, ring = sweep(1.0), Ring(5.0, RATE)
    source = open_wav(wav, spoken)
    blocks: list[int] = []
    capture = Capture(source, ring, highpass_hz=None, on_block=lambda: blocks.append(ring.written))
    capture.idle(True)
    capture.start()
    until(lambda: len(blocks) >= 4)
    capture.idle(False)
    until(lambda: ring.written >= len(spoken))
    capture.stop()
    source.close()
    assert blocks[0] == RATE // 10
    assert blocks[-1] - blocks[-2] == RATE // 50
    assert np.abs(ring.read(0, len(spoken)).astype(int) - spoken).max() <= 1


def test_the_thread_dies_of_its_card(wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_wav(wav, sweep(0.1))
    died: queue.Queue[threading.ExceptHookArgs] = queue.Queue()
    monkeypatch.setattr(threading, "excepthook", died.put)
    capture = Capture(source, Ring(1.0, RATE))
    capture.start()
    source.close()
    assert died.get(timeout=5.0).exc_type is AudioError
