"""G.711 against the recommendation's figures, and against the standard library's where it still has them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from device.dsp.g711 import Law, decode, encode

LAWS: tuple[Law, ...] = ("ulaw", "alaw")
EVERY = np.arange(-32768, 32768).astype(np.int16)


@pytest.mark.parametrize(
    ("law", "sample", "code"),
    [
        ("ulaw", 0, 0xFF),  # tables 2a and 2b of the recommendation: the smallest and the largest values
        ("ulaw", 32767, 0x80),
        ("ulaw", -32768, 0x00),
        ("alaw", 0, 0xD5),
        ("alaw", -1, 0x55),
        ("alaw", 32767, 0xAA),
        ("alaw", -32768, 0x2A),
    ],
)
def test_known_codes(law: Law, sample: int, code: int) -> None:
    assert encode(np.array([sample], np.int16), law) == bytes([code])


@pytest.mark.parametrize(("law", "largest", "smallest"), [("ulaw", 32124, 0), ("alaw", 32256, 8)])
def test_the_values_of_the_codes(law: Law, largest: int, smallest: int) -> None:
    values = decode(bytes(range(256)), law)
    assert values.dtype == np.int16
    assert (values.max(), values.min()) == (largest, -largest)
    assert np.abs(values.astype(int)).min() == smallest


@pytest.mark.parametrize("law", LAWS)
def test_every_code_survives_the_way_there_and_back(law: Law) -> None:
    codes = bytes(range(256))
    back = encode(decode(codes, law), law)
    minus_zero = {0x7F: 0xFF} if law == "ulaw" else {}  # mu-law has two zeros, PCM one
    assert list(back) == [minus_zero.get(code, code) for code in codes]


@pytest.mark.parametrize(("law", "floor"), [("ulaw", 8), ("alaw", 16)])
def test_the_error_is_a_share_of_the_sample(law: Law, floor: int) -> None:
    error = np.abs(decode(encode(EVERY, law), law).astype(int) - EVERY)
    assert (error <= np.abs(EVERY.astype(int)) / 32 + floor).all()


@pytest.mark.parametrize("law", LAWS)
def test_a_voice_keeps_38_db_above_the_noise(law: Law) -> None:
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)).astype(np.int16)
    noise = decode(encode(tone, law), law).astype(float) - tone
    assert 10 * np.log10(np.mean(tone.astype(float) ** 2) / np.mean(noise**2)) > 37


@pytest.mark.parametrize("law", LAWS)
def test_it_is_what_the_standard_library_says(law: Law) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        audioop: Any = pytest.importorskip("audioop")
    pcm = EVERY.astype("<i2").tobytes()
    assert encode(EVERY, law) == getattr(audioop, f"lin2{law}")(pcm, 2)
    codes = bytes(range(256))
    assert decode(codes, law).astype("<i2").tobytes() == getattr(audioop, f"{law}2lin")(codes, 2)


def test_nothing_is_nothing() -> None:
    assert encode(np.zeros(0, np.int16), "ulaw") == b""
    assert decode(b"", "alaw").shape == (0,)
