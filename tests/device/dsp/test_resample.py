"""The resampler: exact against mathematics, the same in whatever blocks it is fed."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.dsp.resample import Resampler

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATES = (8_000, 16_000, 24_000, 48_000)
PAIRS = list(itertools.product(RATES, RATES))
CHANGES = [pair for pair in PAIRS if pair[0] != pair[1]]


def sine(hz: float, rate: int, seconds: float = 0.5, peak: float = 16_000.0) -> NDArray[np.int16]:
    tone = peak * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)
    return np.asarray(np.rint(tone), np.int16)


def level_db(samples: NDArray[np.int16], rate: int, peak: float = 16_000.0) -> float:
    settled = samples[rate // 10 :].astype(np.float64)
    return float(20 * np.log10(np.sqrt(2 * np.mean(settled**2)) / peak + 1e-9))


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_sine_comes_out_clean_and_as_late_as_stated(source: int, target: int) -> None:
    resampler = Resampler(source, target)
    out = resampler.process(sine(997.0, source)).astype(np.float64)
    at = np.arange(len(out)) / target - resampler.delay_s
    wanted = 16_000 * np.sin(2 * np.pi * 997.0 * at)
    settled = slice(target // 10, None)
    noise = np.mean((out[settled] - wanted[settled]) ** 2)
    assert 10 * np.log10(np.mean(wanted[settled] ** 2) / noise) > 75


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("seed", range(3))
def test_block_borders_leave_no_trace(source: int, target: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    samples = random.integers(-20_000, 20_000, source // 2).astype(np.int16)
    whole = Resampler(source, target).process(samples)
    resampler, parts, at = Resampler(source, target), [], 0
    while at < len(samples):
        size = int(random.choice([1, 2, 7, 160, 333, 960, 4_800]))
        parts.append(resampler.process(samples[at : at + size]))
        at += size
    split = np.concatenate(parts)
    assert len(split) == len(whole)
    assert np.abs(split.astype(int) - whole).max() <= 1  # the order of a float sum


@pytest.mark.parametrize(("source", "target"), CHANGES)
def test_as_many_come_out_as_time_has_passed(source: int, target: int) -> None:
    resampler = Resampler(source, target)
    count = sum(len(resampler.process(np.zeros(source // 50, np.int16))) for _ in range(50))
    assert count == target


@pytest.mark.parametrize(("source", "target"), CHANGES)
def test_speech_passes_unchanged(source: int, target: int) -> None:
    hz = 0.75 * min(source, target) / 2
    assert abs(level_db(Resampler(source, target).process(sine(hz, source)), target)) < 0.15


@pytest.mark.parametrize(("source", "target"), [pair for pair in CHANGES if pair[0] > pair[1]])
@pytest.mark.parametrize("beyond", [1.1, 1.25, 1.5, 1.9])
def test_what_the_lower_rate_cannot_hold_does_not_fold_back(source: int, target: int, beyond: float) -> None:
    hz = beyond * target / 2
    if hz < source / 2:
        assert level_db(Resampler(source, target).process(sine(hz, source)), target) < -78


@pytest.mark.parametrize(("source", "target"), [pair for pair in CHANGES if pair[0] < pair[1]])
def test_no_images_above_the_lower_rate(source: int, target: int) -> None:
    out = Resampler(source, target).process(sine(0.6 * source / 2, source, seconds=1.0))
    spectrum = np.abs(np.fft.rfft(out[target // 4 : -target // 4] * np.hanning(len(out) // 2)))
    hz = np.fft.rfftfreq(len(out) // 2, 1 / target)
    assert spectrum[hz > 1.1 * source / 2].max() < spectrum.max() * 10 ** (-75 / 20)


@pytest.mark.parametrize(("source", "target"), CHANGES)
def test_reset_forgets(source: int, target: int) -> None:
    samples = sine(440, source)
    fresh = Resampler(source, target).process(samples)
    used = Resampler(source, target)
    used.process(np.full(777, 9_999, np.int16))
    used.reset()
    assert np.array_equal(used.process(samples), fresh)


def test_full_scale_does_not_wrap() -> None:
    square = np.repeat(np.array([32767, -32768] * 50, np.int16), 20)
    out = Resampler(24_000, 48_000).process(square).astype(int)
    assert out[200:].max() == 32767
    assert np.abs(np.diff(np.sign(out[200:]))).sum() / 2 <= 100  # a wrap would cross zero more often


def test_nothing_in_nothing_out() -> None:
    assert len(Resampler(24_000, 48_000).process(np.zeros(0, np.int16))) == 0
