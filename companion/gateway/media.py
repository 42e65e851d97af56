"""What a peer says and how it listens: encoded 20 ms packets up, a jitter buffer that adds nothing down.

Sources: RFC 7587 (Opus in RTP: its clock is 48 kHz, whatever the sound's rate), RFC 3551 (PCMA).
"""

from __future__ import annotations

import asyncio
import logging
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from aiortc import MediaStreamTrack
from aiortc.jitterbuffer import JitterFrame
from aiortc.mediastreams import MediaStreamError
from av.packet import Packet

from companion.gateway.codec import AlawEncoder, OpusEncoder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiortc import RTCRtpReceiver
    from aiortc.rtp import RtpPacket

log = logging.getLogger(__name__)

_FRAMES_A_SECOND = 50
Codec = Literal["audio/opus", "audio/PCMA"]


class Mouth(MediaStreamTrack):
    """What the peer says: packets made here, so that nothing is resampled twice or held back.

    `next_frame` gives 20 ms of 24 kHz PCM16 mono when they are due.
    """

    kind = "audio"

    def __init__(self, next_frame: Callable[[], Awaitable[bytes]], codec: Codec) -> None:
        super().__init__()
        self._next_frame = next_frame
        self._encoder = OpusEncoder() if codec == "audio/opus" else AlawEncoder()
        self._clock_hz = self._encoder.rtp_hz
        self._at = 0

    async def recv(self) -> Packet[Any]:
        """Return the next packet when it is due."""
        if self.readyState != "live":
            raise MediaStreamError
        pcm = await self._next_frame()
        loop = asyncio.get_running_loop()
        packet = Packet(await loop.run_in_executor(None, self._encoder.encode, pcm))
        packet.pts, packet.time_base = self._at, Fraction(1, self._clock_hz)
        self._at += self._clock_hz // _FRAMES_A_SECOND
        return packet


class _InOrder:
    """A jitter buffer that holds nothing back: one packet is one frame, and one that comes too late is lost.

    aiortc's own holds 80 ms back always, and 300 ms for ever after one lost packet. The jitter is taken up
    where the sound is played: the device has the buffer for it.
    """

    def __init__(self) -> None:
        self._last: int | None = None

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """Return (False: no picture is asked for, the frame)."""
        ahead = 1 if self._last is None else (packet.sequence_number - self._last) & 0xFFFF
        if not 0 < ahead < 0x8000:
            return False, None
        self._last = packet.sequence_number
        return False, JitterFrame(packet._data, packet.timestamp)  # type: ignore[attr-defined]  # noqa: SLF001 - set by the receiver


def without_delay(receiver: RTCRtpReceiver) -> None:
    """Give an audio receiver a jitter buffer that holds nothing back."""
    name = "_RTCRtpReceiver__jitter_buffer"
    if not hasattr(receiver, name):  # a test holds aiortc to it
        log.warning("this aiortc has another jitter buffer; the sound comes about 80 ms later")
        return
    setattr(receiver, name, _InOrder())
