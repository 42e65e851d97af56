"""24 kHz to 16 kHz: the same sound, no seams, nothing above 8 kHz folded down."""

from __future__ import annotations

import numpy as np
import pytest

from companion.local.audio import ToEar, pcm16


def tone(hz: float, seconds: float = 0.5, rate: int = 24_000) -> bytes:
    return pcm16((0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32))


def samples(pcm: bytes) -> np.ndarray:
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def test_blocks_of_any_size_give_the_same_sound() -> None:
    pcm = tone(440)
    whole = ToEar()(pcm)
    rng = np.random.default_rng(1)
    ear, out, at = ToEar(), b"", 0
    while at < len(pcm):
        size = 2 * int(rng.integers(1, 700))
        out += ear(pcm[at : at + size])
        at += size
    assert out == whole
    assert len(whole) // 2 == pytest.approx(8000, abs=20)


@pytest.mark.parametrize("hz", [100, 1000, 4000, 6000])
def test_a_tone_keeps_its_pitch_and_level(hz: int) -> None:
    got = samples(ToEar()(tone(hz)))[200:-200]
    spectrum = np.abs(np.fft.rfft(got * np.hanning(len(got))))
    assert np.argmax(spectrum) * 16_000 / len(got) == pytest.approx(hz, abs=5)
    assert np.sqrt(np.mean(got**2)) == pytest.approx(0.5 * 32767 / np.sqrt(2), rel=0.1)


def test_what_16_khz_cannot_hold_is_taken_out() -> None:
    got = samples(ToEar()(tone(9500)))[200:-200]
    assert np.sqrt(np.mean(got**2)) < 0.01 * 32767


def test_full_scale_does_not_wrap() -> None:
    square = np.where(np.arange(24_000) % 48 < 24, 1.0, -1.0).astype(np.float32)
    got = samples(ToEar()(pcm16(square)))
    inside = got[1000 : 1000 + 320].reshape(-1, 32)
    assert inside.max() == 32767
    assert (np.sign(inside[:, 4]) == np.sign(inside[0, 4])).all()
