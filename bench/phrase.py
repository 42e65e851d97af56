"""What the user of a bench says, and how much of it arrived: samples lost and doubled, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.talk import noise
from rig.realtime import RATE

if TYPE_CHECKING:
    from numpy.typing import NDArray

PHRASE_S = 1.0
STRETCH = RATE // 50
LIKE = 0.85  # the least correlation of a stretch that is found
NEAR = 48  # samples
PARTS = (-0.5, -0.25, 0.0, 0.25, 0.5)  # of a sample
ERROR, LEAST = 0.02, 30.0  # of the energy; of a sample, for where the phrase is silent
FADE_S = 0.004


def phrase(seed: int) -> NDArray[np.int16]:
    """Return what the user says: noise that swells and fades, as an edge would ring in the conversions."""
    sound = noise(PHRASE_S, RATE, seed).astype(np.float64)
    swell = np.sin(np.linspace(0, np.pi / 2, int(FADE_S * RATE))) ** 2
    sound[: len(swell)] *= swell
    sound[-len(swell) :] *= swell[::-1]
    return sound.astype(np.int16)


def count(said: NDArray[np.int16], got: NDArray[np.int16]) -> tuple[int, int]:
    """Count the samples of `said` that are not in `got`, and those that are there again."""
    copies = np.zeros(len(said), np.int64)
    finer = [_later(said, part) for part in PARTS]
    laid = got.astype(np.float64)
    for lags in _groups(_lags(said, got)):
        copies += max((_there(one, laid, lag) for lag in lags for one in finer), key=np.count_nonzero)
    return int((copies == 0).sum()), int(np.maximum(copies - 1, 0).sum())


def _later(sound: NDArray[np.int16], part: float) -> NDArray[np.float64]:
    """Return the sound later by a part of a sample: a turn begins anywhere between two samples."""
    turn = np.exp(-2j * np.pi * np.fft.rfftfreq(len(sound)) * part)
    later: NDArray[np.float64] = np.fft.irfft(np.fft.rfft(sound.astype(np.float64)) * turn, len(sound))
    return later


def _groups(lags: list[int]) -> list[list[int]]:
    """Put neighbours together: a lag between two of them is found as either."""
    groups: list[list[int]] = []
    for lag in lags:
        if groups and lag - groups[-1][-1] <= 1:
            groups[-1].append(lag)
        else:
            groups.append([lag])
    return groups


def _lags(said: NDArray[np.int16], got: NDArray[np.int16]) -> list[int]:
    """Return every lag at which a stretch of `said` is in `got`."""
    if len(got) < STRETCH:
        return []
    size = 1 << (len(got) + STRETCH).bit_length()
    spectrum = np.fft.rfft(got.astype(np.float64), size)
    power = np.convolve(got.astype(np.float64) ** 2, np.ones(STRETCH), "valid")
    lags: set[int] = set()
    for start in range(0, len(said) - STRETCH + 1, STRETCH // 2):
        stretch = said[start : start + STRETCH].astype(np.float64)
        match = np.fft.irfft(spectrum * np.conj(np.fft.rfft(stretch, size)), size)[: len(power)]
        likeness = match / np.maximum(np.linalg.norm(stretch) * np.sqrt(power), 1.0)
        peaks = np.flatnonzero(likeness > LIKE)
        lags |= {int(at) - start for at in peaks if likeness[at] >= likeness[max(0, at - 9) : at + 10].max()}
    return sorted(lags)


def _there(said: NDArray[np.float64], got: NDArray[np.float64], lag: int) -> NDArray[np.bool_]:
    """Say for each sample of `said` whether it is in `got` at this lag."""
    laid = np.zeros(len(said))
    begin, end = max(0, -lag), min(len(said), len(got) - lag)
    laid[begin:end] = got[begin + lag : end + lag]
    ones = np.ones(NEAR)
    wrong = np.convolve((laid - said) ** 2, ones)
    right = ERROR * np.convolve(said**2, ones) + NEAR * LEAST**2
    ends = (wrong <= right)[: len(said)]  # of the samples that end here
    begins = (wrong <= right)[NEAR - 1 :]
    there: NDArray[np.bool_] = ends | begins
    there[:begin] = there[end:] = False
    return there
