"""A call's leg: a Janus gateway's SIP plugin, driven over its WebSocket for as long as the call lasts.

Sources: the Janus documentation (the WebSocket interface, the SIP plugin); Delphi's client SDK 0.1.3.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from companion.errors import LegError
from companion.gateway.legs import is_final, one_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from websockets.asyncio.client import ClientConnection

    from companion.gateway.media import Codec
    from companion.gateway.peer import Peer

_socket_log = logging.getLogger(f"{__name__}.socket")
_socket_log.setLevel(logging.WARNING)  # at DEBUG it tells the session's id, which opens the call

_ANSWER_S = 10.0
_KEEPALIVE_S = 25.0
_FAREWELL_S = 1.0
_MOST_BYTES = 256 * 1024
_SUBPROTOCOL = Subprotocol("janus-protocol")
_PLUGIN = "janus.plugin.sip"


class _Error(msgspec.Struct):
    code: int = 0
    reason: str = ""


class _Result(msgspec.Struct):
    event: str = ""
    code: int | None = None
    reason: str = ""


class _Sip(msgspec.Struct):
    result: _Result | None = None
    error: str = ""
    error_code: int | None = None


class _Plugin(msgspec.Struct):
    data: _Sip = msgspec.field(default_factory=_Sip)


class _Id(msgspec.Struct):
    id: int


class _Jsep(msgspec.Struct):
    type: str
    sdp: str


class Message(msgspec.Struct):
    """What Janus says."""

    janus: str
    transaction: str = ""
    data: _Id | None = None
    error: _Error | None = None
    plugindata: _Plugin | None = None
    jsep: _Jsep | None = None
    reason: str = ""


@dataclass(frozen=True)
class JanusLeg:
    """Registers as a guest of `domain` and calls it. `call_id`: which session the call is for."""

    url: str
    domain: str
    call_id: str = field(repr=False)
    shape: Literal["call"] = "call"
    ice_servers: tuple[str, ...] = ()
    channel: str = ""
    codec: Codec = "audio/PCMA"

    @contextlib.asynccontextmanager
    async def connected(self, peer: Peer) -> AsyncIterator[None]:
        """Call, and hang up at the end. Raises LegError."""
        try:
            async with (
                connect(
                    self.url,
                    subprotocols=[_SUBPROTOCOL],
                    max_size=_MOST_BYTES,
                    open_timeout=_ANSWER_S,
                    close_timeout=1.0,
                    logger=_socket_log,
                ) as socket,
                _Call(socket, peer).lasting(self.domain, self.call_id),
            ):
                yield
        except InvalidStatus as error:
            status = error.response.status_code
            raise LegError(f"the call's gateway refused: HTTP {status}", fatal=is_final(status)) from None
        except ConnectionClosed as error:
            code = error.rcvd.code if error.rcvd else 1006
            raise LegError(f"the call's gateway closed its socket with {code}") from None
        except (OSError, TimeoutError, WebSocketException) as error:
            raise LegError(f"the call's gateway cannot be reached: {type(error).__name__}") from None


class _Call:
    """One Janus session with one handle of the SIP plugin."""

    def __init__(self, socket: ClientConnection, peer: Peer) -> None:
        self._socket = socket
        self._peer = peer
        self._where: dict[str, int] = {}  # session_id and handle_id, as far as they are known
        self._asked: dict[str, asyncio.Future[Message]] = {}
        self._told: asyncio.Queue[Message] = asyncio.Queue()
        self._up = False
        self._answered = False

    @contextlib.asynccontextmanager
    async def lasting(self, domain: str, call_id: str) -> AsyncIterator[None]:
        """Set the call up, and take it down at the end."""
        watch = asyncio.create_task(self._watched(self._read()))
        keeper = asyncio.create_task(self._watched(self._keep_alive()))
        setting_up = asyncio.create_task(self._set_up(domain, call_id))
        try:
            await asyncio.wait({watch, keeper, setting_up}, return_when="FIRST_COMPLETED")
            for task in (watch, keeper):
                if task.done():
                    task.result()
            await setting_up
            self._up = True
            yield
        finally:
            try:
                await self._take_down()
            finally:
                for task in (watch, keeper, setting_up):
                    task.cancel()
                await asyncio.gather(watch, keeper, setting_up, return_exceptions=True)

    async def _watched(self, job: Coroutine[Any, Any, None]) -> None:
        """Do a job of the whole call: its errors are the set-up's while that lasts, then the call's end."""
        try:
            await job
        except (LegError, ConnectionClosed) as error:
            if not self._up:
                raise
            self._peer.hang_up(f"the call is lost: {error}")

    async def _set_up(self, domain: str, call_id: str) -> None:
        self._where["session_id"] = _id(await self._ask("create"))
        self._where["handle_id"] = _id(await self._ask("attach", plugin=_PLUGIN))
        guest = {"request": "register", "type": "guest", "username": f"sip:webrtc@{domain}"}
        await self._ask("message", body={**guest, "proxy": f"sip:{domain}"})
        await self._until("registered")
        jsep = {"type": "offer", "sdp": await self._peer.offer()}
        call = {"request": "call", "uri": f"sip:webrtc@{domain}", "headers": {"X-Call-ID": call_id}}
        await self._ask("message", body=call, jsep=jsep)
        for found in self._peer.candidates():
            await self._ask("trickle", candidate=found)
        await self._ask("trickle", candidate={"completed": True})
        await self._until("accepted")
        await self._peer.connected()

    async def _until(self, wanted: str) -> None:
        """Read the plugin's events; the answer may come with the first of several."""
        while True:
            message = await self._told.get()
            if message.jsep and message.jsep.type == "answer" and not self._answered:
                self._answered = True
                await self._peer.answer(message.jsep.sdp)
            result = _result(message)
            if result.event == wanted:
                return
            if result.event in ("hangup", "registration_failed"):
                why = f"{result.code or ''} {one_line(result.reason)}".strip()
                raise LegError(f"the call was refused: {why or 'no reason given'}")

    async def _take_down(self) -> None:
        if "handle_id" not in self._where:
            return
        with contextlib.suppress(LegError, ConnectionClosed, TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                await self._ask("message", body={"request": "hangup"})
                del self._where["handle_id"]
                await self._ask("destroy")

    async def _ask(self, kind: str, **fields: Any) -> Message:
        transaction = secrets.token_hex(8)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._asked[transaction] = answer
        asked = {"janus": kind, "transaction": transaction, **self._where, **fields}
        try:
            await self._socket.send(msgspec.json.encode(asked).decode())
            async with asyncio.timeout(_ANSWER_S):
                return await answer
        except TimeoutError:
            raise LegError(f"the call's gateway does not answer a {kind}") from None
        finally:
            del self._asked[transaction]

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(_KEEPALIVE_S)
            if self._where:
                await self._ask("keepalive")

    async def _read(self) -> None:
        async for text in self._socket:
            try:
                message = msgspec.json.decode(text, type=Message)
            except (msgspec.DecodeError, RecursionError) as error:
                raise LegError(f"the call's gateway makes no sense: {error}") from None
            self._take(message)
        raise LegError("the call's gateway closed its socket")

    def _take(self, message: Message) -> None:
        answer = self._asked.get(message.transaction)
        if message.janus in ("success", "ack") and answer and not answer.done():
            answer.set_result(message)
        elif message.janus == "error" and answer and not answer.done():
            fault = message.error or _Error()
            text = f"the call's gateway reports {fault.code} {one_line(fault.reason)}"
            answer.set_exception(LegError(text))
        elif message.janus == "event" and self._up:
            if _result(message).event == "hangup":
                self._peer.hang_up()
        elif message.janus == "event":
            self._told.put_nowait(message)
        elif message.janus in ("hangup", "detached"):
            self._peer.hang_up()
        elif message.janus == "timeout":
            raise LegError("the call's gateway has forgotten the session")


def _id(message: Message) -> int:
    if message.data is None:
        raise LegError("the call's gateway gave no id")
    return message.data.id


def _result(message: Message) -> _Result:
    """Return the plugin's result. Raises LegError for its errors."""
    sip = message.plugindata.data if message.plugindata else _Sip()
    if sip.error:
        raise LegError(f"the call was refused: {sip.error_code or ''} {one_line(sip.error)}")
    return sip.result or _Result()
