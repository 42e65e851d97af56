"""The WAV driver: files for a sound card, paced in real time by the monotonic clock."""

from __future__ import annotations

import os
import struct
import time
import wave
from typing import TYPE_CHECKING

import numpy as np

from device.errors import AudioError

if TYPE_CHECKING:
    from pathlib import Path

    from device.ports import Frames, Samples

_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")  # RIFF, WAVE, fmt of 16 bytes, data
_OLDEST_S = 0.2  # what a reader who slept for longer than this has missed is lost, as on a card


class WavInput:
    """Reads a 16-bit WAV as a microphone. At its end there is silence, until somebody appends to the file."""

    latency_s = 0.0

    def __init__(self, path: Path, rate: int) -> None:
        self.rate = rate
        try:
            with wave.open(str(path), "rb") as file:
                facts = (file.getframerate(), file.getsampwidth())
                self.channels = file.getnchannels()
                self._file = path.open("rb")
                self._file.seek(_data_offset(path))
        except (OSError, wave.Error, EOFError) as error:
            raise AudioError(f"{path} cannot be read as a WAV file: {error}") from None
        if facts != (rate, 2):
            raise AudioError(
                f"{path} has {facts[0]} Hz and {facts[1] * 8} bits; it must have {rate} Hz and 16 bits"
            )
        self.overruns = 0
        self._due = time.monotonic()

    def read(self, frames: int) -> Frames:
        """Wait until the frames are due, then read them; silence where the file has none."""
        self._due += frames / self.rate
        late = time.monotonic() - self._due
        if late > _OLDEST_S:
            self.overruns += 1
            self._due += late
        elif late < 0:
            time.sleep(-late)
        size = frames * self.channels * 2
        try:
            data = self._file.read(size)
        except (OSError, ValueError) as error:
            raise AudioError(f"the WAV microphone is gone: {error}") from None
        return np.frombuffer(data.ljust(size, b"\0"), np.int16).reshape(frames, self.channels)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _data_offset(path: Path) -> int:
    """Return where the samples begin; the length that the header states is not believed."""
    with path.open("rb") as file:
        at = file.read(4096).find(b"data")
    if at < 0:
        raise wave.Error("no data chunk near its start")
    return at + 8


class WavOutput:
    """Writes a mono 16-bit WAV as a speaker with a small buffer; readable at any time, also after a SIGKILL."""

    underruns = 0

    def __init__(self, path: Path, rate: int) -> None:
        self.rate = rate
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise AudioError(f"{path} cannot be written: {error.strerror}") from None
        self._written = 0
        self._closed = False
        self._start = time.monotonic()
        self._put_header()

    def write(self, samples: Samples) -> None:
        """Take mono samples at once; `pending` says how much of what was taken is still to sound."""
        lag = self._played() - self._written
        try:
            if lag > 0:  # nobody wrote in time: the speaker was silent meanwhile
                os.write(self._file, bytes(lag * 2))
                self._written += lag
            os.write(self._file, samples.tobytes())
            self._written += len(samples)
            self._put_header()
        except OSError as error:
            raise AudioError(f"the WAV speaker is gone: {error.strerror}") from None

    @property
    def pending(self) -> int:
        """Frames written ahead of the clock."""
        return max(0, self._written - self._played())

    def close(self) -> None:
        """Close the file."""
        if not self._closed:
            self._closed = True
            os.close(self._file)

    def _played(self) -> int:
        return int((time.monotonic() - self._start) * self.rate)

    def _put_header(self) -> None:
        size = self._written * 2
        header = (
            b"RIFF",
            36 + size,
            b"WAVE",
            b"fmt ",
            16,
            1,
            1,
            self.rate,
            self.rate * 2,
            2,
            16,
            b"data",
            size,
        )
        os.pwrite(self._file, _HEADER.pack(*header), 0)
        if not size:
            os.lseek(self._file, _HEADER.size, os.SEEK_SET)
