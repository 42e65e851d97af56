"""Outspeed's leg: offer, answer and candidates over a signalling WebSocket.

Source: Outspeed's public web and Swift clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlencode

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from companion.errors import LegError
from companion.gateway.legs import is_final, one_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from websockets.asyncio.client import ClientConnection

    from companion.gateway.downlink import Shape
    from companion.gateway.media import Codec
    from companion.gateway.peer import Peer

log = logging.getLogger(__name__)
_socket_log = logging.getLogger(f"{__name__}.socket")
_socket_log.setLevel(logging.WARNING)  # at DEBUG it tells the URL, and in it the secret

_PONG_S = 3.0
_OPEN_S = 10.0
_MOST_BYTES = 256 * 1024  # of one signalling message


class Signal(msgspec.Struct, omit_defaults=True):
    """One message of the signalling socket."""

    type: str
    sdp: str | None = None
    candidate: str | dict[str, Any] | None = None
    sdp_mid: str | None = msgspec.field(default=None, name="sdpMid")
    sdp_index: int | None = msgspec.field(default=None, name="sdpMLineIndex")
    message: str | None = None


class _Candidate(msgspec.Struct):
    """A browser's RTCIceCandidate as it is."""

    candidate: str | None = None
    sdp_mid: str | None = msgspec.field(default=None, name="sdpMid")
    sdp_index: int | None = msgspec.field(default=None, name="sdpMLineIndex")


@dataclass(frozen=True)
class OutspeedLeg:
    """Signalling over wss://…/v1/realtime/ws; it is closed with 1000 once the peers are connected."""

    url: str
    secret: str = field(repr=False)
    model: str = ""
    shape: Shape = "beta"
    ice_servers: tuple[str, ...] = ()
    channel: str = "oai-events"
    codec: Codec = "audio/opus"

    @contextlib.asynccontextmanager
    async def connected(self, peer: Peer) -> AsyncIterator[None]:
        """Connect the peer; the signalling is over then. Raises LegError."""
        await self._connect(peer)
        yield

    async def _connect(self, peer: Peer) -> None:
        query = {"client_secret": self.secret, **({"model": self.model} if self.model else {})}
        url = f"{self.url}{'&' if '?' in self.url else '?'}{urlencode(query)}"
        try:
            async with connect(
                url, max_size=_MOST_BYTES, open_timeout=_OPEN_S, close_timeout=1.0, logger=_socket_log
            ) as socket:
                await self._signal(_Signalling(socket, peer, self.secret), peer)
        except InvalidStatus as error:
            status = error.response.status_code
            raise LegError(
                f"Outspeed refused the signalling socket: HTTP {status}", fatal=is_final(status)
            ) from None
        except ConnectionClosed as error:
            raise LegError(_closed(error, self.secret)) from None
        except (OSError, TimeoutError, WebSocketException) as error:
            # The error's own text may hold the URL, and with it the secret.
            raise LegError(
                f"Outspeed's signalling socket cannot be reached: {type(error).__name__}"
            ) from None

    async def _signal(self, signalling: _Signalling, peer: Peer) -> None:
        reader = asyncio.create_task(signalling.run())
        connected = asyncio.create_task(peer.connected())
        try:
            await signalling.begin()
            await asyncio.wait({reader, connected}, return_when="FIRST_COMPLETED")
            if not connected.done():
                reader.result()
            await connected
        finally:
            reader.cancel()
            connected.cancel()
            await asyncio.gather(reader, connected, return_exceptions=True)


class _Signalling:
    """Offer, answer and candidates over one socket."""

    def __init__(self, socket: ClientConnection, peer: Peer, secret: str) -> None:
        self._socket = socket
        self._peer = peer
        self._secret = secret
        self._ponged = asyncio.Event()
        self._answered = False
        self._early: list[Signal] = []

    async def begin(self) -> None:
        """Ask whether it is there, then offer."""
        await self._send(Signal("ping"))
        with contextlib.suppress(TimeoutError):  # a server that does not answer may still take the offer
            async with asyncio.timeout(_PONG_S):
                await self._ponged.wait()
        await self._send(Signal("offer", sdp=await self._peer.offer()))
        for found in self._peer.candidates():
            await self._send(
                Signal("candidate", None, found["candidate"], found["sdpMid"], found["sdpMLineIndex"])
            )

    async def run(self) -> None:
        """Read until the socket is closed."""
        async for text in self._socket:
            try:
                signal = msgspec.json.decode(text, type=Signal)
            except (msgspec.DecodeError, RecursionError) as error:
                raise LegError(f"Outspeed's signalling makes no sense: {error}") from None
            await self._take(signal)
        raise LegError("Outspeed closed the signalling before the peers were connected")

    async def _take(self, signal: Signal) -> None:
        match signal.type:
            case "pong":
                self._ponged.set()
            case "ping":
                await self._send(Signal("pong"))
            case "answer":
                await self._peer.answer(signal.sdp or "")
                self._answered = True
                for early in self._early:
                    await self._candidate(early)
            case "candidate" if self._answered:
                await self._candidate(signal)
            case "candidate":
                self._early.append(signal)
            case "error":
                raise LegError(f"Outspeed reports: {_shown(signal.message or 'an error', self._secret)}")

    async def _candidate(self, signal: Signal) -> None:
        line = signal.candidate
        if not isinstance(line, dict):
            await self._peer.candidate(line or "", signal.sdp_mid, signal.sdp_index)
            return
        try:
            found = msgspec.convert(line, _Candidate, strict=False)
        except msgspec.ValidationError as error:
            log.warning("a candidate of the provider makes no sense: %s; left out", error)
            return
        await self._peer.candidate(found.candidate or "", found.sdp_mid, found.sdp_index)

    async def _send(self, signal: Signal) -> None:
        await self._socket.send(msgspec.json.encode(signal).decode())


def _shown(text: str, secret: str) -> str:
    """Return the service's words without the secret, which it knows from an URL's query."""
    return one_line(text.replace(quote_plus(secret), secret), hide=secret)


def _closed(error: ConnectionClosed, secret: str) -> str:
    got = error.rcvd
    how = f"with {got.code} {_shown(got.reason, secret)}".rstrip() if got else "without a word"
    return f"Outspeed closed the signalling {how} before the peers were connected"
