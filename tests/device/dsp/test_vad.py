"""Speech detection on synthetic speech in noise."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hibari import Hibari

from device.dsp.resample import Resampler
from device.dsp.vad import Vad, VadSettings
from device.errors import AudioError

RATE = 16_000
FRAME_S = 0.02


@pytest.fixture(scope="module")
def sentence() -> Any:
    spoken = np.asarray(Hibari()("What time is it in the morning?"), np.float32)
    spoken = spoken / np.abs(spoken).max() * 12_000
    samples = Resampler(24_000, RATE).process(spoken.astype(np.int16))
    loud = np.flatnonzero(np.abs(samples.astype(int)) > 500)
    return samples[loud[0] : loud[-1]]


def scene(
    sentence: Any, noise_rms: float = 0.0, gain: float = 1.0, pause_s: float = 1.5
) -> tuple[Any, float, float]:
    """Silence, the sentence, silence, with noise over all of it; and where the sentence lies, in seconds."""
    pause = np.zeros(int(pause_s * RATE))
    clean = np.concatenate((pause, sentence * gain, pause))
    noise = np.random.default_rng(3).standard_normal(len(clean)) * noise_rms
    return (clean + noise).astype(np.int16), pause_s, pause_s + len(sentence) / RATE


def changes(samples: Any, settings: VadSettings | None = None) -> list[tuple[bool, float]]:
    vad = Vad(RATE, settings or VadSettings())
    found = []
    for n in range(len(samples) // vad.frame):
        change = vad.push(samples[n * vad.frame : (n + 1) * vad.frame])
        if change is not None:
            found.append((change, (n + 1) * FRAME_S))
    return found


@pytest.mark.parametrize("noise_rms", [0.0, 30.0, 100.0])
def test_a_sentence_begins_once_and_ends_once(sentence: Any, noise_rms: float) -> None:
    samples, start_s, end_s = scene(sentence, noise_rms)
    (began, began_s), (ended, ended_s) = changes(samples)
    assert (began, ended) == (True, False)
    assert start_s < began_s < start_s + 0.5
    assert end_s - 0.3 < ended_s - 0.7 < end_s + 0.2


@pytest.mark.parametrize("rms", [0.0, 20.0, 300.0, 2_000.0])
def test_noise_alone_is_no_speech(rms: float) -> None:
    noise = (np.random.default_rng(4).standard_normal(RATE * 10) * rms).astype(np.int16)
    assert changes(noise) == []


def test_what_is_below_the_floor_is_no_speech(sentence: Any) -> None:
    samples, _, _ = scene(sentence, gain=0.01)
    assert changes(samples) == []
    assert changes(samples, VadSettings(energy_floor_dbfs=-80.0, noise_margin_db=0.0)) != []


def test_a_click_starts_nothing() -> None:
    samples = np.zeros(RATE * 2, np.int16)
    samples[RATE : RATE + 400] = np.random.default_rng(5).integers(-20_000, 20_000, 400)
    assert changes(samples) == []


def test_a_pause_shorter_than_the_end_does_not_split_a_turn(sentence: Any) -> None:
    samples, _, _ = scene(sentence, pause_s=0.2)
    twice = np.concatenate((np.zeros(RATE, np.int16), samples, samples, np.zeros(2 * RATE, np.int16)))
    assert [began for began, _ in changes(twice)] == [True, False]
    assert [began for began, _ in changes(twice, VadSettings(end_ms=200))].count(True) >= 2


def test_reset_forgets_a_speaker(sentence: Any) -> None:
    vad = Vad(RATE, VadSettings())
    began = [vad.push(sentence[n : n + vad.frame]) for n in range(0, RATE, vad.frame)]
    assert True in began
    assert vad.speaking
    vad.reset()
    assert not vad.speaking


@pytest.mark.parametrize("rate", [8_000, 16_000, 32_000, 48_000])
def test_frames_are_20_ms_at_every_rate_of_a_card(rate: int) -> None:
    vad = Vad(rate, VadSettings())
    assert vad.frame == rate // 50
    assert vad.push(np.zeros(vad.frame, np.int16)) is None


def test_another_rate_is_refused_by_name() -> None:
    with pytest.raises(AudioError, match="8000, 16000, 32000 or 48000 Hz, not at 44100"):
        Vad(44_100, VadSettings())


def test_a_missing_engine_is_named_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webrtcvad", None)
    with pytest.raises(AudioError, match="pip install webrtcvad-wheels"):
        Vad(RATE, VadSettings())
