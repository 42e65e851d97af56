"""Two clocks that differ by some parts per million: how much to stretch a sound, and the stretching."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from device.dsp.windows import windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.int16]

MOST = 1e-3  # of the rate: 1.7 cents, which nobody hears; crystals differ by a tenth of it
_SMOOTH_S = 2.0
_BANDWIDTH = 0.03  # rad/s: slower than any jitter, and 200 ppm make 2.5 ms until they are followed

_HALF = 8  # samples on each side of a point
_PHASES = 256
_AT_ONCE = 512  # points: what is made of them stays in the cache
_BETA = 6.0  # Kaiser window: 60 dB


class Drift:
    """Holds the level of a queue by a PI controller behind a low-pass.

    After F. Adriaensen, Controlling Adaptive Resampling (Linux Audio Conference 2012): critically damped, so
    proportional 2 w and integral w squared for a bandwidth of w.
    """

    def __init__(self, target_s: float) -> None:
        self._target_s = self._smooth_s = target_s
        self._learned = 0.0  # the difference of the clocks

    def observe(self, level_s: float, step_s: float) -> None:
        """The queue holds `level_s` of sound; `step_s` have passed since the last look."""
        self._smooth_s += (level_s - self._smooth_s) * step_s / _SMOOTH_S
        self._learned = _limited(self._learned + _BANDWIDTH**2 * self._error_s * step_s)

    @property
    def ratio(self) -> float:
        """Samples to be played for each that came, 1 plus or minus `MOST`: fewer when there are too many."""
        return 1.0 - _limited(self._learned + 2 * _BANDWIDTH * self._error_s)

    @property
    def _error_s(self) -> float:
        return self._smooth_s - self._target_s


class Stretch:
    """Mono PCM16 by a ratio near 1 that may change from block to block, as if it were one stream.

    Band-limited interpolation (J. O. Smith, Digital Audio Resampling Home Page): a Kaiser-windowed sinc of 16
    samples, read from a table of 256 phases with straight lines between them. Flat (0.1 dB) to 0.75 of the
    Nyquist frequency. It holds the last 8 samples back.
    """

    def __init__(self, before: Samples) -> None:
        # What was played just before, so that the switch to this one is not heard.
        start = np.zeros(_HALF - 1, np.float32)
        kept = before[-len(start) :].astype(np.float32)
        start[len(start) - len(kept) :] = kept
        self._line = start
        self._at = float(len(start))  # of the next output, in samples of `_line`

    def process(self, samples: Samples, ratio: float) -> Samples:
        """Everything that these samples make computable; shape (about frames * ratio,)."""
        line = np.concatenate((self._line, samples.astype(np.float32)))
        count = max(0, int(np.ceil((len(line) - _HALF - self._at) * ratio)))
        points = self._at + np.arange(count) / ratio
        out = np.empty(count, np.float32)
        for start in range(0, count, _AT_ONCE):
            some = points[start : start + _AT_ONCE]
            np.einsum("ij,ij->i", *_windows(line, some), out=out[start : start + _AT_ONCE])
        end = self._at + count / ratio
        gone = int(end) - _HALF + 1
        self._line, self._at = line[gone:], end - gone
        pcm: Samples = np.clip(np.rint(out), -32768, 32767).astype(np.int16)
        return pcm


def _windows(
    line: NDArray[np.float32], points: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    # Of each point the 16 samples around it and their weights.
    whole = points.astype(np.intp)
    phase = (points - whole) * _PHASES
    row = phase.astype(np.intp)
    share = (phase - row).astype(np.float32)[:, None]
    around = windows(line, 2 * _HALF)[whole - (_HALF - 1)]
    return around, _TABLE[row] + share * _SLOPE[row]


def _limited(share: float) -> float:
    return max(-MOST, min(MOST, share))


def _design() -> NDArray[np.float32]:
    # Row p: the weights of a point p/256 after the sample number `_HALF - 1` of its 16, oldest first.
    steps = np.arange(_HALF * 2) - (_HALF - 1) - np.arange(_PHASES + 1)[:, None] / _PHASES
    shape = np.sqrt(np.maximum(0.0, 1.0 - (steps / _HALF) ** 2))
    weights = np.sinc(steps) * np.i0(_BETA * shape) / np.i0(_BETA)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


_TABLE = _design()
_SLOPE = np.diff(_TABLE, axis=0)
