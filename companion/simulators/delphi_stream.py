"""One session's way to the browser: the socket of the moment, and the log that a reconnect is served from.

Source: the vendor's client SDK 0.1.3 (SessionClient.ts): the runtime's messages carry a Redis stream id, and
a client that comes back names the last one it has.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.websockets import WebSocketDisconnect

from companion.simulators.delphi_wire import Json, message

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

_KEPT = 4000  # messages


class Stream:
    """Sends to whoever is connected; what the runtime says is kept, connected or not."""

    def __init__(self, session_id: str, mistakes: frozenset[str]) -> None:
        self.session_id = session_id
        self._mistakes = mistakes
        self._log: deque[Json] = deque(maxlen=_KEPT)
        self._socket: WebSocket | None = None
        self._last = (0, 0)

    async def join(self, socket: WebSocket) -> None:
        """Take over from an older socket, which is told so."""
        older, self._socket = self._socket, socket
        if older:
            await older.close(4000, "superseded by a newer connection")

    def leave(self, socket: WebSocket) -> None:
        """Forget the socket, if it is still the one in use."""
        if self._socket is socket:
            self._socket = None

    async def tell(self, kind: str, **payload: Any) -> None:
        """Send what concerns this connection alone: status, pong, error."""
        await self._send(message(kind, self.session_id, **payload))

    async def publish(self, kind: str, **payload: Any) -> None:
        """Send what the runtime says; it can be asked for again."""
        said = {**message(kind, self.session_id, **payload), "streamId": self._next_id()}
        self._log.append(said)
        await self._send(said)
        if "duplicate-messages" in self._mistakes:
            await self._send(said)

    async def replay(self, after: str) -> None:
        """Send again what was published after a stream id."""
        cursor = _parts(after)
        for said in list(self._log):
            if _parts(said["streamId"]) > cursor:
                await self._send(said)

    async def cut(self, code: int, reason: str) -> None:
        """Close the socket of the moment; the session goes on."""
        socket, self._socket = self._socket, None
        if socket:
            await socket.close(code, reason)

    async def _send(self, said: Json) -> None:
        socket = self._socket
        if socket is None:
            return
        try:
            await socket.send_text(msgspec.json.encode(said).decode())
        except (WebSocketDisconnect, RuntimeError):  # it went while we spoke; its reader says so
            self.leave(socket)

    def _next_id(self) -> str:
        now_ms = int(time.time() * 1000)
        ms, count = self._last
        self._last = (now_ms, 0) if now_ms > ms else (ms, count + 1)
        return f"{self._last[0]}-{self._last[1]}"


def _parts(stream_id: str) -> tuple[int, int]:
    """Read a Redis stream id, "MS-SEQUENCE". Raises ValueError."""
    ms, _, count = stream_id.partition("-")
    return int(ms), int(count or 0)
