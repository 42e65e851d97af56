"""Streaming sample-rate conversion by a rational factor: polyphase FIR, no clicks at block borders."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd, pi
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STOP_DB = 80.0
_BETA = 0.1102 * (_STOP_DB - 8.7)  # Kaiser's formula


@lru_cache(maxsize=16)
def _phases(from_hz: int, to_hz: int) -> NDArray[np.float32]:
    """Return the filter, one row a phase: pass band to 0.44, stop band from 0.54 of the lower rate.

    Length by Kaiser's formula (Oppenheim and Schafer, Discrete-Time Signal Processing, 7.5.3).
    """
    up = to_hz // gcd(from_hz, to_hz)
    low = min(from_hz, to_hz)
    width = 2 * pi * 0.1 * low / (from_hz * up)
    taps = ceil((_STOP_DB - 7.95) / (2.285 * width) / up)
    at = np.arange(taps * up) - (taps * up - 1) / 2
    cutoff = 0.49 * low / (from_hz * up)
    prototype = 2 * cutoff * np.sinc(2 * cutoff * at) * np.kaiser(taps * up, _BETA) * up
    return np.ascontiguousarray(prototype.reshape(taps, up).T[:, ::-1]).astype(np.float32)


class Resampler:
    """Converts mono int16 from `from_hz` to `to_hz`. `delay_s`: how much later the sound comes out."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        divisor = gcd(from_hz, to_hz)
        self._up, self._down = to_hz // divisor, from_hz // divisor
        self._filter = _phases(from_hz, to_hz)
        self._taps = self._filter.shape[1]
        self.delay_s = 0.0 if from_hz == to_hz else (self._taps * self._up - 1) / 2 / (from_hz * self._up)
        self.reset()

    def reset(self) -> None:
        """Forget the past: the next sample is the first."""
        self._past = np.zeros(self._taps - 1, np.float32)
        self._phase = 0  # of the next output sample, in steps of the common rate, counted from the next input

    def process(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """Convert the next block, shape (frames,); how many come out follows from all that went in."""
        if self._up == self._down:
            return samples
        line = np.concatenate((self._past, samples.astype(np.float32)))
        span = len(samples) * self._up
        steps = np.arange(self._phase, span, self._down)
        self._phase += len(steps) * self._down - span
        self._past = line[len(samples) :]
        if not len(steps):
            return np.zeros(0, np.int16)
        windows = sliding_window_view(line, self._taps)[steps // self._up]
        out = np.einsum("ij,ij->i", windows, self._filter[steps % self._up])
        pcm: NDArray[np.int16] = np.clip(np.rint(out), -32768, 32767).astype(np.int16)
        return pcm
