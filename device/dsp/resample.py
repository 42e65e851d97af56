"""Streaming change of sample rate by rational ratios."""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING

import numpy as np

from device.dsp.windows import windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.int16]

_REACH = 16  # samples of the lower rate on each side of a point
_BETA = 8.0  # Kaiser window: the stop band is 80 dB down
_CUTOFF = 0.92  # of the lower rate's Nyquist frequency


class Resampler:
    """Mono PCM16 from one rate to another, block by block, as if it were one stream.

    A polyphase FIR (Oppenheim and Schafer, Discrete-Time Signal Processing, 4.6 and 7.5): a Kaiser-windowed
    sinc of 32 samples of the lower rate, so the delay is 16 of them: 1 ms at 16 kHz, 0.67 ms at 24 kHz. Of
    the lower Nyquist frequency, flat (0.1 dB) to 0.75, -6 dB at 0.92, more than 80 dB down from 1.1 on.
    Equal rates pass through untouched and without delay.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        common = gcd(from_hz, to_hz)
        self.from_hz, self.to_hz = from_hz, to_hz
        self._up, self._down = to_hz // common, from_hz // common
        self._taps = 1 + -(-2 * _REACH * max(self._up, self._down) // self._up)  # of one phase
        self._phases = _design(self._up, self._down, self._taps)
        self.reset()

    @property
    def delay_s(self) -> float:
        """How much later a sample comes out than it went in, in seconds."""
        return 0.0 if self._up == self._down else _REACH / min(self.from_hz, self.to_hz)

    def reset(self) -> None:
        """Forget the past: the next sample is the first."""
        self._history = np.zeros(self._taps - 1, np.float32)
        self._skip = 0  # prototype-rate steps from the next new input sample to the next output

    def process(self, samples: Samples) -> Samples:
        """Everything that these samples make computable; shape (about frames * to / from,)."""
        if self._up == self._down:
            return samples
        line = np.concatenate((self._history, samples.astype(np.float32)))
        count = max(0, -(-(len(samples) * self._up - self._skip) // self._down))
        out = np.empty(count, np.float32)
        for first in range(min(self._up, count)):
            step = self._skip + first * self._down
            around = windows(line, self._taps)[step // self._up :: self._down]
            share = out[first :: self._up]
            np.matmul(around[: len(share)], self._phases[step % self._up], out=share)
        self._skip += count * self._down - len(samples) * self._up
        self._history = line[len(line) - self._taps + 1 :]
        np.rint(out, out=out)
        return np.clip(out, -32768, 32767, out=out).astype(np.int16)


def _design(up: int, down: int, taps: int) -> NDArray[np.float32]:
    # Row p: the filter of an output p/up after an input sample, oldest input first.
    wide = max(up, down)
    steps = np.arange(taps * up) - _REACH * wide
    inside = np.abs(steps) <= _REACH * wide
    shape = np.sqrt(np.maximum(0.0, 1.0 - (steps / (_REACH * wide)) ** 2))
    prototype = np.sinc(_CUTOFF * steps / wide) * np.i0(_BETA * shape) / np.i0(_BETA) * inside
    prototype *= up / prototype.sum()
    return np.ascontiguousarray(prototype.reshape(taps, up).T[:, ::-1], dtype=np.float32)
