"""A Janus gateway's stand-in with its SIP plugin, and behind it a called party that hears and speaks.

Source: the Janus documentation: the WebSocket interface (janus-protocol), the SIP plugin and its events.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from typing import TYPE_CHECKING, Any

import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from aiortc.sdp import candidate_from_sdp
from av import AudioFrame, AudioResampler
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from companion.local.audio import EAR_HZ, WIRE_HZ
from companion.local.formats import A_LAW, from_voice, to_ear
from companion.simulators.mind import Mind
from companion.simulators.rtc import Speaker

if TYPE_CHECKING:
    from collections.abc import Callable

    from companion.local.engine import Engine

log = logging.getLogger(__name__)

MISTAKES = frozenset(
    {
        "call-busy",  # 486
        "call-unregistered",  # the guest may not register
        "call-early-media",  # no mistake: the answer comes before the call is accepted
        "call-noise",  # no mistake: the line is not silent between words
        "call-hangs-up",  # after the first reply
        "call-nonsense",  # no JSON once the call is up
        "call-forgotten",  # the gateway's session ends once the call is up
    }
)
_PLUGIN = "janus.plugin.sip"
_NOISE = 120  # of 32767, RMS


class Line(Speaker):
    """What the called party says, with the line's noise between the words."""

    def __init__(self, *, noisy: bool) -> None:
        super().__init__(lambda _kind, _response: None)
        self._rng = np.random.default_rng(5) if noisy else None

    async def recv(self) -> AudioFrame:
        frame = await super().recv()
        if self._rng is not None:
            heard = np.frombuffer(bytes(frame.planes[0])[: frame.samples * 2], "<i2")
            noisy = heard + self._rng.normal(0, _NOISE, len(heard))
            frame.planes[0].update(np.clip(noisy, -32768, 32767).astype("<i2").tobytes())
        return frame


class Party:
    """The called party: finds the caller's turns, answers them, and stops when it is interrupted."""

    def __init__(self, engine: Engine, mistakes: frozenset[str], hang_up: Callable[[], None]) -> None:
        self.pc = RTCPeerConnection(RTCConfiguration([]))
        self.pc.on("track", self._take_track)
        self._mind = Mind(engine, rate=EAR_HZ)
        self._line = Line(noisy="call-noise" in mistakes)
        self._hang_up = hang_up if "call-hangs-up" in mistakes else None
        self._tasks: set[asyncio.Task[None]] = set()
        self._reply: asyncio.Task[None] | None = None

    async def answer(self, offer: str) -> str:
        """Return the SDP answer."""
        await self._mind.start()
        await self.pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        self.pc.addTrack(self._line)
        await self.pc.setLocalDescription(await self.pc.createAnswer())
        sdp: str = self.pc.localDescription.sdp
        return sdp

    async def close(self) -> None:
        """Hang up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.pc.close()
        await self._mind.close()

    def _take_track(self, track: MediaStreamTrack) -> None:
        self._begin(self._hear(track))

    def _begin(self, job: Any) -> asyncio.Task[None]:
        task = asyncio.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _hear(self, track: MediaStreamTrack) -> None:
        resampler = AudioResampler(format="s16", layout="mono", rate=WIRE_HZ)
        narrow, ear = from_voice(A_LAW), to_ear(A_LAW)  # the ear needs help with a telephone's band
        with contextlib.suppress(MediaStreamError):
            while True:
                frame: Any = await track.recv()
                frame.pts = None
                pcm = b"".join(bytes(one.planes[0])[: one.samples * 2] for one in resampler.resample(frame))
                for edge in await self._mind.listen(ear(narrow(pcm))):
                    await self._turn(edge.kind)

    async def _turn(self, edge: str) -> None:
        if edge == "started":
            if self._reply:
                self._reply.cancel()
            self._line.clear()
        elif await self._mind.heard():
            self._reply = self._begin(self._answer())

    async def _answer(self) -> None:
        async for sentence in self._mind.reply():
            self._line.play("reply", sentence.pcm)
            await asyncio.sleep(len(sentence.pcm) / (2 * WIRE_HZ))
        if self._hang_up:
            self._hang_up()


class Janus:
    """The gateway. `knows`: whether a session of that id may be called for."""

    def __init__(self, engine: Engine, mistakes: frozenset[str], knows: Callable[[str], bool]) -> None:
        self.route = WebSocketRoute("/janus", self.socket)
        self._engine = engine
        self._mistakes = mistakes
        self._knows = knows

    async def socket(self, socket: WebSocket) -> None:
        """Serve one client."""
        if "janus-protocol" not in socket.scope["subprotocols"]:
            await socket.close(1002)
            return
        await socket.accept("janus-protocol")
        client = Client(socket, self._engine, self._mistakes, self._knows)
        try:
            while True:
                await client.take(await socket.receive_json())
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            await client.close()


class Client:
    """One client's session and its one handle."""

    def __init__(
        self, socket: WebSocket, engine: Engine, mistakes: frozenset[str], knows: Callable[[str], bool]
    ) -> None:
        self._socket = socket
        self._engine = engine
        self._mistakes = mistakes
        self._knows = knows
        self._session = self._handle = 0
        self._registered = False
        self._party: Party | None = None

    async def take(self, said: dict[str, Any]) -> None:
        """Answer one message."""
        fault = self._fault(said)
        if fault:
            await self._send("error", said, error={"code": fault[0], "reason": fault[1]})
            return
        match said["janus"]:
            case "create":
                self._session = secrets.randbits(52)
                await self._send("success", said, data={"id": self._session})
            case "attach":
                self._handle = secrets.randbits(52)
                await self._send("success", said, data={"id": self._handle})
            case "keepalive":
                await self._send("ack", said)
            case "trickle":
                await self._send("ack", said)
                await self._trickle(said["candidate"])
            case "message":
                await self._send("ack", said)
                await self._message(said)
            case "destroy":
                await self._send("success", said)
                await self.close()

    async def close(self) -> None:
        """End the call."""
        party, self._party = self._party, None
        if party:
            await party.close()

    def _fault(self, said: dict[str, Any]) -> tuple[int, str] | None:
        if not said.get("transaction"):
            return 456, "Missing mandatory element (transaction)"
        if said["janus"] == "create":
            return None
        if said.get("session_id") != self._session:
            return 458, f"No such session {said.get('session_id')}"
        if said["janus"] == "attach":
            return None if said.get("plugin") == _PLUGIN else (460, f"No such plugin '{said.get('plugin')}'")
        if said["janus"] in ("message", "trickle") and said.get("handle_id") != self._handle:
            return 459, f"No such handle {said.get('handle_id')}"
        known = ("message", "trickle", "keepalive", "destroy")
        return None if said["janus"] in known else (457, f"Unknown request '{said['janus']}'")

    async def _message(self, said: dict[str, Any]) -> None:
        body = said["body"]
        match body.get("request"):
            case "register":
                await self._register(body)
            case "call" if self._registered and "jsep" in said:
                await self._call(body, said["jsep"]["sdp"])
            case "call":
                await self._event(error_code=446, error="Not registered, or no offer")
            case "hangup":
                await self._hung_up(200, "Session Terminated")
            case other:
                await self._event(error_code=440, error=f"Unknown request {other}")

    async def _register(self, body: dict[str, Any]) -> None:
        guest = body.get("type") == "guest" and str(body.get("username", "")).startswith("sip:")
        if not guest or "call-unregistered" in self._mistakes:
            await self._result("registration_failed", code=403, reason="Forbidden")
            return
        self._registered = True
        await self._result("registered", username=body["username"], register_sent=False)

    async def _call(self, body: dict[str, Any], offer: str) -> None:
        await self._result("calling")
        if "call-busy" in self._mistakes:
            await self._result("hangup", code=486, reason="Busy Here")
            return
        if not self._knows(body.get("headers", {}).get("X-Call-ID", "")):
            await self._result("hangup", code=404, reason="Not Found")
            return
        loop = asyncio.get_running_loop()
        self._party = Party(self._engine, self._mistakes, lambda: _later(loop, self._hung_up(200, "Bye")))
        sdp = await self._party.answer(offer)
        early = "call-early-media" in self._mistakes
        if early:
            await self._result("progress", sdp)
        await self._result("accepted", None if early else sdp, username=body["uri"])
        await self._mischief()

    async def _mischief(self) -> None:
        if "call-nonsense" in self._mistakes:
            await self._socket.send_text("<html>")
        if "call-forgotten" in self._mistakes:
            await self._socket.send_json({"janus": "timeout", "session_id": self._session})

    async def _hung_up(self, code: int, reason: str) -> None:
        await self._result("hangup", code=code, reason=reason)
        await self._socket.send_json(
            {"janus": "hangup", "session_id": self._session, "sender": self._handle, "reason": reason}
        )
        await self.close()

    async def _trickle(self, candidate: dict[str, Any]) -> None:
        if self._party and candidate.get("candidate"):
            found = candidate_from_sdp(candidate["candidate"].removeprefix("candidate:"))
            found.sdpMid = candidate["sdpMid"]
            await self._party.pc.addIceCandidate(found)

    async def _result(self, event: str, sdp: str | None = None, **fields: Any) -> None:
        jsep = {"jsep": {"type": "answer", "sdp": sdp}} if sdp else {}
        await self._event(jsep, result={"event": event, **fields})

    async def _event(self, more: dict[str, Any] | None = None, **data: Any) -> None:
        plugin = {"plugin": _PLUGIN, "data": {"sip": "event", **data}}
        where = {"session_id": self._session, "sender": self._handle}
        await self._socket.send_json({"janus": "event", **where, "plugindata": plugin, **(more or {})})

    async def _send(self, kind: str, said: dict[str, Any], **fields: Any) -> None:
        where = {"session_id": self._session} if self._session else {}
        transaction = {"transaction": said["transaction"]} if said.get("transaction") else {}
        await self._socket.send_json({"janus": kind, **where, **transaction, **fields})


def _later(loop: asyncio.AbstractEventLoop, job: Any) -> None:
    loop.create_task(job).add_done_callback(lambda task: task.exception())
