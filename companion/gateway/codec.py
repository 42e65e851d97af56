"""Opus and PCM16 at 24 kHz, a frame at a time, with no resampling on the way up."""

from __future__ import annotations

from fractions import Fraction

from av import AudioFrame, AudioResampler
from av.audio.codeccontext import AudioCodecContext

from companion.gateway.uplink import FRAME_BYTES, RATE_HZ

_FRAME = FRAME_BYTES // 2
_BIT_RATE = 48_000  # transparent for speech; "voip" looks 6.5 ms ahead


class OpusEncoder:
    """One 20 ms frame of 24 kHz PCM16 mono in, one Opus packet out."""

    def __init__(self) -> None:
        codec = AudioCodecContext.create("libopus", "w")
        codec.bit_rate = _BIT_RATE
        codec.format = "s16"
        codec.layout = "mono"
        codec.sample_rate = RATE_HZ
        codec.time_base = Fraction(1, RATE_HZ)
        codec.options = {"application": "voip"}
        self._codec = codec
        self._at = 0

    def encode(self, pcm: bytes) -> bytes:
        """Return the packet; takes about 0.2 ms."""
        frame = AudioFrame(format="s16", layout="mono", samples=_FRAME)
        frame.planes[0].update(pcm)
        frame.sample_rate = RATE_HZ
        frame.pts = self._at
        self._at += _FRAME
        return b"".join(bytes(packet) for packet in self._codec.encode(frame))


class ToPcm:
    """Decoded frames of any rate and layout made 24 kHz PCM16 mono; the filter holds back less than 1 ms."""

    def __init__(self) -> None:
        self._resampler = AudioResampler(format="s16", layout="mono", rate=RATE_HZ)

    def __call__(self, frame: AudioFrame) -> bytes:
        """Return what is ready of the frame."""
        frame.pts = None  # the RTP clock may jump; the resampler would fill the gap
        return b"".join(bytes(made.planes[0])[: made.samples * 2] for made in self._resampler.resample(frame))
