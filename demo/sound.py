"""Recordings of the demo: WAV files of mono PCM16 placed on the monotonic clock."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from device.dsp.resample import Resampler

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    Samples = NDArray[np.int16]

RATE = 48_000


@dataclass(frozen=True)
class Recording:
    """Mono PCM16, shape (frames,), at `rate` Hz; its first sample was heard at `start`, monotonic seconds."""

    pcm: Samples
    rate: int
    start: float

    @property
    def end(self) -> float:
        """When its last sample was heard."""
        return self.start + len(self.pcm) / self.rate

    def cut(self, begin: float, end: float) -> Samples:
        """Return what was heard between two times."""
        first = max(0, int((begin - self.start) * self.rate))
        return self.pcm[first : max(first, int((end - self.start) * self.rate))]


def load(path: Path, start: float) -> Recording:
    """Read a mono 16-bit WAV to its end: the header of a writer that was killed promises too little."""
    with wave.open(str(path), "rb") as file:
        rate = file.getframerate()
    data = path.read_bytes()
    data = data[data.find(b"data") + 8 :]
    return Recording(np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.int16), rate, start)


def save(path: Path, recording: Recording) -> None:
    """Write it as a mono 16-bit WAV."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(recording.rate)
        file.writeframes(recording.pcm.astype("<i2").tobytes())


def merged(parts: Iterable[Recording], start: float, end: float) -> Recording:
    """Lay the parts, all at 48 kHz, on one track from `start` to `end`; silence between them."""
    track = np.zeros(max(0, round((end - start) * RATE)), np.int16)
    for part in parts:
        first = round((part.start - start) * RATE)
        pcm = part.pcm[max(0, -first) :]
        first = max(0, first)
        pcm = pcm[: max(0, len(track) - first)]
        track[first : first + len(pcm)] = pcm
    return Recording(track, RATE, start)


def at_card_rate(pcm: Samples, rate: int) -> Samples:
    """Return the same sound at 48 kHz."""
    return Resampler(rate, RATE).process(pcm)
