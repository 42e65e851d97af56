"""From the card's samples to mono PCM16: channel pick, high-pass, gain, soft limiter."""

from __future__ import annotations

from math import cos, pi, sin, sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KNEE = 0.8  # of full scale; above it the limiter bends


class HighPass:
    """A second-order Butterworth high-pass without a loop over samples.

    Coefficients: R. Bristow-Johnson, Audio EQ Cookbook. The signal goes in pieces of 160 samples, y = H x + F s:
    H the triangular matrix of the impulse response, s the two state variables, F their free response.
    """

    PIECE = 160

    def __init__(self, rate: int, cutoff_hz: float) -> None:
        w0 = 2 * pi * cutoff_hz / rate
        alpha = sin(w0) / sqrt(2)
        a0 = 1 + alpha
        b0, b1 = (1 + cos(w0)) / 2 / a0, -(1 + cos(w0)) / a0
        a1, a2 = -2 * cos(w0) / a0, (1 - alpha) / a0
        step = np.array([[-a1, 1.0], [-a2, 0.0]])  # transposed direct form II
        drive = np.array([b1 - a1 * b0, b0 - a2 * b0])
        powers = [np.eye(2)]
        for _ in range(self.PIECE):
            powers.append(step @ powers[-1])
        impulse = np.array([b0, *(float((power @ drive)[0]) for power in powers[: self.PIECE - 1])])
        lags = np.subtract.outer(np.arange(self.PIECE), np.arange(self.PIECE))
        self._impulse = np.where(lags >= 0, impulse[np.abs(lags)], 0.0).astype(np.float32).T
        self._free = np.array([power[0] for power in powers[: self.PIECE]]).T
        self._carry = np.array([power @ drive for power in powers[: self.PIECE]])[::-1]
        self._forward = powers[self.PIECE].T
        self._state = np.zeros(2)

    def process(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Filter the next samples; their number must be a multiple of 160."""
        pieces = samples.reshape(-1, self.PIECE)
        driven = pieces @ self._carry
        states = np.empty((len(pieces), 2))
        for n, push in enumerate(driven):
            states[n] = self._state
            self._state = self._state @ self._forward + push
        out: NDArray[np.float32] = (pieces @ self._impulse + states @ self._free).astype(np.float32)
        return out.reshape(-1)


class Conditioner:
    """Makes mono int16 of a card's block, shape (frames, channels), int16 or left-justified int32."""

    def __init__(
        self, rate: int, *, channel: int | str, gain_db: float = 0.0, highpass_hz: float = 0.0
    ) -> None:
        self._channel = channel
        self._gain = 10 ** (gain_db / 20)
        self._highpass = HighPass(rate, highpass_hz) if highpass_hz else None

    def process(self, frames: NDArray[np.int16] | NDArray[np.int32]) -> NDArray[np.int16]:
        """Convert one block. A board without gain and filter gets its samples bit for bit."""
        if self._gain == 1.0 and self._highpass is None and self._channel != "mix":
            picked = frames[:, int(self._channel)]
            shift = 0 if picked.dtype == np.int16 else 16
            return (picked >> shift).astype(np.int16)
        scale = 1 / 32768 if frames.dtype == np.int16 else 1 / 2**31
        mono = frames.mean(axis=1) if self._channel == "mix" else frames[:, int(self._channel)]
        signal = mono.astype(np.float32) * np.float32(scale)
        if self._highpass is not None:
            signal = self._highpass.process(signal)
        return to_pcm16(limit(signal * np.float32(self._gain)))


def limit(signal: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bend what is above the knee so that nothing exceeds full scale; below it nothing changes."""
    size = np.abs(signal)
    if size.size == 0 or float(size.max()) <= _KNEE:
        return signal
    bent = _KNEE + (1 - _KNEE) * np.tanh((size - _KNEE) / (1 - _KNEE))
    return np.where(size > _KNEE, np.copysign(bent, signal), signal).astype(np.float32)


def to_pcm16(signal: NDArray[np.float32]) -> NDArray[np.int16]:
    """Round -1 … 1 to int16."""
    return np.clip(np.rint(signal * 32768), -32768, 32767).astype(np.int16)


def volume_gain(percent: int) -> float:
    """Return the factor for a volume of 0 to 100: 40 dB below full at 1, evenly by ear between, 0 at 0."""
    return 0.0 if percent <= 0 else 10 ** ((percent - 100) * 0.4 / 20)
