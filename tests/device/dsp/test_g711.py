"""G.711 against the recommendation's figures, and against the standard library's where it still has them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from device.dsp.g711 import Law, decode, encode

if TYPE_CHECKING:
    from numpy.typing import NDArray

LAWS: tuple[Law, ...] = ("ulaw", "alaw")
EVERY = np.arange(-32768, 32768).astype("<i2")
CODES = bytes(range(256))


def there_and_back(samples: NDArray[Any], law: Law) -> NDArray[np.int64]:
    return values(decode(encode(samples.astype("<i2").tobytes(), law), law))


def values(pcm: bytes) -> NDArray[np.int64]:
    return np.frombuffer(pcm, "<i2").astype(np.int64)


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
    assert encode(sample.to_bytes(2, "little", signed=True), law) == bytes([code])


@pytest.mark.parametrize(("law", "largest", "smallest"), [("ulaw", 32124, 0), ("alaw", 32256, 8)])
def test_the_values_of_the_codes(law: Law, largest: int, smallest: int) -> None:
    got = values(decode(CODES, law))
    assert (got.max(), got.min(), np.abs(got).min()) == (largest, -largest, smallest)


@pytest.mark.parametrize("law", LAWS)
def test_every_code_survives_the_way_there_and_back(law: Law) -> None:
    back = encode(decode(CODES, law), law)
    minus_zero = {0x7F: 0xFF} if law == "ulaw" else {}  # mu-law has two zeros, PCM one
    assert list(back) == [minus_zero.get(code, code) for code in CODES]


@pytest.mark.parametrize(("law", "floor"), [("ulaw", 8), ("alaw", 16)])
def test_the_error_is_a_share_of_the_sample(law: Law, floor: int) -> None:
    error = np.abs(there_and_back(EVERY, law) - EVERY)
    assert (error <= np.abs(EVERY.astype(int)) / 32 + floor).all()


@pytest.mark.parametrize("law", LAWS)
def test_a_tone_stands_37_db_above_the_noise(law: Law) -> None:
    tone = np.rint(8000 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000))
    noise = there_and_back(tone, law) - tone
    assert 10 * np.log10(np.mean(tone**2) / np.mean(noise**2)) > 37


@pytest.mark.parametrize("law", LAWS)
def test_it_is_what_the_standard_library_says(law: Law) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        audioop: Any = pytest.importorskip("audioop")
    assert encode(EVERY.tobytes(), law) == getattr(audioop, f"lin2{law}")(EVERY.tobytes(), 2)
    assert decode(CODES, law) == getattr(audioop, f"{law}2lin")(CODES, 2)


def test_nothing_is_nothing() -> None:
    assert encode(b"", "ulaw") == decode(b"", "alaw") == b""
