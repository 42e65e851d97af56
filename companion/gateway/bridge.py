"""One session: the device's WebSocket on one side, the provider's peer on the other, until either goes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

import msgspec
from starlette.websockets import WebSocketDisconnect

from companion.errors import CompanionError
from companion.gateway.downlink import Downlink, read
from companion.gateway.legs import LegError, one_line
from companion.gateway.peer import Peer
from companion.gateway.uplink import TooFarAheadError, Uplink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.websockets import WebSocket

    from companion.gateway.downlink import Event
    from companion.gateway.legs import Leg

log = logging.getLogger(__name__)

CONNECT_S = 10.0
_TICK_S = 0.05
_MOST_WAITING = 4000  # messages to a device that does not read
_CLEAR_ID = "gateway_clear"
_CLEAR_SOUND = msgspec.json.encode({"type": "output_audio_buffer.clear", "event_id": _CLEAR_ID}).decode()
_CLEAR_INPUT = msgspec.json.encode({"type": "input_audio_buffer.clear", "event_id": _CLEAR_ID}).decode()
# Close codes towards the device: it ends, goes on elsewhere, or gives up.
NORMAL, FAILED, RESTARTING, REFUSED = 1000, 1011, 1012, 4001
_REASON_BYTES = 120  # RFC 6455 leaves 123


class _Order(msgspec.Struct):
    """What the gateway reads of a device's event."""

    type: str
    audio: bytes = b""


class Bridge:
    """`run` returns when both sides are closed. The socket has been accepted."""

    def __init__(self, socket: WebSocket, leg: Leg, device: str, connect_s: float = CONNECT_S) -> None:
        self._now = asyncio.get_running_loop().time
        self._socket = socket
        self._leg = leg
        self._device = device
        self._connect_s = connect_s
        self._uplink = Uplink(self._now())
        self._downlink = Downlink(leg.shape)
        self._outbox: asyncio.Queue[str] = asyncio.Queue()
        self._more = asyncio.Event()  # something new to send up
        self._over = asyncio.Event()
        self._why = (NORMAL, "")
        self._client_turns = False  # the device, not the server, ends the turns
        self._in_turn = False
        self._connected = False
        self._early: list[str] = []  # orders that came before the data channel was open
        self._peer = Peer(self._next_frame, self._on_event, self._on_sound, ice_servers=leg.ice_servers)

    async def run(self) -> None:
        """Serve until the device or the provider goes, or `end` is called."""
        jobs = (self._connect, self._read_all, self._send_all, self._tick_all, self._watch)
        tasks = [asyncio.create_task(self._guarded(job)) for job in jobs]
        try:
            await self._over.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._peer.close()
        await self._close(*self._why)

    def end(self, code: int, reason: str) -> None:
        """End the session; the first reason counts."""
        if not self._over.is_set():
            self._why = (code, reason)
            self._over.set()

    async def _guarded(self, job: Callable[[], Awaitable[None]]) -> None:
        try:
            await job()
        except WebSocketDisconnect:
            self.end(NORMAL, "")
        except CompanionError as error:
            fatal = isinstance(error, LegError) and error.fatal
            self.end(REFUSED if fatal else FAILED, str(error))
        except Exception:
            log.exception("a gateway session failed")
            self.end(FAILED, "internal error of the gateway")

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._connect_s):
                await self._leg.connect(self._peer)
        except TimeoutError:
            text = f"no WebRTC connection to the provider within {self._connect_s:.0f} s"
            raise LegError(text) from None
        self._connected = True
        for text in self._early:
            self._peer.send(text)
        self._early.clear()
        log.info("%s: WebRTC leg connected", self._device)

    async def _read_all(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                self.end(NORMAL, "")
                return
            text = message.get("text")
            if text is None:
                log.warning("%s sent a binary frame where events are JSON text; dropped", self._device)
            else:
                self._on_order(text)

    async def _send_all(self) -> None:
        while True:
            await self._socket.send_text(await self._outbox.get())

    async def _tick_all(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._to_device(self._downlink.tick(self._now()))

    async def _watch(self) -> None:
        reason = await asyncio.shield(self._peer.ended)
        if self._connected:  # before, `_connect` knows more about why
            self.end(FAILED if reason else NORMAL, reason)

    # from the device

    def _on_order(self, text: str) -> None:
        try:
            order = msgspec.json.decode(text, type=_Order)
        except msgspec.DecodeError as error:
            log.warning("%s sent an event that makes no sense: %s; dropped", self._device, error)
            return
        match order.type:
            case "input_audio_buffer.append":
                self._on_append(order.audio)
            case "input_audio_buffer.commit":
                self._in_turn = False
                self._uplink.order(text, after_sound=True)
            case "input_audio_buffer.clear":
                self._in_turn = False
                self._uplink.drop_sound()
                self._uplink.order(text)
            case "response.cancel":
                self._uplink.order(text)
                self._uplink.order(_CLEAR_SOUND)
                self._to_device(self._downlink.cancelled())
            case _:
                self._uplink.order(text)
        self._more.set()

    def _on_append(self, pcm: bytes) -> None:
        if self._client_turns and not self._in_turn:
            self._in_turn = True
            self._uplink.order(_CLEAR_INPUT)  # RTP never stops: the buffer is full of silence
        try:
            self._uplink.sound(pcm[: len(pcm) // 2 * 2])
        except TooFarAheadError:
            self.end(FAILED, "more than a minute of sound waits to be sent in real time")

    async def _next_frame(self) -> bytes:
        while True:
            self._more.clear()
            due = self._uplink.poll(self._now())
            for text in due.orders:
                self._to_provider(text)
            if due.frame is not None:
                return due.frame
            try:
                async with asyncio.timeout(due.wait_s):
                    await self._more.wait()
            except TimeoutError:
                continue

    def _to_provider(self, text: str) -> None:
        if not self._connected:
            self._early.append(text)
            return
        try:
            self._peer.send(text)
        except LegError as error:
            self.end(FAILED, str(error))

    # from the provider

    def _on_event(self, text: str) -> None:
        try:
            event = read(text)
        except msgspec.DecodeError as error:
            log.warning("the provider sent an event that makes no sense: %s; dropped", error)
            return
        if event.type in ("session.created", "session.updated"):
            self._uplink.unmute()
            self._client_turns = _client_turns(event)
        if event.error and event.error.get("event_id") == _CLEAR_ID:
            log.info("the provider does not know the gateway's clear: %s", event.error.get("code"))
            return
        self._to_device(self._downlink.event(text, event, self._now()))

    def _on_sound(self, pcm: bytes) -> None:
        self._to_device(self._downlink.sound(pcm, self._now()))

    def _to_device(self, texts: list[str]) -> None:
        for text in texts:
            self._outbox.put_nowait(text)
        if self._outbox.qsize() > _MOST_WAITING:
            self.end(FAILED, "the device does not read")

    async def _close(self, code: int, reason: str) -> None:
        level = logging.INFO if code == NORMAL else logging.WARNING
        log.log(level, "%s: gateway session ended%s", self._device, f": {reason}" if reason else "")
        cut = one_line(reason).encode()[:_REASON_BYTES].decode(errors="ignore")
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # it may have gone first
            await self._socket.close(code, cut)


def _client_turns(event: Event) -> bool:
    """Tell whether the session's turn detection is off, in either shape; unknown is no."""
    session = event.session or {}
    audio = session.get("audio")
    place = audio.get("input") if isinstance(audio, dict) else session
    return isinstance(place, dict) and "turn_detection" in place and place["turn_detection"] is None
