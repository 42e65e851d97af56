"""Ogg/Opus streams as Unmute's server reads and writes them: 24 kHz mono, pages as they come, by PyAV.

Source: kyutai-labs/unmute, the server and its library sphn; RFC 3533 for the page.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.audio.frame import AudioFrame

RATE_HZ = 24_000
FRAME_MS = 40
FRAME_BYTES = RATE_HZ * FRAME_MS // 1000 * 2


class OggError(Exception):
    """The stream is no Ogg/Opus; the vendor's decoder gives it up."""


class OpusReader:
    """Pages in, PCM16 out. As strict as the vendor's: what is no page ends it."""

    def __init__(self) -> None:
        self._held = b""
        self._codec = av.CodecContext.create("libopus", "r")
        self._codec.sample_rate, self._codec.layout = 48_000, "mono"
        self._resampler = av.AudioResampler("s16", "mono", RATE_HZ)

    def feed(self, data: bytes) -> bytes:
        """Return the sound of the pages that are whole. Raises OggError."""
        self._held += data
        pcm = b""
        for packet in self._packets():
            if packet[:8] in (b"OpusHead", b"OpusTags"):
                continue
            try:
                frames = self._codec.decode(av.Packet(packet))
            except av.FFmpegError as error:
                raise OggError(f"invalid packet: {error.strerror}") from error
            pcm += b"".join(map(_pcm, (one for frame in frames for one in self._resampler.resample(frame))))
        return pcm

    def _packets(self) -> Iterator[bytes]:
        """Take whole pages off the front; a packet never goes over two pages at such sizes."""
        while len(self._held) >= 4:
            if not self._held.startswith(b"OggS"):
                raise OggError("unexpected ogg capture pattern")
            table = self._held[27 : 27 + self._held[26]] if len(self._held) > 26 else b""
            end = 27 + len(table) + sum(table)
            if len(self._held) < end or (not table and len(self._held) < 27):
                return
            body, at = self._held[27 + len(table) : end], 0
            self._held = self._held[end:]
            size = 0
            for value in table:
                size += value
                if value < 255:
                    yield body[at : at + size]
                    at, size = at + size, 0


class OpusWriter:
    """PCM16 in, pages out: a page for each packet of 40 ms, the two header pages before the first."""

    def __init__(self) -> None:
        self._out = _Sink()
        options = {"page_duration": str(FRAME_MS * 1000), "flush_packets": "1"}
        self._container = av.open(self._out, "w", format="ogg", options=options)
        codec = {"frame_duration": str(FRAME_MS), "application": "voip"}
        self._stream = self._container.add_stream("libopus", rate=RATE_HZ, layout="mono", options=codec)
        self._stream.time_base = Fraction(1, RATE_HZ)
        self._samples = 0

    def write(self, pcm: bytes) -> bytes:
        """Encode 40 ms (fewer are filled up with silence); return the pages that are ready."""
        samples = np.frombuffer(pcm.ljust(FRAME_BYTES, b"\0"), "<i2")
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis], "s16", "mono")
        frame.sample_rate, frame.pts = RATE_HZ, self._samples
        self._samples += len(samples)
        self._container.mux(self._stream.encode(frame))
        return self._out.take()


class _Sink:
    """A file that is only written."""

    def __init__(self) -> None:
        self._data = b""

    def write(self, data: bytes) -> int:
        self._data += bytes(data)
        return len(data)

    def take(self) -> bytes:
        data, self._data = self._data, b""
        return data


def _pcm(frame: AudioFrame) -> bytes:
    return frame.to_ndarray().astype("<i2").tobytes()
