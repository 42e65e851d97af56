"""Following another clock, and the stretching of a sound by parts per million."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.dsp.drift import MOST, Drift, Stretch

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE = 16_000


def sine(hertz: float, count: int, ratio: float = 1.0) -> NDArray[np.float64]:
    turns = hertz / RATE * np.arange(count, dtype=np.float64) / ratio
    return np.asarray(12_000 * np.sin(2 * np.pi * turns))


def stretched(sound: NDArray[np.float64], ratio: float, size: int) -> NDArray[np.int16]:
    pcm = np.rint(sound).astype(np.int16)
    stretch = Stretch(np.zeros(0, np.int16))
    pieces = range(0, len(pcm), size)
    return np.concatenate([stretch.process(pcm[at : at + size], ratio) for at in pieces])


@pytest.mark.parametrize("size", [1, 7, 160, 1_600, 32_000])
@pytest.mark.parametrize("ratio", [1.0, 1.0 + MOST, 1.0 - MOST, 1.0002])
def test_a_tone_is_stretched_as_if_it_were_one_piece(size: int, ratio: float) -> None:
    sound = sine(1_000, 4_000 if size < 100 else 32_000)
    out = stretched(sound, ratio, size)
    assert len(out) == pytest.approx((len(sound) - 8) * ratio, abs=1.5)
    error = out[100:] - sine(1_000, len(out), ratio)[100:]
    assert np.sqrt(np.mean(error**2)) < 12_000 / np.sqrt(2) * 10 ** (-60 / 20)


@pytest.mark.parametrize(("hertz", "db"), [(100, 0.05), (3_000, 0.1), (6_000, 0.1)])
def test_it_is_flat_to_three_quarters_of_the_nyquist_frequency(hertz: float, db: float) -> None:
    out = stretched(sine(hertz, RATE * 2), 1.0003, 1_600)[200:-200].astype(float)
    level = 20 * np.log10(np.sqrt(np.mean(out**2)) / (12_000 / np.sqrt(2)))
    assert abs(level) < db


def test_it_takes_over_without_a_click() -> None:
    sound = np.rint(sine(440, 4_000)).astype(np.int16)
    stretch = Stretch(sound[:2_000])
    joined = np.concatenate((sound[:2_000], stretch.process(sound[2_000:], 1.0)))
    assert np.abs(joined.astype(int) - sound[: len(joined)]).max() <= 1


def test_full_scale_does_not_wrap() -> None:
    square = np.where(np.arange(8_000) // 50 % 2, 32_767, -32_768).astype(np.int16)
    out = Stretch(np.zeros(0, np.int16)).process(square, 1.0005)
    assert (np.sign(out[20:45]) == np.sign(square[20:45])).all()
    assert np.abs(np.diff(np.sign(out[np.abs(out) > 20_000]))).sum() <= 2 * 161


def settle(ppm: float, jitter_s: float, seconds: float) -> tuple[float, float, list[float]]:
    """A queue that is filled by another clock: its level and the ratio at the end, and every ratio."""
    dice = np.random.default_rng(3)
    drift, level, ratios = Drift(0.1), 0.1, []
    for _ in range(int(seconds * 50)):
        level += 0.02 * (1 + ppm * 1e-6) - 0.02 / drift.ratio
        drift.observe(level + dice.uniform(-jitter_s, jitter_s), 0.02)
        ratios.append(drift.ratio)
    return level, drift.ratio, ratios


@pytest.mark.parametrize("ppm", [200, -200, 50])
def test_the_level_comes_back_and_the_ratio_is_that_of_the_clocks(ppm: float) -> None:
    level, ratio, _ = settle(ppm, 0.0, 600)
    assert level == pytest.approx(0.1, abs=0.0001)
    assert (1 / ratio - 1) * 1e6 == pytest.approx(ppm, abs=2)


def test_jitter_does_not_make_it_waver() -> None:
    level, _, ratios = settle(200, 0.04, 900)
    assert level == pytest.approx(0.1, abs=0.005)
    late = np.array(ratios[-300 * 50 :])
    assert np.std(1 / late - 1) * 1e6 < 100


def test_it_never_goes_further_than_nobody_hears() -> None:
    _, ratio, ratios = settle(5_000, 0.0, 300)
    assert min(ratios) == ratio == pytest.approx(1 - MOST)
    assert settle(-5_000, 0.0, 300)[1] == pytest.approx(1 + MOST)
