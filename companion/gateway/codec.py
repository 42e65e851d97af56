"""PCM16 at 24 kHz to Opus (with no resampling) or A-law and back, a frame at a time."""

from __future__ import annotations

from fractions import Fraction

from av import AudioFrame, AudioResampler
from av.audio.codeccontext import AudioCodecContext

from companion.gateway.uplink import FRAME_BYTES, RATE_HZ

_FRAME = FRAME_BYTES // 2
_ALAW_FRAME = 160
_HELD = 20  # samples at 8 kHz, 2.5 ms
_BIT_RATE = 48_000  # transparent for speech; "voip" looks 6.5 ms ahead


class OpusEncoder:
    """One 20 ms frame of 24 kHz PCM16 mono in, one Opus packet out."""

    rtp_hz = 48_000

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
        frame = _frame(pcm, RATE_HZ)
        frame.pts = self._at
        self._at += _FRAME
        return b"".join(bytes(packet) for packet in self._codec.encode(frame))


class AlawEncoder:
    """One 20 ms frame of 24 kHz PCM16 mono in, 160 bytes of G.711 A-law out."""

    rtp_hz = 8000

    def __init__(self) -> None:
        codec = AudioCodecContext.create("pcm_alaw", "w")
        codec.format = "s16"
        codec.layout = "mono"
        codec.sample_rate = self.rtp_hz
        codec.time_base = Fraction(1, self.rtp_hz)
        self._codec = codec
        self._resampler = AudioResampler(format="s16", layout="mono", rate=self.rtp_hz)
        self._ready = bytearray(
            2 * _HELD
        )  # what the resampler's filter holds back, so that a frame is always there

    def encode(self, pcm: bytes) -> bytes:
        """Return the packet; takes about 0.1 ms."""
        for made in self._resampler.resample(_frame(pcm, RATE_HZ)):
            self._ready += bytes(made.planes[0])[: made.samples * 2]
        piece = bytes(self._ready[: 2 * _ALAW_FRAME])
        del self._ready[: 2 * _ALAW_FRAME]
        frame = _frame(piece.ljust(2 * _ALAW_FRAME, b"\0"), self.rtp_hz)
        return b"".join(bytes(packet) for packet in self._codec.encode(frame))


class ToPcm:
    """Decoded frames of any rate and layout made 24 kHz PCM16 mono; the filter holds back less than 1 ms."""

    def __init__(self) -> None:
        self._resampler = AudioResampler(format="s16", layout="mono", rate=RATE_HZ)

    def __call__(self, frame: AudioFrame) -> bytes:
        """Return what is ready of the frame."""
        frame.pts = None  # the RTP clock may jump; the resampler would fill the gap
        return b"".join(bytes(made.planes[0])[: made.samples * 2] for made in self._resampler.resample(frame))


def _frame(pcm: bytes, rate: int) -> AudioFrame:
    frame = AudioFrame(format="s16", layout="mono", samples=len(pcm) // 2)
    frame.planes[0].update(pcm)
    frame.sample_rate = rate
    return frame
