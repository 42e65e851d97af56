"""One WebSocket: a bounded outbox with its own sender thread, and frames to be read by one receiver."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
import websocket
from websocket import ABNF

from device.core.grant import host_of
from device.dialects.dialect import printable
from device.errors import LinkError
from device.net.cancel import limited, within
from device.net.failures import PORTAL, describe, is_page, retry_after, untimely

if TYPE_CHECKING:
    from device.core.grant import Grant

Frame = str | bytes
_FATAL_CLOSES = {3000, *range(4000, 4100)}
_LATER_CLOSES = {1012, 1013}  # service restart, try again later: IANA, WebSocket Close Code Number Registry
_LATER_S = 1.0
_MENDS = {  # of an upgrade that is refused for good, if it is the server that refuses
    400: "check the model and the session's settings at the backend",
    404: "check the realtime URL and the model at the backend",
}
_PORTAL_STATUSES = (200, 511)
_TICK_S = 0.25
# The last two are what the library raises when another thread closes the socket that it is busy with.
_BROKEN = (websocket.WebSocketException, OSError, ValueError, AttributeError)
_NOT_OPENED = "the session was not opened in time"
_OPTIONS = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]


class Link:
    """An open WebSocket. Connects in the constructor; raises LinkError when refused.

    A peer that is silent is gone: while the user or the model talks after `talk_silence_s`, else after
    `idle_silence_s`; nor may one frame take longer than the latter. Any frame is a sign of life; it is asked
    for with pings, three in each of these times. The opening, from DNS to the handshake, has `open_limit_s`,
    or what the scope that it is called in gives it.
    """

    def __init__(
        self,
        grant: Grant,
        *,
        open_limit_s: float = 15.0,
        talk_silence_s: float = 4.5,
        idle_silence_s: float = 25.0,
        outbox_bytes: int = 8 << 20,
        frame_limit: int = 4 << 20,
    ) -> None:
        try:
            self._where = host_of(grant.url)
        except ValueError:
            raise LinkError("the grant's URL makes no sense; mend it at the backend", fatal=True) from None
        self._socket = _open(grant, open_limit_s)
        self._socket.settimeout(talk_silence_s)  # of a frame that stops midway, and of a full send buffer
        self._silence_s = {True: talk_silence_s, False: idle_silence_s}
        self._talking = False
        self._heard = time.monotonic()  # or since when it is listened for more closely
        self._read_by: float | None = None  # when the frame that has begun must be whole
        self._ping_due = self._heard + idle_silence_s / 3
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

    def talking(self, on: bool) -> None:
        """Say whether a silent peer is to be found out soon."""
        with self._wake:
            if on and not self._talking:
                self._heard = self._ping_due = time.monotonic()
            self._talking = on
            self._wake.notify()

    def receive(self, deadline: float | None = None) -> Frame | None:
        """Block for the next text or binary frame; None when it was over the limit and dropped.

        Raises LinkError when the link has gone or `deadline` (monotonic seconds) has passed; `fatal` when the
        server said never again.
        """
        while True:
            if not self._readable(deadline):
                continue
            try:
                opcode, data = self._read_frame(deadline)
            except websocket.WebSocketTimeoutException:
                self._check_life()
                continue
            except _BROKEN as error:
                raise self._gone(printable(str(error)) or type(error).__name__) from None
            self._heard = time.monotonic()
            if opcode == ABNF.OPCODE_CLOSE:
                raise self._closed(data)
            if opcode in (ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY):
                return self._read(opcode, data)

    def close(self, grace_s: float = 0.5) -> None:
        """Send what waits, shake hands, and go; safe from any thread, and twice."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._sender.join(grace_s)
        self._socket.shutdown()  # type: ignore[no-untyped-call] # the library has no types here

    def _readable(self, deadline: float | None) -> bool:
        """Wait a little for something to read; raises LinkError when it is too late for that."""
        now = time.monotonic()
        if deadline is not None and now >= deadline:
            raise self._gone(_NOT_OPENED)
        wait_s = _TICK_S if deadline is None else min(_TICK_S, deadline - now)
        if self._arrived(wait_s):
            return True
        self._check_life()
        return False

    def _arrived(self, wait_s: float) -> bool:
        return _has_data(self._socket.sock, wait_s)

    def _check_life(self) -> None:
        limit_s = self._silence_s[self._talking]
        if time.monotonic() - self._heard > limit_s:
            raise self._gone(f"nothing heard for {limit_s:g} s")

    def _read_frame(self, deadline: float | None) -> tuple[int, Any]:
        """Read the frame that has begun; the sender's thread breaks it off when it drips."""
        limit = time.monotonic() + self._silence_s[False]
        self._read_by = limit if deadline is None else min(limit, deadline)
        try:
            opcode, frame = self._socket.recv_data_frame(control_frame=True)
        finally:
            self._read_by = None
        return opcode, frame.data

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
        try:
            while True:
                frame = self._next_frame()
                if isinstance(frame, str):
                    self._socket.send(frame)
                elif frame:
                    self._socket.send_binary(frame)
                elif self._closing:
                    self._socket.send_close(1000)
                    return
                self._look_after()
        except websocket.WebSocketTimeoutException:
            with self._wake:
                self._fail(LinkError(f"the network to {self._where} is stalled: it takes no more bytes"))
        except _BROKEN as error:
            with self._wake:
                self._fail(LinkError(f"sending to {self._where} failed: {printable(str(error))}"))

    def _look_after(self) -> None:
        """Send the ping that is due; break off a frame that takes too long."""
        now = time.monotonic()
        read_by = self._read_by
        if read_by is not None and now > read_by:
            with self._wake:
                self._fail(LinkError(f"the link to {self._where} broke: a message dripped for too long"))
        if now >= self._ping_due:
            self._ping_due = now + self._silence_s[self._talking] / 3
            self._socket.ping()

    def _next_frame(self) -> Frame | None:
        """Wait for a frame to send; None when there is something else to do."""
        with self._wake:
            due = min(self._ping_due, time.monotonic() + 1.0)  # the least often that a drip is looked for
            while not self._outbox and not self._closing and (left := due - time.monotonic()) > 0:
                self._wake.wait(left)
                due = min(due, self._ping_due)
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
        later_s = _LATER_S if code in _LATER_CLOSES else None
        return self._failure or LinkError(line, fatal=code in _FATAL_CLOSES, code=code, retry_after_s=later_s)


def _has_data(sock: socket.socket | None, wait_s: float) -> bool:
    """Wait until the socket has something to read, or has gone, which is told by reading too."""
    if sock is None or (isinstance(sock, ssl.SSLSocket) and sock.pending()):
        return True
    poller = select.poll()
    try:
        poller.register(sock, select.POLLIN)
    except ValueError:  # closed by another thread
        return True
    return bool(poller.poll(wait_s * 1000))


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


def _open(grant: Grant, limit_s: float) -> websocket.WebSocket:
    url, headers, subprotocols = _address(grant)
    where, limit_s = host_of(url), within(limit_s)
    connection = websocket.WebSocket(
        sockopt=_OPTIONS,
        enable_multithread=True,
        skip_utf8_validation=True,  # it is done once, in C, when the text is decoded
    )
    connection.settimeout(limit_s)

    def connect() -> None:
        connection.connect(  # type: ignore[no-untyped-call] # the library has no types here
            url,
            header=headers,
            suppress_origin=True,
            redirect_limit=0,  # the secret is for this host alone
        )

    try:
        limited(connect, limit_s, lambda: _sever(connection))
    except websocket.WebSocketBadStatusException as error:
        raise _refusal(where, error) from None
    except (websocket.WebSocketTimeoutException, TimeoutError):
        line = f"{where} did not answer the handshake within {limit_s:g} s; all its places may be taken"
        raise LinkError(line) from None
    except (websocket.WebSocketException, OSError, ValueError) as error:
        answer = connection.handshake_response
        location = (answer.headers or {}).get("location") if answer else None
        reason = f"it redirects to {printable(location)}; {PORTAL}" if location else describe(error)
        raise LinkError(f"no session with {where}: {reason}", untimely=untimely(error)) from None
    chosen = (connection.getheaders() or {}).get("sec-websocket-protocol", "")
    if chosen and chosen not in subprotocols:
        _sever(connection)
        raise LinkError(f"{where} chose a subprotocol that was not offered")
    return connection


def _refusal(where: str, error: websocket.WebSocketBadStatusException) -> LinkError:
    """Return what a refused upgrade means; what is refused for good is refused in JSON, not with a page."""
    status, headers = error.status_code, error.resp_headers or {}
    mend = _MENDS.get(status, "")
    if status in _PORTAL_STATUSES or (mend and is_page(headers.get("content-type"))):
        mend = f"a page where a session belongs; {PORTAL}{' Else ' if mend else ''}{mend}"
    return LinkError(
        f"{where} refused the session with HTTP {status}{'; ' if mend else ''}{mend}",
        fatal=status in _MENDS and _is_json(error.resp_body),
        code=status,
        retry_after_s=retry_after(headers),
    )


def _is_json(body: bytes | None) -> bool:
    try:
        return isinstance(msgspec.json.decode(body or b""), dict)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False


def _sever(connection: websocket.WebSocket) -> None:
    """Close at once, whatever it is at, from any thread."""
    sock = connection.sock
    if sock:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()
