"""A TCP proxy that breaks: it passes every byte on until told to cut, stall, drip, swallow or refuse."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

Way = Literal["up", "down"]
BOTH: tuple[Way, Way] = ("up", "down")
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST
_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


@dataclass
class _Lane:
    """One direction of all connections."""

    flows: asyncio.Event = field(default_factory=asyncio.Event)
    swallows: bool = False
    bytes_s: float = 0.0  # 0: as they come
    left: int | None = None  # bytes until the cut
    passed: int = 0


class Proxy:
    """Stands in front of `target`, a URL; `url` is the same URL through it. Use it as a context manager.

    Its methods may be called from any thread and have taken effect when they return. "up" is from the client
    to the server.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "127.0.0.1", parts.port or _PORTS[parts.scheme])
        self.connections = 0  # accepted so far
        self.port = 0
        self._parts = parts
        self._lanes: dict[Way, _Lane] = {}
        self._ends: set[asyncio.StreamWriter] = set()
        self._answer: bytes | None = None
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """The target's URL, by way of this proxy."""
        return self._parts._replace(netloc=f"127.0.0.1:{self.port}").geturl()

    @property
    def open(self) -> int:
        """How many connections of clients and to the server are open."""
        return len(self._ends)

    def passed(self, way: Way) -> int:
        """How many bytes were passed on in a direction."""
        return self._lanes[way].passed

    # --- faults

    def cut(self) -> None:
        """Break every connection with RST, at both ends."""
        self._call(self._reset_all)

    def close(self) -> None:
        """End every connection with FIN, at both ends."""
        self._call(self._close_all)

    def cut_after(self, way: Way, count: int) -> None:
        """Cut at the first byte after `count` more have passed in a direction."""
        self._call(lambda: setattr(self._lanes[way], "left", count))

    def stall(self, *ways: Way) -> None:
        """Hold every byte back until `resume`; connections are taken, and wait. Default: both directions."""
        self._each(ways, lambda lane: lane.flows.clear())

    def black_hole(self, *ways: Way) -> None:
        """Swallow every byte and every end of a connection: half open, for ever. Default: both directions."""
        self._each(ways, lambda lane: setattr(lane, "swallows", True))

    def drip(self, bytes_s: float, *ways: Way) -> None:
        """Pass on so many bytes a second, one at a time. Default: both directions."""
        self._each(ways, lambda lane: setattr(lane, "bytes_s", bytes_s))

    def refuse(self) -> None:
        """Refuse new connections; those that are open live on."""
        self._do(self._shut())

    def answer(self, status: str, body: bytes = b"", **headers: str) -> None:
        """Answer new connections' requests in the server's place: `answer("502 Bad Gateway")`.

        `Retry_After="3"` becomes the header Retry-After.
        """
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        text = "\r\n".join([*lines, "", ""]).encode() + body
        self._call(lambda: setattr(self, "_answer", text))

    def resume(self) -> None:
        """Mend everything: what was held passes on, new connections are taken; what was swallowed is lost."""
        self._do(self._mend())

    # --- in the loop's thread

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _call(self, work: Callable[[], None]) -> None:
        async def run() -> None:
            work()
            await asyncio.sleep(0)  # a transport lets go of its socket in the loop's next round

        self._do(run())

    def _each(self, ways: tuple[Way, ...], work: Callable[[_Lane], None]) -> None:
        for way in ways or BOTH:
            self._call(partial(work, self._lanes[way]))

    async def _open(self) -> None:
        if not self._lanes:
            self._lanes = {way: _Lane() for way in BOTH}
            for lane in self._lanes.values():
                lane.flows.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        if self._server:
            self._server.close()
            self._server = None

    async def _mend(self) -> None:
        self._answer = None
        for lane in self._lanes.values():
            lane.swallows, lane.bytes_s, lane.left = False, 0.0, None
            lane.flows.set()
        await self._open()

    async def _end(self) -> None:
        await self._shut()
        self._reset_all()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _reset_all(self) -> None:
        for end in list(self._ends):
            with suppress(OSError):  # closed by its own side, and not yet taken off
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.transport.abort()

    def _close_all(self) -> None:
        for end in list(self._ends):
            end.close()

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._ends.add(client)
        ends = [client]
        try:
            if self._answer is not None:
                await self._respond(reader, client, self._answer)
                return
            far_reader, server = await asyncio.open_connection(*self._target)
            self._ends.add(server)
            ends.append(server)
            await asyncio.gather(
                self._pump(reader, server, self._lanes["up"]),
                self._pump(far_reader, client, self._lanes["down"]),
            )
        except (OSError, asyncio.CancelledError):
            pass  # one of the ends has gone, or the proxy ends: streams report a cancelled task as an error
        finally:
            for end in ends:
                self._ends.discard(end)
                end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lane: _Lane) -> None:
        while data := await reader.read(65536):
            await self._pass(data, writer, lane)
        await lane.flows.wait()
        if not lane.swallows and writer.can_write_eof():
            writer.write_eof()

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter, lane: _Lane) -> None:
        while data:
            await lane.flows.wait()
            if lane.swallows or writer.is_closing():
                return
            if lane.left == 0:
                lane.left = None
                self._reset_all()
                return
            size = 1 if lane.bytes_s else len(data)
            if lane.left is not None:
                size = min(size, lane.left)
                lane.left -= size
            writer.write(data[:size])
            await writer.drain()
            data = data[size:]
            lane.passed += size
            if lane.bytes_s:
                await asyncio.sleep(1 / lane.bytes_s)

    async def _respond(
        self, reader: asyncio.StreamReader, client: asyncio.StreamWriter, answer: bytes
    ) -> None:
        with suppress(asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = head.partition("content-length:")[2].partition("\r\n")[0]
            await reader.readexactly(int(length or 0))
        client.write(answer)
        await client.drain()
