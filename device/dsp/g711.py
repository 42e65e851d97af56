"""G.711: PCM16 to one byte a sample and back, by table. Source: ITU-T Recommendation G.711 (11/88)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Law = Literal["ulaw", "alaw"]

_BIAS, _CLIP = 0x84, 32635


def _ulaw_values() -> NDArray[np.int16]:
    code = ~np.arange(256)
    exponent, mantissa = (code >> 4) & 7, code & 15
    size = (((mantissa << 3) + _BIAS) << exponent) - _BIAS
    return np.where(code & 0x80, -size, size).astype(np.int16)


def _ulaw_codes() -> NDArray[np.uint8]:
    sample = np.arange(65536).astype(np.uint16).view(np.int16).astype(np.int32)
    size = np.minimum(np.abs(sample), _CLIP) + _BIAS
    exponent = np.floor(np.log2(size)).astype(np.int32) - 7
    mantissa = (size >> (exponent + 3)) & 15
    return (~(np.where(sample < 0, 0x80, 0) | exponent << 4 | mantissa) & 0xFF).astype(np.uint8)


def _alaw_values() -> NDArray[np.int16]:
    code: NDArray[np.int64] = np.arange(256) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, code & 15
    size = np.where(
        exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 0x108) << np.maximum(exponent - 1, 0)
    )
    return np.where(code & 0x80, size, -size).astype(np.int16)


def _alaw_codes() -> NDArray[np.uint8]:
    sample = np.arange(65536).astype(np.uint16).view(np.int16).astype(np.int32)
    size = np.where(sample >= 0, sample, -sample - 1) >> 3
    exponent = np.maximum(np.floor(np.log2(np.maximum(size, 1))).astype(np.int32) - 4, 0)
    mantissa = (size >> np.maximum(exponent, 1)) & 15
    return ((np.where(sample >= 0, 0x80, 0) | exponent << 4 | mantissa) ^ 0x55).astype(np.uint8)


_VALUES = {"ulaw": _ulaw_values(), "alaw": _alaw_values()}
_CODES = {"ulaw": _ulaw_codes(), "alaw": _alaw_codes()}


def encode(pcm: bytes, law: Law) -> bytes:
    """Return one byte for each sample of PCM16 little-endian; whole samples only."""
    coded: bytes = _CODES[law][np.frombuffer(pcm, "<u2")].tobytes()
    return coded


def decode(sound: bytes, law: Law) -> bytes:
    """Return PCM16 little-endian, one sample for each byte."""
    pcm: bytes = _VALUES[law][np.frombuffer(sound, np.uint8)].astype("<i2").tobytes()
    return pcm
