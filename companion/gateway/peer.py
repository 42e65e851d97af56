"""A WebRTC peer connection that offers one audio stream and, mostly, one data channel.

Source: the WebRTC 1.0 recommendation (offer and answer, trickled candidates).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidAccessError, InvalidStateError, OperationError
from aiortc.mediastreams import MediaStreamError
from aiortc.sdp import candidate_from_sdp

from companion.errors import LegError
from companion.gateway.codec import ToPcm
from companion.gateway.media import Mouth, without_delay
from companion.gateway.uplink import SILENCE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiortc import MediaStreamTrack, RTCIceTransport
    from av import AudioFrame

    from companion.gateway.media import Codec

log = logging.getLogger(__name__)

_MOST_LOST = 5  # frames: a longer gap in the RTP clock is a pause, not a loss
# What aiortc's reading of SDP ends with when lines are missing or damaged.
_SENSELESS = (
    *(ValueError, AssertionError, LookupError, AttributeError, TypeError),
    *(InvalidAccessError, InvalidStateError, OperationError),
)
_CLOSE_S = 3.0
_LAST_CHECK_S = 0.1
_SAY_S = 0.05


class Peer:
    """One connection. `next_frame` gives the 20 ms that are due, when they are due.

    `on_event` gets the texts of the data channel, `on_sound` 24 kHz PCM16 mono. `ended` has the reason when
    the connection is over: "" for a normal end.
    """

    def __init__(
        self,
        next_frame: Callable[[], Awaitable[bytes]],
        on_event: Callable[[str], None],
        on_sound: Callable[[bytes], None],
        *,
        channel: str = "oai-events",
        codec: Codec = "audio/opus",
        ice_servers: tuple[str, ...] = (),
    ) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._on_sound = on_sound
        self._pump: asyncio.Task[None] | None = None
        servers = [RTCIceServer(url) for url in ice_servers]
        self._pc = RTCPeerConnection(RTCConfiguration(servers, bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self._audio = self._pc.addTransceiver(Mouth(next_frame, codec), "sendrecv")
        known = RTCRtpSender.getCapabilities("audio").codecs
        self._audio.setCodecPreferences([one for one in known if one.mimeType == codec])
        without_delay(self._audio.receiver)
        self._ready = asyncio.Event()
        self._channel = self._pc.createDataChannel(channel) if channel else None
        if self._channel:
            self._channel.on("open", self._ready.set)
            self._channel.on("message", lambda text: on_event(text) if isinstance(text, str) else None)
            self._channel.on("close", self._gone)
        self._pc.on("track", self._listen)
        self._pc.on("connectionstatechange", self._state_changed)
        self._ice.on("statechange", self._state_changed)

    async def offer(self) -> str:
        """Return the SDP offer with all candidates of this side in it."""
        await self._pc.setLocalDescription(await self._pc.createOffer())
        return self._pc.localDescription.sdp

    def candidates(self) -> list[dict[str, Any]]:
        """Return this side's candidates as a browser would trickle them."""
        lines = self._pc.localDescription.sdp.splitlines()
        found = dict.fromkeys(line[2:] for line in lines if line.startswith("a=candidate:"))
        return [{"candidate": line, "sdpMid": "0", "sdpMLineIndex": 0} for line in found]

    async def answer(self, sdp: str) -> None:
        """Take the other side's answer. Raises LegError."""
        try:
            await self._pc.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        except _SENSELESS as error:
            why = str(error) or type(error).__name__
            raise LegError(f"the provider's SDP answer makes no sense: {why}") from None

    async def candidate(self, line: str, mid: str | None, index: int | None) -> None:
        """Take one of the other side's candidates; one that makes no sense is left out with a line."""
        if not line:
            return  # the end of candidates; ICE goes on with those it has
        try:
            found = candidate_from_sdp(line.removeprefix("candidate:"))
            found.sdpMid, found.sdpMLineIndex = mid, index if index is not None or mid is not None else 0
            await self._pc.addIceCandidate(found)
        except (ValueError, AssertionError, IndexError) as error:
            log.warning("a candidate of the provider makes no sense: %s; left out", error)

    async def connected(self) -> None:
        """Wait until events (without a channel: sound) can go. Raises LegError when the connection fails."""
        opened: asyncio.Future[Any] = asyncio.ensure_future(self._ready.wait())
        try:
            await asyncio.wait({opened, self.ended}, return_when="FIRST_COMPLETED")
        finally:
            opened.cancel()
        if self.ended.done():
            raise LegError(self.ended.result() or "the provider ended the WebRTC connection too early")

    def send(self, text: str) -> None:
        """Send an event. Raises LegError when the channel takes no more or not this one."""
        assert self._channel  # noqa: S101 - a peer without a channel is sent no events
        try:
            self._channel.send(text)
        except (InvalidStateError, ConnectionError):
            raise LegError("the provider's data channel is closed") from None
        except ValueError:
            log.warning("an event of %d bytes is too large for the provider; dropped", len(text))

    def hang_up(self, reason: str = "") -> None:
        """Say that the connection is over."""
        self._end(reason)

    async def close(self) -> None:
        """End the connection and everything that belongs to it."""
        self._end("")
        if self._pump:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._close()
        except TimeoutError:
            log.warning("a peer connection did not close in %.0f s; left", _CLOSE_S)

    async def _close(self) -> None:
        checking = self._ice.state == "checking"
        await self._pc.close()
        if checking:
            # A close during the last check is overtaken: aioice then begins to ask for consent, for ever.
            await asyncio.sleep(_LAST_CHECK_S)
            await self._ice._connection.close()  # noqa: SLF001 - nothing public ends it

    @property
    def _ice(self) -> RTCIceTransport:
        return self._audio.sender.transport.transport  # one for all: max-bundle

    def _listen(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio" and self._pump is None:
            self._pump = asyncio.create_task(self._hear(track))

    async def _hear(self, track: MediaStreamTrack) -> None:
        try:
            await self._hear_on(track)
        except MediaStreamError:
            return  # the track is over, and the connection says why
        except Exception:
            log.exception("the provider's sound cannot be taken")
            self._end("the provider's sound broke off")

    async def _hear_on(self, track: MediaStreamTrack) -> None:
        to_pcm = ToPcm()
        expected: int | None = None
        while True:
            frame: AudioFrame = await track.recv()  # type: ignore[assignment]  # an audio track gives audio
            at = frame.pts or 0  # in samples of the frame's own rate
            lost = (at - expected) // frame.samples if expected is not None else 0
            if 0 < lost <= _MOST_LOST:
                self._on_sound(SILENCE * lost)
            expected = at + frame.samples
            self._on_sound(to_pcm(frame))

    def _state_changed(self) -> None:
        if "failed" in (self._pc.connectionState, self._ice.state):
            self._end("the WebRTC connection to the provider failed: no path, or it went silent")
        elif self._pc.connectionState == "closed":
            self._gone()
        elif self._pc.connectionState == "connected" and self._channel is None:
            self._ready.set()

    def _gone(self) -> None:
        # ICE that failed closes everything else first, and says so itself in the same moment.
        asyncio.get_running_loop().call_later(_SAY_S, self._end, "")

    def _end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)
