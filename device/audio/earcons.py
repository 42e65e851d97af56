"""Earcons: the few short tones with which the device says what words would say too late."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from device.ports import Samples

_PEAK = 0.25  # of full scale: -12 dB, below a voice
_EDGE_S = 0.015
_GAP_S = 0.03
_OCTAVE = 0.2  # of the second harmonic: small speakers give little of the first below 500 Hz

# Hz and seconds of each tone. Heard apart by direction first, then by count: no ear for pitch is needed.
_TONES: dict[str, tuple[tuple[float, float], ...]] = {
    "lost": ((784.0, 0.12), (523.3, 0.20)),  # falls: what was said cannot be answered
    "back": ((523.3, 0.12), (784.0, 0.20)),  # rises: it works again
    "notice": ((659.3, 0.12), (659.3, 0.12)),  # twice the same: something ends soon
    "refused": ((440.0, 0.07), (440.0, 0.07), (440.0, 0.07)),  # knocks low three times: not now
}
NAMES = tuple(_TONES)


def earcon(name: str, rate: int) -> Samples:
    """Mono PCM16 of `rate` Hz, under 400 ms, with silent ends; KeyError for any other name."""
    gap = np.zeros(round(_GAP_S * rate))
    parts = [part for hertz, seconds in _TONES[name] for part in (_tone(hertz, seconds, rate), gap)]
    pcm: Samples = np.rint(np.concatenate(parts[:-1]) * _PEAK * 32767.0).astype(np.int16)
    return pcm


def _tone(hertz: float, seconds: float, rate: int) -> NDArray[np.float64]:
    turns = np.arange(round(seconds * rate)) * (2 * np.pi * hertz / rate)
    wave: NDArray[np.float64] = (np.sin(turns) + _OCTAVE * np.sin(2 * turns)) / (1 + _OCTAVE)
    edge = np.sin(np.linspace(0, np.pi / 2, round(_EDGE_S * rate))) ** 2  # raised cosine: a step would click
    wave[: len(edge)] *= edge
    wave[len(wave) - len(edge) :] *= edge[::-1]
    return wave
