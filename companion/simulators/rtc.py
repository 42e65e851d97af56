"""The WebRTC side of a realtime service: in place of a WebSocket, a peer with RTP and a data channel.

It stands before any server that takes an accepted WebSocket: what comes by RTP is appended to the input
buffer, what the server sends in audio deltas is played by RTP in real time, all else goes over `oai-events`.
Source: OpenAI's guide "Realtime conversations", client and server events for audio in WebRTC.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import re
from collections import deque
from fractions import Fraction
from typing import Any

import msgspec
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from aiortc.sdp import candidate_from_sdp
from av import AudioFrame, AudioResampler
from starlette.websockets import WebSocketState

from companion.local.audio import WIRE_BYTES_PER_MS, WIRE_HZ
from companion.local.items import new_id

log = logging.getLogger(__name__)

MISTAKES = frozenset(
    {
        "no-buffer-events",  # never says where the sound begins and ends
        "no-stopped",  # says where it begins, never where it ends
        "no-path",  # an answer with which ICE finds no way
        "bad-answer",  # no SDP
        "hangs-up",  # after the first reply is made
    }
)
FRAME_MS = 20
_FRAME_BYTES = FRAME_MS * WIRE_BYTES_PER_MS
_DELTAS = ("response.output_audio.delta", "response.audio.delta")
_SOUND_DONE = ("response.output_audio.done", "response.audio.done")
_CONNECT_S = 10.0


class RtcSocket:
    """What an accepted WebSocket is to a server, with a peer behind it. `answer`, then serve it."""

    def __init__(self, mistakes: frozenset[str] = frozenset()) -> None:
        self.application_state = WebSocketState.CONNECTED
        self._mistakes = mistakes
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._channel: Any = None
        self._opened = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._replies = 0
        self._speaker = Speaker(self._tell)
        self._pc = RTCPeerConnection(RTCConfiguration([]))
        self._pc.addTrack(self._speaker)
        self._pc.on("datachannel", self._take_channel)
        self._pc.on("track", self._take_track)
        self._pc.on("connectionstatechange", self._state_changed)

    async def answer(self, offer: str) -> str:
        """Return the SDP answer. Raises ValueError when the offer makes no sense."""
        await self._pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await self._pc.setLocalDescription(await self._pc.createAnswer())
        sdp: str = self._pc.localDescription.sdp
        if "bad-answer" in self._mistakes:
            return "this is no SDP"
        return (
            re.sub("(?m)^a=ice-pwd:.*$", "a=ice-pwd:" + "x" * 22, sdp) if "no-path" in self._mistakes else sdp
        )

    async def candidate(self, line: str, mid: str | None) -> None:
        """Take a trickled candidate."""
        found = candidate_from_sdp(line.removeprefix("candidate:"))
        found.sdpMid = mid
        await self._pc.addIceCandidate(found)

    async def connected(self) -> bool:
        """Wait for the data channel; False when the peer never came."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CONNECT_S):
                await self._opened.wait()
        return self._opened.is_set() and self._channel is not None

    # what an accepted WebSocket has

    async def receive(self) -> dict[str, Any]:
        """Return the client's next event, or its sound as one."""
        return await self._inbox.get()

    async def send_text(self, text: str) -> None:
        """Send a server's event; the sound in it is played."""
        event = msgspec.json.decode(text)
        kind = event["type"]
        if kind in _DELTAS:
            self._speaker.play(event["response_id"], base64.b64decode(event["delta"]))
            return
        if kind in _SOUND_DONE:
            self._speaker.last(event["response_id"])
        if kind == "input_audio_buffer.speech_started":
            self._speaker.clear()
        self._send(text)
        if kind == "response.done":
            self._replies += 1
            await self._part()

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """End the peer connection; WebRTC has no close code."""
        log.info("peer closed: %d %s", code, reason)
        self.application_state = WebSocketState.DISCONNECTED
        if self._pump:
            self._pump.cancel()
        await self._pc.close()

    # from the peer

    def _take_channel(self, channel: Any) -> None:
        if channel.label != "oai-events":
            log.warning("a data channel is called %s; ignored", channel.label)
            return
        self._channel = channel
        channel.on("message", self._take_event)
        channel.on("close", self._gone)
        self._opened.set()

    def _take_event(self, text: str | bytes) -> None:
        if not isinstance(text, str):
            return
        kind = _kind(text)
        if kind == "output_audio_buffer.clear":
            self._speaker.clear()
        else:
            self._inbox.put_nowait({"type": "websocket.receive", "text": text})

    def _take_track(self, track: MediaStreamTrack) -> None:
        self._pump = asyncio.create_task(self._hear(track))

    async def _hear(self, track: MediaStreamTrack) -> None:
        resampler = AudioResampler(format="s16", layout="mono", rate=WIRE_HZ)
        with contextlib.suppress(MediaStreamError):
            while True:
                frame: Any = await track.recv()
                frame.pts = None
                pcm = b"".join(bytes(out.planes[0])[: out.samples * 2] for out in resampler.resample(frame))
                event = {"type": "input_audio_buffer.append", "audio": pcm}
                self._inbox.put_nowait(
                    {"type": "websocket.receive", "text": msgspec.json.encode(event).decode()}
                )

    def _state_changed(self) -> None:
        if self._pc.connectionState in ("failed", "closed"):
            self._gone()

    def _gone(self) -> None:
        self._opened.set()
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})

    # to the peer

    def _tell(self, kind: str, response_id: str) -> None:
        hidden = {"no-buffer-events"} if kind != "stopped" else {"no-buffer-events", "no-stopped"}
        if not hidden & self._mistakes:
            event = {
                "type": f"output_audio_buffer.{kind}",
                "event_id": new_id("event"),
                "response_id": response_id,
            }
            self._send(msgspec.json.encode(event).decode())

    def _send(self, text: str) -> None:
        if self._channel is not None and self._channel.readyState == "open":
            self._channel.send(text)

    async def _part(self) -> None:
        if self._replies == 1 and "hangs-up" in self._mistakes:
            await self._pc.close()
            self._gone()


class Speaker(MediaStreamTrack):
    """Plays in real time, silence between replies; `tell` gets what happens and to which response."""

    kind = "audio"

    def __init__(self, tell: Any) -> None:
        super().__init__()
        self._tell = tell
        self._sounds: deque[tuple[str, bytearray]] = deque()
        self._all_there: set[str] = set()
        self._sounding = ""
        self._next_at: float | None = None
        self._at = 0

    def play(self, response_id: str, pcm: bytes) -> None:
        """Queue 24 kHz PCM16 of a reply."""
        if not self._sounds or self._sounds[-1][0] != response_id:
            self._sounds.append((response_id, bytearray()))
        self._sounds[-1][1].extend(pcm)

    def last(self, response_id: str) -> None:
        """No more sound comes of this reply."""
        self._all_there.add(response_id)

    def clear(self) -> None:
        """Drop what has not been played."""
        self._sounds.clear()
        if self._sounding:
            self._tell("cleared", self._sounding)
            self._sounding = ""

    async def recv(self) -> AudioFrame:
        """Return 20 ms when they are due."""
        loop = asyncio.get_running_loop()
        self._next_at = loop.time() if self._next_at is None else self._next_at + FRAME_MS / 1000
        await asyncio.sleep(max(0.0, self._next_at - loop.time()))
        if self.readyState != "live":
            raise MediaStreamError
        frame = AudioFrame(format="s16", layout="mono", samples=_FRAME_BYTES // 2)
        frame.planes[0].update(self._piece().ljust(_FRAME_BYTES, b"\0"))
        frame.sample_rate, frame.time_base = WIRE_HZ, Fraction(1, WIRE_HZ)
        frame.pts, self._at = self._at, self._at + _FRAME_BYTES // 2
        return frame

    def _piece(self) -> bytes:
        if not self._sounds:
            return b""
        response_id, sound = self._sounds[0]
        if sound and not self._sounding:
            self._sounding = response_id
            self._tell("started", response_id)
        piece = bytes(sound[:_FRAME_BYTES])
        del sound[:_FRAME_BYTES]
        if not sound and response_id in self._all_there:
            self._sounds.popleft()
            self._sounding = ""
            self._tell("stopped", response_id)
        return piece


def without_candidates(sdp: str) -> str:
    """Return the description with nothing to connect to."""
    lines = [line for line in sdp.splitlines() if not line.startswith(("a=candidate", "a=end-of-candidates"))]
    return "\r\n".join(lines) + "\r\n"


def candidates_of(sdp: str) -> list[str]:
    """Return the description's candidates, each once."""
    found = [line[2:] for line in sdp.splitlines() if line.startswith("a=candidate:")]
    return list(dict.fromkeys(found))


def _kind(text: str) -> str:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return ""
    return str(found.get("type", "")) if isinstance(found, dict) else ""
