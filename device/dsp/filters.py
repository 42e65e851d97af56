"""What a microphone's samples need before they are speech: no DC and rumble, enough level, no clipping."""

from __future__ import annotations

from math import cos, pi, sin, sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Signal = NDArray[np.float32]

_STRIDE = 80  # divides 20 ms at 8, 16 and 48 kHz
_KNEE = 0.8  # of full scale; below it the limiter does nothing


class HighPass:
    """Second-order Butterworth high-pass (RBJ cookbook, Q = 1/sqrt 2), state kept from block to block.

    An IIR needs each output for the next. Written as a state space, `_STRIDE` outputs at once are one matrix
    product of the inputs and one of the state, and only the state is walked in Python.
    """

    def __init__(self, rate: int, cutoff_hz: float) -> None:
        a, b, c, d = _state_space(rate, cutoff_hz)
        powers = [np.eye(2)]
        for _ in range(_STRIDE):
            powers.append(a @ powers[-1])
        answer = np.array([d, *(float(c @ powers[n] @ b) for n in range(_STRIDE - 1))])
        ages = np.subtract.outer(np.arange(_STRIDE), np.arange(_STRIDE))
        forced = np.where(ages >= 0, answer[np.maximum(ages, 0)], 0.0)
        self._forced = np.ascontiguousarray(forced.T, dtype=np.float32)
        self._free = np.array([c @ powers[n] for n in range(_STRIDE)], np.float32).T.copy()
        self._drive = np.array([powers[_STRIDE - 1 - n] @ b for n in range(_STRIDE)], np.float32)
        self._powers = powers
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self._state = np.zeros(2)

    def process(self, signal: Signal) -> Signal:
        """Filter a block of any length; returns a new array of the same shape (frames,)."""
        whole = len(signal) // _STRIDE * _STRIDE
        parts = [self._many(signal[:whole].reshape(-1, _STRIDE))] if whole else []
        if whole < len(signal):
            parts.append(self._rest(signal[whole:]))
        return np.concatenate(parts) if len(parts) != 1 else parts[0]

    def _many(self, rows: Signal) -> Signal:
        ((a, b), (c, d)) = self._powers[_STRIDE].tolist()
        x, y = self._state.tolist()
        states = []
        for p, q in (rows @ self._drive).tolist():
            states.append((x, y))
            x, y = a * x + b * y + p, c * x + d * y + q
        self._state = np.array((x, y))
        out: Signal = rows @ self._forced + np.array(states, np.float32) @ self._free
        return out.reshape(-1)

    def _rest(self, signal: Signal) -> Signal:
        n = len(signal)
        out: Signal = signal @ self._forced[:n, :n] + self._state.astype(np.float32) @ self._free[:, :n]
        self._state = self._powers[n] @ self._state + signal @ self._drive[_STRIDE - n :]
        return out


class Gain:
    """A fixed gain in dB with a soft limiter, to PCM16."""

    def __init__(self, gain_db: float) -> None:
        self._factor = np.float32(10.0 ** (gain_db / 20.0))

    def process(self, signal: Signal) -> NDArray[np.int16]:
        """From full scale 1.0 to PCM16, shape (frames,). Above 0.8 peaks are bent, never cut."""
        loud = signal * self._factor
        if max(float(loud.max(initial=0.0)), -float(loud.min(initial=0.0))) > _KNEE:
            size = np.abs(loud)
            bent = _KNEE + (1.0 - _KNEE) * np.tanh((size - _KNEE) / (1.0 - _KNEE))
            loud = np.where(size > _KNEE, np.copysign(bent, loud), loud)
        pcm: NDArray[np.int16] = np.rint(loud * 32767.0).astype(np.int16)
        return pcm


def level_dbfs(samples: NDArray[np.int16]) -> float:
    """RMS level of PCM16 in dB below a full-scale square wave; silence is -120."""
    signal = samples.astype(np.float32)
    power = float(signal @ signal) / max(1, len(signal)) / 32768.0**2
    return float(10.0 * np.log10(max(power, 1e-12)))


def _state_space(
    rate: int, cutoff_hz: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]:
    # Transposed direct form II: s' = A s + B x, y = C s + D x.
    w = 2 * pi * cutoff_hz / rate
    alpha = sin(w) / sqrt(2)
    a0, a1, a2 = 1 + alpha, -2 * cos(w), 1 - alpha
    b0, b1, b2 = (1 + cos(w)) / 2 / a0, -(1 + cos(w)) / a0, (1 + cos(w)) / 2 / a0
    a1, a2 = a1 / a0, a2 / a0
    step = np.array([[-a1, 1.0], [-a2, 0.0]])
    return step, np.array([b1 - a1 * b0, b2 - a2 * b0]), np.array([1.0, 0.0]), b0
