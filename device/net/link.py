"""One WebSocket: a bounded outbox with its own sender thread, and frames to be read by one receiver."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import deque
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import websocket
from websocket import ABNF

from device.core.grant import host_of
from device.dialects.dialect import printable
from device.errors import LinkError

if TYPE_CHECKING:
    from device.core.grant import Grant

Frame = str | bytes
_FATAL_CLOSES = {3000, *range(4000, 4100)}
_OPTIONS = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))


class Link:
    """An open WebSocket. Connects in the constructor; raises LinkError when refused.

    `ping_s`: a ping this often; a peer that is silent for twice as long is gone.
    """

    def __init__(
        self,
        grant: Grant,
        *,
        connect_timeout_s: float = 10.0,
        ping_s: float = 5.0,
        outbox_bytes: int = 8 << 20,
        frame_limit: int = 4 << 20,
    ) -> None:
        try:
            self._where = host_of(grant.url)
        except ValueError:
            raise LinkError("the grant's URL makes no sense; mend it at the backend", fatal=True) from None
        self._socket = _open(grant, connect_timeout_s)
        self._socket.settimeout(ping_s)
        self._ping_s = ping_s
        self._outbox: deque[Frame] = deque()
        self._outbox_bytes = 0
        self._outbox_limit = outbox_bytes
        self._frame_limit = frame_limit
        self._wake = threading.Condition()
        self._closing = False
        self._failure: LinkError | None = None
        self._sender = threading.Thread(target=self._send_all, name="sender", daemon=True)
        self._sender.start()

    @property
    def where(self) -> str:
        """The server's host and port."""
        return self._where

    def send(self, frame: Frame) -> None:
        """Queue a frame. A full outbox is a lost link, not late speech: it closes and `receive` says so."""
        with self._wake:
            if self._closing or self._failure:
                return
            self._outbox.append(frame)
            self._outbox_bytes += len(frame)
            if self._outbox_bytes > self._outbox_limit:
                self._fail(
                    LinkError(f"the network to {self._where} is stalled: {self._outbox_bytes} bytes wait")
                )
            self._wake.notify()

    def receive(self, deadline: float | None = None) -> Frame | None:
        """Block for the next text or binary frame; None when it was over the limit and dropped.

        Raises LinkError when the link has gone or `deadline` (monotonic seconds) has passed; `fatal` when the
        server said never again.
        """
        last_heard = time.monotonic()
        while True:
            self._limit_wait(deadline)
            try:
                opcode, frame = self._socket.recv_data_frame(control_frame=True)
            except websocket.WebSocketTimeoutException:
                if time.monotonic() - last_heard > 2 * self._ping_s:
                    raise self._gone(f"nothing heard for {2 * self._ping_s:.0f} s") from None
                continue
            except (websocket.WebSocketException, OSError, ValueError) as error:
                raise self._gone(printable(str(error)) or type(error).__name__) from None
            last_heard = time.monotonic()
            if opcode == ABNF.OPCODE_CLOSE:
                raise self._closed(frame.data)
            if opcode in (ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY):
                return self._read(opcode, frame.data)

    def close(self, grace_s: float = 0.5) -> None:
        """Send what waits, shake hands, and go; safe from any thread, and twice."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._sender.join(grace_s)
        self._socket.shutdown()  # type: ignore[no-untyped-call] # the library has no types here

    def _limit_wait(self, deadline: float | None) -> None:
        """Wait for the next frame no longer than to the deadline: pongs and idle talk do not put it off."""
        left = self._ping_s if deadline is None else min(self._ping_s, deadline - time.monotonic())
        if left <= 0:
            raise self._gone("the session was not opened in time")
        if left != self._socket.gettimeout():
            self._socket.settimeout(left)

    def _read(self, opcode: int, data: bytes) -> Frame | None:
        if len(data) > self._frame_limit:
            return None
        if opcode == ABNF.OPCODE_BINARY:
            return data
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data  # the dialect refuses binary by name

    def _send_all(self) -> None:
        next_ping = time.monotonic() + self._ping_s
        try:
            while True:
                frame = self._next_frame(next_ping)
                if isinstance(frame, str):
                    self._socket.send(frame)
                elif frame:
                    self._socket.send_binary(frame)
                elif self._closing:
                    self._socket.send_close(1000)
                    return
                if time.monotonic() >= next_ping:
                    self._socket.ping()
                    next_ping = time.monotonic() + self._ping_s
        except (websocket.WebSocketException, OSError) as error:
            with self._wake:
                self._fail(LinkError(f"sending to {self._where} failed: {printable(str(error))}"))

    def _next_frame(self, until: float) -> Frame | None:
        with self._wake:
            while not self._outbox and not self._closing and (left := until - time.monotonic()) > 0:
                self._wake.wait(left)
            if not self._outbox:
                return None
            frame = self._outbox.popleft()
            self._outbox_bytes -= len(frame)
            return frame

    def _fail(self, failure: LinkError) -> None:
        """Remember why, and wake the receiver by taking the socket away; called with the lock held."""
        self._failure = self._failure or failure
        self._outbox.clear()
        self._socket.abort()  # type: ignore[no-untyped-call] # the library has no types here

    def _gone(self, reason: str) -> LinkError:
        return self._failure or LinkError(f"the link to {self._where} broke: {reason}")

    def _closed(self, payload: bytes) -> LinkError:
        code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
        reason = printable(payload[2:].decode(errors="replace"))
        line = f"{self._where} closed the session with {code}{' ' + reason if reason else ''}"
        return self._failure or LinkError(line, fatal=code in _FATAL_CLOSES, code=code)


def _address(grant: Grant) -> tuple[str, dict[str, str], list[str]]:
    """Return the URL, the headers and the subprotocols that show the secret as the grant says."""
    url, auth = grant.url, grant.auth
    headers, subprotocols = dict(grant.headers), list(grant.subprotocols)
    if auth.kind == "bearer":
        headers["Authorization"] = f"Bearer {auth.value}"
    elif auth.kind == "subprotocol":
        subprotocols.append(auth.value)
    elif auth.kind == "query":
        parts = urlsplit(url)
        url = urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, auth.value)))))
    if subprotocols:  # not in the library's own way, which demands an echo, and logs what was offered
        headers["Sec-WebSocket-Protocol"] = ",".join(subprotocols)
    return url, headers, subprotocols


def _open(grant: Grant, timeout_s: float) -> websocket.WebSocket:
    url, headers, subprotocols = _address(grant)
    where = host_of(url)
    try:
        connection = websocket.create_connection(
            url,
            timeout=timeout_s,
            header=headers,
            sockopt=_OPTIONS,
            suppress_origin=True,
            redirect_limit=0,  # the secret is for this host alone
            enable_multithread=True,
            skip_utf8_validation=True,  # it is done once, in C, when the text is decoded
        )
    except websocket.WebSocketBadStatusException as error:
        status = error.status_code
        line = f"{where} refused the session with HTTP {status}"
        raise LinkError(line, fatal=status in (400, 404), code=status) from None
    except ssl.SSLError as error:
        raise LinkError(f"TLS to {where} failed: {printable(str(error))}; is the clock right?") from None
    except (websocket.WebSocketTimeoutException, TimeoutError):
        line = f"{where} did not answer the handshake within {timeout_s:g} s; all its places may be taken"
        raise LinkError(line) from None
    except (websocket.WebSocketException, OSError, ValueError) as error:
        raise LinkError(f"no session with {where}: {printable(str(error))}") from None
    chosen = (connection.getheaders() or {}).get("sec-websocket-protocol", "")
    if chosen and chosen not in subprotocols:
        connection.shutdown()  # type: ignore[no-untyped-call] # the library has no types here
        raise LinkError(f"{where} chose a subprotocol that was not offered")
    return connection
