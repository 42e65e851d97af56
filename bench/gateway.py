"""The latency that the WebRTC gateway adds, each way, and what it costs.

Method: chirps of 40 ms at random places in a stream of 20 ms frames, sent in real time. A chirp's latency is
from the moment the sender hands over the frame with the chirp's middle sample to the moment the receiver has
that sample; its place in the received stream is found by correlation. First over a WebSocket straight from
device to service (as a service without WebRTC would have it), then through the companion, which is its own
process: device -> WebSocket -> gateway -> RTP Opus -> service, and back. The service's peer has no jitter
buffer, so none is in the figures; Opus' look-ahead (6.5 ms) and framing are. All on loopback and one clock.

    python bench/gateway.py [--seconds N] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import uvicorn
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av.packet import Packet
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from companion.gateway.codec import OpusEncoder, ToPcm
from companion.gateway.media import without_delay
from companion.serve import listen, url_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from numpy.typing import NDArray
    from starlette.requests import Request

RATE = 24_000
FRAME = 480
FRAME_S = FRAME / RATE
LOOK_AHEAD_MS = 6.5
TICKS = os.sysconf("SC_CLK_TCK")
_N = np.arange(RATE * 40 // 1000)
CHIRP = np.sin(2 * np.pi * (500 * _N / RATE + 30_000 * (_N / RATE) ** 2)) * np.hanning(len(_N)) * 12_000
EVERY = RATE // 2  # one chirp in each half second

Heard = list[tuple[float, bytes]]  # when, and what was new


def stream(seconds: float) -> tuple[NDArray[np.int16], list[int]]:
    """Return sound with chirps, and where their middles are."""
    rng = np.random.default_rng(7)
    sound = rng.normal(0, 60, int(seconds * RATE))
    starts = [at + int(rng.integers(0, EVERY - len(CHIRP))) for at in range(RATE, len(sound) - EVERY, EVERY)]
    for start in starts:
        sound[start : start + len(CHIRP)] += CHIRP
    return sound.astype("<i2"), [start + len(CHIRP) // 2 for start in starts]


async def play(sound: NDArray[np.int16], hand_over: Callable[[bytes], Awaitable[None]]) -> list[float]:
    """Hand over a frame each 20 ms; returns when each was."""
    began, times = time.monotonic(), []
    for number, at in enumerate(range(0, len(sound) - FRAME + 1, FRAME)):
        await asyncio.sleep(max(0.0, began + number * FRAME_S - time.monotonic()))
        times.append(time.monotonic())
        await hand_over(sound[at : at + FRAME].tobytes())
    return times


def latencies_ms(middles: list[int], sent: list[float], heard: Heard) -> list[float]:
    """Return each chirp's latency."""
    ends = np.cumsum([len(pcm) // 2 for _, pcm in heard])
    got = np.frombuffer(b"".join(pcm for _, pcm in heard), "<i2").astype(float)
    shape = np.correlate(got, CHIRP, "valid")
    level = 0.5 * shape.max()
    found: list[float] = []
    at = 0
    for middle in middles:
        above = np.flatnonzero(shape[at:] > level)
        if not len(above):
            break
        start = at + above[0]
        peak = start + int(np.argmax(shape[start : start + len(CHIRP)])) + len(CHIRP) // 2
        when = heard[int(np.searchsorted(ends, peak, side="right"))][0]
        found.append((when - sent[middle // FRAME]) * 1000)
        at = peak + len(CHIRP)
    return found


class Mouth(MediaStreamTrack):
    """Sends what it is given, at once; the frame clock is the giver's."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.frames: asyncio.Queue[bytes] = asyncio.Queue()
        self._encoder, self._at = OpusEncoder(), 0

    async def recv(self) -> Packet[Any]:
        packet = Packet(self._encoder.encode(await self.frames.get()))
        packet.pts, packet.time_base = self._at, Fraction(1, 48_000)
        self._at += 2 * FRAME
        return packet


class Service:
    """A service of OpenAI's calls, and a plain WebSocket beside it, that notes when it hears what."""

    def __init__(self) -> None:
        self.heard: Heard = []
        self.mouth = Mouth()
        self.channel: Any = None
        self.sockets: list[WebSocket] = []
        self.commits: list[float] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.app = Starlette(
            routes=[
                Route("/v1/realtime/client_secrets", self.mint, methods=["POST"]),
                Route("/v1/realtime/calls", self.call, methods=["POST"]),
                WebSocketRoute("/direct", self.direct),
            ]
        )

    async def mint(self, _: Request) -> Response:
        return JSONResponse({"value": "ek_bench", "expires_at": int(time.time()) + 600})

    async def call(self, request: Request) -> Response:
        peer = RTCPeerConnection(RTCConfiguration([]))
        peer.on("track", lambda track: self._tasks.append(asyncio.create_task(self._hear(track))))
        peer.on("datachannel", self._take_channel)
        offer = RTCSessionDescription((await request.body()).decode(), "offer")
        await peer.setRemoteDescription(offer)
        without_delay(peer.getReceivers()[0])
        peer.addTrack(self.mouth)
        await peer.setLocalDescription(await peer.createAnswer())
        return Response(peer.localDescription.sdp, 201, media_type="application/sdp")

    async def direct(self, socket: WebSocket) -> None:
        await socket.accept()
        self.sockets.append(socket)
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                event = json.loads(await socket.receive_text())
                self.heard.append((time.monotonic(), base64.b64decode(event["audio"])))

    async def _hear(self, track: MediaStreamTrack) -> None:
        to_pcm = ToPcm()
        with contextlib.suppress(MediaStreamError):
            while True:
                frame: Any = await track.recv()
                self.heard.append((time.monotonic(), to_pcm(frame)))

    def _take_channel(self, channel: Any) -> None:
        self.channel = channel
        channel.on("message", self._take_event)
        audio = {"input": {"turn_detection": None}}
        self.say("session.created", session={"type": "realtime", "id": "sess_1", "audio": audio})

    def _take_event(self, text: str) -> None:
        if json.loads(text)["type"] == "input_audio_buffer.commit":
            self.commits.append(time.monotonic())

    def say(self, kind: str, **fields: Any) -> None:
        self.channel.send(json.dumps({"type": kind, **fields}))


class Device:
    """The client's end of a WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.heard: Heard = []
        self.created = asyncio.Event()

    async def read(self) -> None:
        async for text in self.socket:
            event = json.loads(text)
            if event["type"] == "response.output_audio.delta":
                self.heard.append((time.monotonic(), base64.b64decode(event["delta"])))
            elif event["type"] == "session.created":
                self.created.set()

    async def append(self, pcm: bytes) -> None:
        audio = base64.b64encode(pcm).decode()
        await self.socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))


@contextlib.asynccontextmanager
async def device(url: str, headers: dict[str, str]) -> AsyncIterator[Device]:
    async with connect(url, additional_headers=headers, max_size=2**24) as socket:
        one = Device(socket)
        reader = asyncio.create_task(one.read())
        try:
            yield one
        finally:
            reader.cancel()


async def both_ways(
    service: Service, one: Device, seconds: float, say: Callable[[bytes], Awaitable[None]]
) -> dict[str, list[float]]:
    """Measure up, then down."""
    sound, middles = stream(seconds)
    service.heard.clear()
    sent = await play(sound, one.append)
    await asyncio.sleep(0.3)
    up = latencies_ms(middles, sent, service.heard)
    one.heard.clear()
    sent = await play(sound, say)
    await asyncio.sleep(0.3)
    return {"up": up, "down": latencies_ms(middles, sent, one.heard)}


async def direct(service: Service, url: str, seconds: float) -> dict[str, list[float]]:
    async with device(url.replace("http", "ws", 1) + "/direct", {}) as one:

        async def say(pcm: bytes) -> None:
            delta = base64.b64encode(pcm).decode()
            await service.sockets[0].send_text(
                json.dumps({"type": "response.output_audio.delta", "delta": delta})
            )

        return await both_ways(service, one, seconds, say)


async def bridged(service: Service, companion: Companion, seconds: float) -> dict[str, Any]:
    grant = (await companion.mint()).json()
    async with device(grant["url"], {"Authorization": f"Bearer {grant['auth']['value']}"}) as one:
        await asyncio.wait_for(one.created.wait(), 10)

        async def say(pcm: bytes) -> None:
            service.mouth.frames.put_nowait(pcm)

        service.say("response.created", response={"id": "resp_1"})
        service.say("output_audio_buffer.started", response_id="resp_1")
        cpu, began = companion.cpu_s, time.monotonic()
        measured: dict[str, Any] = await both_ways(service, one, seconds, say)
        measured["cpu_percent"] = (companion.cpu_s - cpu) / (time.monotonic() - began) * 100
        await play(stream(0.5)[0], one.append)
        released = time.monotonic()
        await one.socket.send('{"type": "input_audio_buffer.commit"}')
        await asyncio.sleep(1.0)
        measured["release_to_commit_ms"] = (service.commits[-1] - released) * 1000
    return measured


class Companion:
    """`pressel-companion serve` with OpenAI over WebRTC, as a process."""

    def __init__(self, folder: Path, service_url: str) -> None:
        config = folder / "companion.toml"
        config.write_text(
            'listen = "127.0.0.1:0"\ntokens_file = "tokens.json"\nstate_dir = "state"\n'
            '[endpoints.default]\nprovider = "openai"\n[endpoints.default.openai]\ntransport = "webrtc"\n'
            f'[providers.openai]\nbase_url = "{service_url}"\nkey_env = "BENCH_KEY"\n'
        )
        command = [sys.executable, "-m", "companion"]
        env = {**os.environ, "BENCH_KEY": "bench"}
        done = subprocess.run(
            [*command, "token", "new", "bench", "--config", str(config)],
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )
        self._token = re.findall(r"pressel_[\w-]+", done.stdout)[0]
        self._log = (folder / "companion.log").open("w+b")
        self.process = subprocess.Popen(
            [*command, "serve", "--config", str(config)], env=env, stdout=self._log, stderr=self._log
        )
        self.url = self._wait(folder / "companion.log")

    def _wait(self, log: Path) -> str:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
            if found:
                return found.group(0)
            time.sleep(0.05)
        raise SystemExit(f"the companion does not come up:\n{log.read_text()}")

    async def mint(self) -> httpx.Response:
        async with httpx.AsyncClient() as client:
            bearer = {"Authorization": f"Bearer {self._token}"}
            return (await client.post(f"{self.url}/v1/sessions", json={}, headers=bearer)).raise_for_status()

    @property
    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self._log.close()


async def measure(seconds: float) -> dict[str, Any]:
    service, bound = Service(), listen("127.0.0.1", 0)
    server = uvicorn.Server(
        uvicorn.Config(service.app, log_config=None, ws="websockets-sansio", lifespan="off")
    )
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    url = url_of(bound)
    with tempfile.TemporaryDirectory() as folder:
        companion = await asyncio.to_thread(Companion, Path(folder), url)
        try:
            found = {"direct": await direct(service, url, seconds)}
            found["gateway"] = await bridged(service, companion, seconds)
        finally:
            companion.stop()
            server.should_exit = True
            await serving
    return found


def report(found: dict[str, Any]) -> None:
    for way in ("up", "down"):
        straight, through = (statistics.mean(found[path][way]) for path in ("direct", "gateway"))
        worst, count = max(found["gateway"][way]), len(found["gateway"][way])
        print(
            f"{way:4}  direct {straight:4.1f} ms, through the gateway {through:4.1f} ms (worst {worst:4.1f}; "
            f"means of {count} chirps): added {through - straight:4.1f} ms, {LOOK_AHEAD_MS} of them Opus"
        )
    print(f"release to commit at the service {found['gateway']['release_to_commit_ms']:.0f} ms")
    print(f"CPU of the companion, sound one way at a time: {found['gateway']['cpu_percent']:.1f} % of a core")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=15.0, help="of sound, each way and path")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = asyncio.run(measure(given.seconds))
    if given.json:
        print(json.dumps(found))
    else:
        report(found)


if __name__ == "__main__":
    main()
