"""One session: the device's WebSocket on one side, the provider's peer on the other, until either goes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from starlette.websockets import WebSocketDisconnect

from companion.errors import CompanionError, LegError
from companion.gateway.legs import one_line
from companion.gateway.peer import Peer
from companion.gateway.uplink import TooFarAheadError, Uplink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.websockets import WebSocket

    from companion.gateway.legs import Leg

log = logging.getLogger(__name__)

CONNECT_S = 10.0
_TICK_S = 0.05
_MOST_WAITING = 4000  # messages to a device that does not read
# Close codes towards the device: it ends, goes on elsewhere, or gives up.
NORMAL, FAILED, RESTARTING, REFUSED = 1000, 1011, 1012, 4001
_REASON_BYTES = 120  # RFC 6455 leaves 123


class Bridge(ABC):
    """`run` returns when both sides are closed. The socket has been accepted.

    What the device's frames mean, and what it is sent, is the subclass's.
    """

    def __init__(self, socket: WebSocket, leg: Leg, device: str, connect_s: float = CONNECT_S) -> None:
        self.device = device
        self.now = asyncio.get_running_loop().time
        self.uplink = Uplink(self.now())
        self._socket = socket
        self._leg = leg
        self._connect_s = connect_s
        self._outbox: asyncio.Queue[str | bytes] = asyncio.Queue()
        self._more = asyncio.Event()  # something new to send up
        self._over = asyncio.Event()
        self._why = (NORMAL, "")
        self.peer = Peer(
            self._next_frame,
            self.on_event,
            self.on_sound,
            channel=leg.channel,
            codec=leg.codec,
            ice_servers=leg.ice_servers,
        )

    async def run(self) -> None:
        """Serve until the device or the provider goes, or `end` is called."""
        jobs = (self._connect, self._read_all, self._send_all, self._tick_all)
        tasks = [asyncio.create_task(self._guarded(job)) for job in jobs]
        try:
            await self._over.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.peer.close()
        await self._close(*self._why)

    def end(self, code: int, reason: str) -> None:
        """End the session; the first reason counts."""
        if not self._over.is_set():
            self._why = (code, reason)
            self._over.set()

    def speak(self, pcm: bytes) -> None:
        """Send the device's sound up: PCM16 mono, 24 kHz; half a sample at the end is dropped."""
        try:
            self.uplink.sound(pcm[: len(pcm) // 2 * 2])
        except TooFarAheadError:
            self.end(FAILED, "more than a minute of sound waits to be sent in real time")

    def to_device(self, message: str | bytes) -> None:
        """Send a frame to the device."""
        self._outbox.put_nowait(message)
        if self._outbox.qsize() > _MOST_WAITING:
            self.end(FAILED, "the device does not read")

    @abstractmethod
    def on_frame(self, frame: str | bytes) -> None:
        """Take a frame of the device."""

    @abstractmethod
    def on_connected(self) -> None:
        """Note that the provider's leg is up."""

    @abstractmethod
    def on_event(self, text: str) -> None:
        """Take an event of the provider."""

    @abstractmethod
    def on_order(self, text: str) -> None:
        """Send an event to the provider: its turn among the sound has come."""

    @abstractmethod
    def on_sound(self, pcm: bytes) -> None:
        """Take the provider's sound: PCM16 mono, 24 kHz."""

    @abstractmethod
    def on_tick(self) -> None:
        """Do what is due; called each 50 ms."""

    # the tasks

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
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._connect_s):
                    await stack.enter_async_context(self._leg.connected(self.peer))
            except TimeoutError:
                text = f"no WebRTC connection to the provider within {self._connect_s:.0f} s"
                raise LegError(text) from None
            log.info("%s: WebRTC leg connected", self.device)
            self.on_connected()
            reason = await asyncio.shield(self.peer.ended)
            self.end(FAILED if reason else NORMAL, reason)

    async def _read_all(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                self.end(NORMAL, "")
                return
            text = message.get("text")
            self.on_frame(message["bytes"] if text is None else text)
            self._more.set()

    async def _send_all(self) -> None:
        while True:
            message = await self._outbox.get()
            if isinstance(message, str):
                await self._socket.send_text(message)
            else:
                await self._socket.send_bytes(message)

    async def _tick_all(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self.on_tick()

    async def _next_frame(self) -> bytes:
        while True:
            self._more.clear()
            due = self.uplink.poll(self.now())
            for text in due.orders:
                self.on_order(text)
            if due.frame is not None:
                return due.frame
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(due.wait_s):
                    await self._more.wait()

    async def _close(self, code: int, reason: str) -> None:
        level = logging.INFO if code == NORMAL else logging.WARNING
        log.log(level, "%s: gateway session ended%s", self.device, f": {reason}" if reason else "")
        cut = one_line(reason).encode()[:_REASON_BYTES].decode(errors="ignore")
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # it may have gone first
            await self._socket.close(code, cut)
