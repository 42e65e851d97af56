"""WAV as it streams in: PCM16 of any rate and number of channels.

Source: Microsoft's "Multimedia Programming Interface and Data Specifications 1.0", RIFF and the WAVE form.
"""

from __future__ import annotations

import struct

import numpy as np

from device.codecs.rates import RATES_HZ
from device.errors import CodecError

_PCM, _EXTENSIBLE = 1, 0xFFFE
_LONGEST_HEAD = 1 << 16


class WavDecoder:
    """One WAV file, mixed to mono. Its sizes are not believed, a stream's writer does not know them yet."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._channels = 1
        self._head: bytes | None = b""  # None: the header has been read
        self._rest = b""
        self._bad = False

    def decode(self, sound: bytes) -> bytes:
        """Return the whole samples that are there. Raises CodecError, once, for what is no PCM16 WAV."""
        if self._bad:
            return b""
        if self._head is not None:
            self._head += sound
            at = self._data_start(self._head)
            if at is None:
                return b""
            sound, self._head = self._head[at:], None
        return self._mono(sound)

    def flush(self) -> bytes:
        """Nothing is held back but half a sample."""
        return b""

    def _data_start(self, head: bytes) -> int | None:
        """Return where the samples begin, None while that is not known."""
        if not head.startswith(b"RIFF"[: len(head)]) or head[8:12] != b"WAVE"[: len(head[8:12])]:
            raise self._refusal("has no RIFF header")
        at = 12
        while len(head) >= at + 8:
            name, size = struct.unpack_from("<4sI", head, at)
            if name == b"data":
                return at + 8
            if name == b"fmt " and len(head) >= at + 24:
                self._read_format(head[at + 8 : at + 24])
            at += 8 + size + size % 2
        if at > _LONGEST_HEAD or len(head) > _LONGEST_HEAD:
            raise self._refusal("has no data chunk")
        return None

    def _read_format(self, chunk: bytes) -> None:
        kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", chunk)
        if kind not in (_PCM, _EXTENSIBLE) or bits != 16 or not channels or rate not in RATES_HZ:
            raise self._refusal(f"is no PCM16 (format {kind}, {bits} bits, {channels} channels, {rate} Hz)")
        self.rate, self._channels = rate, channels

    def _mono(self, sound: bytes) -> bytes:
        sound = self._rest + sound
        whole = len(sound) - len(sound) % (2 * self._channels)
        self._rest = sound[whole:]
        if self._channels == 1:
            return sound[:whole]
        samples = np.frombuffer(sound[:whole], "<i2").reshape(-1, self._channels)
        return bytes(samples.mean(axis=1).astype("<i2").tobytes())

    def _refusal(self, why: str) -> CodecError:
        self._bad = True
        return CodecError(f"the provider's WAV {why}; its sound is dropped")
