"""High-pass, gain and limiter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from device.dsp.filters import Gain, HighPass, level_dbfs


def gain_db(rate: int, hz: float) -> float:
    tone = np.sin(2 * np.pi * hz * np.arange(2 * rate) / rate).astype(np.float32)
    out = HighPass(rate, 80.0).process(tone)[rate:]
    return float(20 * np.log10(out.std() * np.sqrt(2)))


def textbook(signal: Any, rate: int) -> Any:
    """The same filter, sample by sample, as the cookbook writes it."""
    w = 2 * np.pi * 80.0 / rate
    alpha, cosine = np.sin(w) / np.sqrt(2), np.cos(w)
    b = np.array([(1 + cosine) / 2, -(1 + cosine), (1 + cosine) / 2]) / (1 + alpha)
    a = np.array([-2 * cosine, 1 - alpha]) / (1 + alpha)
    out = np.zeros(len(signal) + 2)
    line = np.concatenate((np.zeros(2), signal))
    for n in range(2, len(line)):
        out[n] = b @ line[n - 2 : n + 1][::-1] - a @ out[n - 2 : n][::-1]
    return out[2:]


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_it_is_the_filter_of_the_cookbook(rate: int) -> None:
    signal = np.random.default_rng(1).standard_normal(3_000).astype(np.float32)
    assert np.abs(HighPass(rate, 80.0).process(signal) - textbook(signal, rate)).max() < 1e-4


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_rumble_goes_and_speech_stays(rate: int) -> None:
    assert gain_db(rate, 20.0) < -23
    assert gain_db(rate, 80.0) == pytest.approx(-3.0, abs=0.1)
    assert abs(gain_db(rate, 300.0)) < 0.1


def test_a_large_offset_is_gone_within_a_second() -> None:
    signal = (np.full(96_000, 0.5) + 1e-3 * np.sin(np.arange(96_000))).astype(np.float32)
    out = HighPass(48_000, 80.0).process(signal)[48_000:]
    assert abs(float(out.mean())) < 1e-4


def test_block_borders_leave_no_trace() -> None:
    random = np.random.default_rng(2)
    signal = random.standard_normal(20_000).astype(np.float32)
    whole = HighPass(48_000, 80.0).process(signal)
    highpass, parts, at = HighPass(48_000, 80.0), [], 0
    while at < len(signal):
        size = int(random.choice([1, 79, 80, 81, 320, 960, 1_000]))
        parts.append(highpass.process(signal[at : at + size]))
        at += size
    assert np.abs(np.concatenate(parts) - whole).max() < 1e-4


def test_gain_is_exact_below_the_knee() -> None:
    signal = np.linspace(-0.07, 0.07, 500, dtype=np.float32)
    out = Gain(20.0).process(signal)
    assert np.abs(out - np.rint(signal * 10 * 32767)).max() <= 1


def test_the_limiter_bends_and_never_clips() -> None:
    signal = np.linspace(-1.0, 1.0, 2_001, dtype=np.float32)
    out = Gain(24.0).process(signal).astype(int)
    assert np.all(np.diff(out) >= 0)  # loud stays louder: nothing wraps
    assert -32767 <= out.min() < -32000
    assert 32000 < out.max() <= 32767


@pytest.mark.parametrize(("value", "dbfs"), [(32767, 0.0), (3277, -20.0), (0, -120.0)])
def test_levels(value: int, dbfs: float) -> None:
    assert level_dbfs(np.full(960, value, np.int16)) == pytest.approx(dbfs, abs=0.01)
