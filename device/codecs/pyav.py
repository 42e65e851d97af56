"""Ogg/Opus both ways and MP3 one way, with PyAV (FFmpeg); mono PCM16 on the device's side.

Bytes may be split anywhere. A run of sound that makes no sense is one CodecError, and nothing that was good
is lost: it comes with the next call.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np

from device.codecs.ogg import PageReader, page
from device.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from av.audio.codeccontext import AudioCodecContext
    from av.audio.frame import AudioFrame
    from av.packet import Packet
    from av.stream import Stream

RATE_HZ = 24_000
_GRANULE = 960  # of one packet: Opus counts at 48 kHz whatever the rate
_TAG_HEAD = 10  # bytes of an ID3v2 header


class OggOpusEncoder:
    """One Ogg/Opus stream of 20 ms packets, a page each. The first piece holds the two header pages.

    The settings are those of Unmute's own client: application audio, complexity 0, about 32 kbit/s.
    """

    def __init__(self, rate: int = RATE_HZ, serial: int = 1) -> None:
        codec = av.CodecContext.create("libopus", "w")
        codec.sample_rate = rate
        codec.layout = "mono"
        codec.format = "s16"
        codec.bit_rate = 32_000
        codec.time_base = Fraction(1, rate)
        codec.options = {"frame_duration": "20", "application": "audio", "compression_level": "0"}
        codec.open()
        self._codec = codec
        self._rate = rate
        self._serial = serial
        self._held = b""
        self._samples = 0
        self._pages = 0
        self._granule = 0

    def encode(self, pcm: bytes) -> list[bytes]:
        """Take PCM16 of any length; return the pages that are ready, one piece for each 20 ms."""
        data = self._held + pcm
        block = self._rate // 50 * 2
        whole = len(data) - len(data) % block
        self._held = data[whole:]
        pieces = [] if self._pages or not whole else [self._headers()]
        for at in range(0, whole, block):
            pieces += [self._page(packet, _GRANULE) for packet in self._packets(data[at : at + block])]
        return pieces

    def _packets(self, block: bytes) -> list[bytes]:
        frame = av.AudioFrame.from_ndarray(np.frombuffer(block, "<i2")[np.newaxis], "s16", "mono")
        frame.sample_rate = self._rate
        frame.pts = self._samples
        self._samples += frame.samples
        return [bytes(packet) for packet in self._codec.encode(frame)]

    def _headers(self) -> bytes:
        tags = b"OpusTags" + struct.pack("<I", 7) + b"pressel" + struct.pack("<I", 0)
        head = bytes(self._codec.extradata or b"")
        return self._page(head, 0, first=True) + self._page(tags, 0)

    def _page(self, packet: bytes, samples: int, *, first: bool = False) -> bytes:
        self._granule += samples
        number, self._pages = self._pages, self._pages + 1
        return page(packet, serial=self._serial, number=number, granule=self._granule, first=first)


class _Decoder:
    """What both decoders share: packets of any shape become mono PCM16 at `rate`."""

    def __init__(self, codec: AudioCodecContext, name: str, rate: int) -> None:
        self.rate = rate
        self._codec = codec
        self._name = name
        self._resampler: av.AudioResampler | None = None
        self._shape: tuple[int, str, str] | None = None
        self._ready = b""
        self._bad = False

    def _take(self, packets: Iterable[Packet[Stream] | None], fault: str = "") -> bytes:
        """Decode; a run of bad packets is reported once, and what was good then comes with the next call."""
        pcm, self._ready = self._ready, b""
        for packet in packets:
            try:
                pcm += self._resampled(self._codec.decode(packet))
                self._bad = False
            except av.FFmpegError as error:
                fault = fault or f"what is no {self._name} ({error.strerror})"
        if fault and not self._bad:
            self._bad, self._ready = True, pcm
            raise CodecError(f"the provider's sound holds {fault}; skipped")
        return pcm

    def _resampled(self, frames: Iterable[AudioFrame]) -> bytes:
        out = b""
        for frame in frames:
            shape = frame.sample_rate, frame.format.name, frame.layout.name
            if shape != self._shape:  # a stream may change its rate between two frames
                out += self._rest()
                self._resampler, self._shape = av.AudioResampler("s16", "mono", self.rate), shape
            frame.pts = None
            assert self._resampler  # noqa: S101 - made with the shape
            out += _joined(self._resampler.resample(frame))
        return out

    def _rest(self) -> bytes:
        resampler, self._resampler, self._shape = self._resampler, None, None
        return _joined(resampler.resample(None)) if resampler else b""


class OggOpusDecoder(_Decoder):
    """One continuous Ogg/Opus stream, as long as the session; a second header in it may change its channels.

    The header's pre-skip is not cut off: Unmute's writer announces 80 ms that it does not put in.
    """

    def __init__(self, rate: int = RATE_HZ) -> None:
        super().__init__(av.CodecContext.create("opus", "r"), "Opus", rate)
        self._pages = PageReader()

    def decode(self, sound: bytes) -> bytes:
        """Return the sound of the packets that are complete. Raises CodecError."""
        packets = self._pages.feed(sound)
        trouble, self._pages.trouble = self._pages.trouble, ""
        return self._take(self._of_sound(packets), trouble)

    def flush(self) -> bytes:
        """Return what is held back at the end of a reply; the stream goes on."""
        pcm, self._ready = self._ready + self._rest(), b""
        return pcm

    def _of_sound(self, packets: Iterable[bytes]) -> Iterator[Packet[Stream]]:
        for packet in packets:
            if packet.startswith(b"OpusHead"):
                self._codec = av.CodecContext.create("opus", "r")
                self._codec.extradata = packet[:10] + bytes(2) + packet[12:]
            elif packet and not packet.startswith(b"OpusTags"):
                yield av.Packet(packet)


class Mp3Decoder(_Decoder):
    """One MP3 stream (MPEG 1, 2 or 2.5, any rate, mono or stereo), with an ID3v2 tag before it or not."""

    def __init__(self, rate: int = RATE_HZ) -> None:
        super().__init__(av.CodecContext.create("mp3", "r"), "MP3", rate)
        self._head: bytes | None = b""  # until it is known whether a tag comes first
        self._tag_left = 0

    def decode(self, sound: bytes) -> bytes:
        """Return the sound of the frames that are complete. Raises CodecError."""
        sound = self._without_tag(sound)
        return self._take(self._codec.parse(sound) if sound else [])  # nothing would mean the end

    def flush(self) -> bytes:
        """End the stream and return the rest; another may follow. A frame that was cut off is dropped."""
        with suppress(CodecError):
            self._ready = self._take([*self._codec.parse(), None])
        pcm, self._ready = self._ready + self._rest(), b""
        self._codec = av.CodecContext.create("mp3", "r")
        self._head, self._tag_left = b"", 0
        return pcm

    def _without_tag(self, sound: bytes) -> bytes:
        """Cut an ID3v2 tag off the front: its text and pictures may look like sound."""
        if self._head is not None:
            sound = self._head + sound
            self._head = sound
            if b"ID3".startswith(sound[:3]) and len(sound) < _TAG_HEAD:
                return b""
            self._head = None
            if sound.startswith(b"ID3"):
                self._tag_left = _tag_size(sound)
        cut = min(self._tag_left, len(sound))
        self._tag_left -= cut
        return sound[cut:]


def _tag_size(head: bytes) -> int:
    """Return the size of an ID3v2 tag: 28 bits in four bytes, its header, and its footer if there is one."""
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return size + _TAG_HEAD + (10 if head[5] & 0x10 else 0)


def _joined(frames: Iterable[AudioFrame]) -> bytes:
    return b"".join(frame.to_ndarray().astype("<i2", copy=False).tobytes() for frame in frames)
