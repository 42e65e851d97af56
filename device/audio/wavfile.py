"""WAV files in place of a sound card, paced in real time."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from device.errors import AudioError, FormatError

if TYPE_CHECKING:
    from pathlib import Path

    from device.ports import Frames, Samples

_HEADER = struct.Struct("<4sI8sIHHIIHH4sI")  # of the files written here
_CUSHION_S = 0.015  # what a card would hold
_PATCH_S = 0.25  # a reader of a killed writer's file misses at most this much
_TYPES: dict[int, np.dtype[Any]] = {16: np.dtype("<i2"), 32: np.dtype("<i4")}


class WavInput:
    """Implements AudioInput: a PCM file of 16 or 32 bits, heard once at real pace and followed by silence.

    What is appended to the file while it is open is heard as soon as it is there; the length that the header
    claims is ignored. A mono file is heard on every channel. `from_end`: what is in it already is past.
    """

    def __init__(
        self, path: Path, rate: int, channels: int, sample_format: str, *, from_end: bool = False
    ) -> None:
        self.rate, self.channels = rate, channels
        self.overruns = 0
        self._bits = 32 if sample_format == "s32" else 16
        try:
            self._file: BinaryIO = path.open("rb", buffering=0)
            file_rate, self._file_channels, self._file_bits = _read_header(self._file) or (0, 0, 0)
        except OSError as error:
            raise AudioError(f"{path} cannot be read: {error.strerror}") from error
        if self._file_bits not in _TYPES:
            self._file.close()
            raise FormatError(f"{path} is not a WAV file of 16 or 32 bit PCM")
        if file_rate != rate or self._file_channels not in (1, channels):
            self._file.close()
            raise FormatError(f"{path} is {self._file_channels} x {file_rate} Hz, not {channels} x {rate} Hz")
        if from_end:
            size = self._file_channels * self._file_bits // 8
            self._file.seek((path.stat().st_size - self._file.tell()) // size * size, 1)
        self._position = 0
        self._started_at = time.monotonic()

    def read(self, frames: int) -> Frames:
        """Shape (frames, channels); returns when the last of them would have been heard."""
        self._position += frames
        early = self._started_at + self._position / self.rate - time.monotonic()
        if early > 0:
            time.sleep(early)
        block: Frames = np.zeros((frames, self.channels), _TYPES[self._bits])
        there = self._take(frames)
        block[: len(there)] = _scaled(there, self._file_bits, self._bits)
        return block

    @property
    def latency_s(self) -> float:
        """Nothing: a block ends now."""
        return 0.0

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _take(self, frames: int) -> Frames:
        size = self._file_channels * self._file_bits // 8
        try:
            data = self._file.read(frames * size) or b""
            if torn := len(data) % size:  # its writer is in the middle of a frame
                self._file.seek(-torn, 1)
                data = data[:-torn]
        except (OSError, ValueError) as error:
            raise AudioError(f"{self._file.name} is gone: {error}") from error
        there: Frames = np.frombuffer(data, _TYPES[self._file_bits]).reshape(-1, self._file_channels)
        return there


class WavOutput:
    """Implements AudioOutput: what a loudspeaker would have played since the file was opened, 16 bit mono.

    An existing file of that shape is continued, so that a process that was killed goes on where it was.
    """

    def __init__(self, path: Path, rate: int) -> None:
        self.rate, self.block = rate, rate // 200
        self.underruns = 0
        try:
            self._file: BinaryIO = path.open("r+b" if path.exists() else "w+b", buffering=0)
            self._before = _resume(self._file, rate)
        except OSError as error:
            raise AudioError(f"{path} cannot be written: {error.strerror}") from error
        if self._before is None:
            self._file.close()
            raise FormatError(f"{path} is not a WAV file of 16 bit mono at {rate} Hz: move it out of the way")
        self._written = 0  # frames since the start
        self._resting = True
        self._started_at = time.monotonic()
        self._patched_at = 0.0

    def write(self, samples: Samples) -> None:
        """Blocks while more than 15 ms would still be unheard."""
        gap = int((time.monotonic() - self._started_at) * self.rate) - self._written
        if gap > 0:
            self.underruns += not self._resting
            self._skip(gap)
        self._resting = False
        self._append(samples)
        early = self.pending / self.rate - _CUSHION_S
        if early > 0:
            time.sleep(early)

    def rest(self) -> bool:
        """Time that passes is silence, and is written as such before the next samples."""
        self._resting = True
        return True

    @property
    def pending(self) -> int:
        """What the clock has not reached."""
        return max(0, self._written - int((time.monotonic() - self._started_at) * self.rate))

    def close(self) -> None:
        """Finish the header."""
        if not self._file.closed:
            self._patch()
            self._file.close()

    def _skip(self, frames: int) -> None:
        try:
            self._file.seek(frames * 2, 1)  # a hole reads as zeros; hours of them take no memory
            self._written += frames
        except (OSError, ValueError) as error:
            raise AudioError(f"{self._file.name} is gone: {error}") from error

    def _append(self, samples: Samples) -> None:
        try:
            self._file.write(samples.astype("<i2", copy=False).tobytes())
            self._written += len(samples)
            if time.monotonic() - self._patched_at > _PATCH_S:
                self._patch()
        except (OSError, ValueError) as error:
            raise AudioError(f"{self._file.name} is gone: {error}") from error

    def _patch(self) -> None:
        self._patched_at = time.monotonic()
        data_bytes = ((self._before or 0) + self._written) * 2
        self._file.seek(0)
        self._file.write(_header(self.rate, data_bytes))
        self._file.seek(0, 2)


def _scaled(frames: Frames, bits: int, wanted: int) -> Frames:
    if bits == wanted:
        return frames
    return frames.astype(np.int32) << 16 if wanted == 32 else (frames >> 16).astype(np.int16)


def _resume(file: BinaryIO, rate: int) -> int | None:
    # Frames already there, None when it is some other file. A torn last sample is cut off.
    size = file.seek(0, 2)
    if size == 0:
        file.write(_header(rate, 0))
        return 0
    file.seek(0)
    if _read_header(file) != (rate, 1, 16) or file.tell() != _HEADER.size:
        return None
    frames = (size - _HEADER.size) // 2
    file.truncate(_HEADER.size + frames * 2)
    file.seek(0, 2)
    return frames


def _read_header(file: BinaryIO) -> tuple[int, int, int] | None:
    # (Hz, channels, bits) of RIFF PCM, leaving the file at its first sample; None when it is not that.
    if file.read(4) != b"RIFF" or file.read(8)[4:] != b"WAVE":
        return None
    found = None
    while len(head := file.read(8)) == 8:
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"data":
            return found
        body = file.read(size + size % 2)
        if head[:4] == b"fmt " and len(body) >= 16 and int.from_bytes(body[:2], "little") in (1, 0xFFFE):
            channels, bits = int.from_bytes(body[2:4], "little"), int.from_bytes(body[14:16], "little")
            found = int.from_bytes(body[4:8], "little"), channels, bits
    return None


def _header(rate: int, data_bytes: int) -> bytes:
    riff = b"RIFF", data_bytes + 36, b"WAVEfmt ", 16
    return _HEADER.pack(*riff, 1, 1, rate, rate * 2, 2, 16, b"data", data_bytes)
