"""Outspeed's older self-hosted server: PCM16 in JSON text frames, and turns that the server finds by itself.

Source: PyPI outspeed 0.2.12, npm @outspeed/core 1.0.3. `GET functionURL` answers {"address": "http://.."};
the client connects there with ws for http. No secret, no memory: each connection is a new talk. A reply that
the user talks over is dropped without a word: no audio_end comes for it.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from starlette.responses import JSONResponse
from starlette.websockets import WebSocketDisconnect

from companion.local.audio import WIRE_BYTES_PER_MS, WIRE_HZ
from companion.local.items import Turn
from companion.simulators.mind import Mind

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.websockets import WebSocket

    from companion.local.engine import Engine
    from companion.simulators.mind import Sentence

log = logging.getLogger(__name__)

MISTAKES = frozenset({"legacy-fast", "legacy-odd-rate", "legacy-late-words", "legacy-unknown-frames"})
_DEFAULT_HZ = 48_000
_RATES = {"input_sample_rate": (16_000, 24_000, 48_000), "output_sample_rate": (24_000, 48_000)}
_PIECE = 100 * WIRE_BYTES_PER_MS
_AHEAD_S = 0.4


class Metadata(msgspec.Struct, frozen=True, tag_field="type", tag="audio_metadata"):
    """The first frame; rates in Hz."""

    input_sample_rate: int = _DEFAULT_HZ
    output_sample_rate: int = _DEFAULT_HZ


class Audio(msgspec.Struct, frozen=True, tag_field="type", tag="audio"):
    """Sound at the input rate (base64 on the wire)."""

    data: bytes


class Message(msgspec.Struct, frozen=True, tag_field="type", tag="message"):
    """Words that were typed."""

    data: str


class Stop(msgspec.Struct, frozen=True, tag_field="type", tag="websocket_stop"):
    """The client's farewell."""


_frames = msgspec.json.Decoder(Metadata | Audio | Message | Stop)


def address(request: Request) -> Response:
    """GET the function's URL: where the socket is, as http."""
    return JSONResponse({"address": f"{request.url.scheme}://{request.url.netloc}"})


async def talk(socket: WebSocket, engine: Engine, mistakes: frozenset[str]) -> None:
    """Serve one client until either side ends it."""
    await socket.accept()
    with suppress(WebSocketDisconnect):
        first = await _receive(socket)
        fault = _fault(first)
        if not isinstance(first, Metadata) or fault:
            await socket.close(1008, fault)
            return
        rate = first.input_sample_rate
        mind = Mind(engine, rate=min(rate, WIRE_HZ))
        await mind.start()
        try:
            await _Talk(socket, mind, first, mistakes).run()
        finally:
            await mind.close()


def _fault(first: Any) -> str:
    if not isinstance(first, Metadata):
        return "the first frame must be audio_metadata"
    for name, known in _RATES.items():
        if getattr(first, name) not in known:
            return f"{name} must be one of {known}"
    return ""


async def _receive(socket: WebSocket) -> Any:
    """Return the next frame, or None for one that makes no sense."""
    try:
        return _frames.decode(await socket.receive_text())
    except msgspec.MsgspecError:
        return None


class _Talk:
    """Hears all the time; what the user says next ends a reply that is being made."""

    def __init__(self, socket: WebSocket, mind: Mind, rates: Metadata, mistakes: frozenset[str]) -> None:
        self._socket = socket
        self._mind = mind
        self._rates = rates
        self._mistakes = mistakes
        self._reply: asyncio.Task[None] | None = None

    async def run(self) -> None:
        try:
            while not isinstance(frame := await _receive(self._socket), Stop):
                if isinstance(frame, Audio):
                    await self._hear(frame.data)
                elif isinstance(frame, Message):
                    await self._silence()
                    self._mind.turns.append(Turn("user", frame.data))
                    self._answer()
            await self._socket.close(1000)
        finally:
            await self._silence()

    async def _hear(self, pcm: bytes) -> None:
        for edge in await self._mind.listen(self._to_ear(pcm)):
            if edge.kind == "started":
                await self._silence()
            elif words := await self._mind.heard():
                log.info("heard: %s", words)
                self._answer()

    def _to_ear(self, pcm: bytes) -> bytes:
        if self._rates.input_sample_rate <= WIRE_HZ:
            return pcm
        pairs = np.frombuffer(pcm[: len(pcm) // 4 * 4], "<i2").reshape(-1, 2)
        halved: bytes = pairs.mean(axis=1).astype("<i2").tobytes()
        return halved

    def _answer(self) -> None:
        self._reply = asyncio.create_task(self._speak())

    async def _silence(self) -> None:
        """Stop the reply that is being made; the sentence that was cut is said again by "carry on"."""
        reply, self._reply = self._reply, None
        if reply is not None:
            reply.cancel()
            await asyncio.gather(reply, return_exceptions=True)

    async def _speak(self) -> None:
        kept, said = len(self._mind.turns), list[str]()
        began = time.monotonic()
        try:
            async with aclosing(self._mind.reply()) as sentences:
                async for sentence in sentences:
                    began = await self._say(sentence, began)
                    said.append(sentence.text)
        except asyncio.CancelledError:
            self._mind.turns[kept:] = [Turn("assistant", " ".join(said))] if said else []
            raise
        await self._send("audio_end")

    async def _say(self, sentence: Sentence, began: float) -> float:
        """Send words and sound, a little ahead of the speaker; return when the next sentence begins there."""
        late = "legacy-late-words" in self._mistakes
        if not late:
            await self._send("message", data=sentence.text)
        for at in range(0, len(sentence.pcm), _PIECE):
            await self._sound(sentence.pcm[at : at + _PIECE])
            ends_at = began + (at + _PIECE) / WIRE_BYTES_PER_MS / 1000
            if "legacy-fast" not in self._mistakes:
                await asyncio.sleep(ends_at - _AHEAD_S - time.monotonic())
        if late:
            await self._send("message", data=sentence.text)
        return max(began, time.monotonic() - _AHEAD_S) + len(sentence.pcm) / WIRE_BYTES_PER_MS / 1000

    async def _sound(self, pcm: bytes) -> None:
        doubled = self._rates.output_sample_rate > WIRE_HZ
        out = np.repeat(np.frombuffer(pcm, "<i2"), 2).tobytes() if doubled else pcm
        if "legacy-unknown-frames" in self._mistakes:
            await self._send("video", data="")
        # The rate that is told is the voice's own, not the one that was asked for and is sent.
        told = 16_000 if "legacy-odd-rate" in self._mistakes else WIRE_HZ
        await self._send("audio", data=base64.b64encode(out).decode("ascii"), sample_rate=told)

    async def _send(self, kind: str, **fields: Any) -> None:
        await self._socket.send_json({"type": kind, "timestamp": time.time(), **fields})
