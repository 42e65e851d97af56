"""Earcons: soft, short, without a click, and heard apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.audio.earcons import NAMES, earcon

if TYPE_CHECKING:
    from numpy.typing import NDArray


def tones(pcm: NDArray[np.int16], rate: int) -> list[int]:
    """The pitch of each tone, in Hz, rounded to 20."""
    loud = np.abs(pcm.astype(int)) > 200
    near = np.convolve(loud, np.ones(rate // 100), "same") > 0  # a zero crossing is no gap
    edges = np.flatnonzero(np.diff(np.concatenate(([0], near, [0]))))
    pitches = []
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        spectrum = np.abs(np.fft.rfft(pcm[start:end], rate))  # a bin a hertz
        pitches.append(round(int(np.argmax(spectrum)) / 20) * 20)
    return pitches


@pytest.mark.parametrize("rate", [16_000, 48_000])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_short_soft_and_does_not_click(name: str, rate: int) -> None:
    pcm = earcon(name, rate)
    assert pcm.dtype == np.int16
    assert 0.1 * rate < len(pcm) < 0.4 * rate
    assert 0.15 * 32768 < np.abs(pcm.astype(int)).max() <= 0.25 * 32768
    assert pcm[0] == 0
    assert abs(int(pcm[-1])) < 5
    steepest = 0.25 * 32768 * 2 * np.pi * 784.0 * 1.4 / rate  # of the highest tone with its octave
    assert np.abs(np.diff(pcm.astype(int))).max() <= steepest


def test_each_has_its_own_melody() -> None:
    heard = {name: tones(earcon(name, 48_000), 48_000) for name in NAMES}
    assert heard["lost"][0] > heard["lost"][1]
    assert heard["back"] == heard["lost"][::-1]
    assert len(heard["notice"]) == 2
    assert heard["notice"][0] == heard["notice"][1]
    assert heard["refused"] == [440, 440, 440]


def test_a_name_that_is_none_is_a_bug() -> None:
    with pytest.raises(KeyError, match="hooray"):
        earcon("hooray", 48_000)
