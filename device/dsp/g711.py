"""G.711 mu-law and A-law: PCM16 to one byte a sample and back, by table.

Source: ITU-T G.711 (11/88); the tables are those of Sun's g711.c, which works on the upper 14 and 13 bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Samples = NDArray[np.int16]
    Codes = NDArray[np.uint8]

Law = Literal["ulaw", "alaw"]


def encode(pcm: bytes, law: Law) -> bytes:
    """Compand mono PCM16 little-endian, whole samples; one byte a sample."""
    coded: bytes = _CODES[law][np.frombuffer(pcm, "<u2")].tobytes()
    return coded


def decode(sound: bytes, law: Law) -> bytes:
    """Expand to mono PCM16 little-endian, one sample a byte."""
    pcm: bytes = _VALUES[law][np.frombuffer(sound, np.uint8)].astype("<i2").tobytes()
    return pcm


def _to_mu() -> Codes:
    line = _every_sample() >> 2
    size = np.minimum(np.abs(line) + 33, 8191)  # biased, so that each segment begins at a power of two
    segment = _bits(size) - 6
    code: Ints = segment << 4 | size >> (segment + 1) & 0xF
    return (code ^ np.where(line < 0, 0x7F, 0xFF)).astype(np.uint8)


def _to_a() -> Codes:
    line = _every_sample() >> 3
    size = np.where(line < 0, -line - 1, line)
    segment = np.maximum(_bits(size) - 5, 0)
    code: Ints = segment << 4 | size >> np.maximum(segment, 1) & 0xF
    return (code ^ np.where(line < 0, 0x55, 0xD5)).astype(np.uint8)


def _from_mu() -> Samples:
    code: Ints = ~np.arange(256)
    size = (((code & 0xF) << 3) + 132 << (code >> 4 & 7)) - 132
    return np.where(code & 0x80, -size, size).astype(np.int16)


def _from_a() -> Samples:
    code: Ints = np.arange(256) ^ 0x55
    segment = code >> 4 & 7
    size: Ints = ((code & 0xF) << 4) + np.where(segment, 0x108, 8) << np.maximum(segment - 1, 0)
    return np.where(code & 0x80, size, -size).astype(np.int16)


def _every_sample() -> Ints:
    # In the order of their unsigned spelling, which is the table's index.
    return np.arange(65_536, dtype=np.uint16).view(np.int16).astype(np.int64)


def _bits(numbers: Ints) -> Ints:
    return np.frexp(numbers)[1].astype(np.int64)


_CODES = {"ulaw": _to_mu(), "alaw": _to_a()}
_VALUES = {"ulaw": _from_mu(), "alaw": _from_a()}
