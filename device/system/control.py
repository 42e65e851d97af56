"""The control socket: one JSON object a line each way, on a Unix socket that only the owner may open."""

from __future__ import annotations

import contextlib
import errno
import logging
import selectors
import socket
import threading
import time
from collections import deque
from stat import S_ISSOCK
from typing import TYPE_CHECKING, Any

import msgspec

from device.errors import PresselError, StateError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

MAX_PATH_BYTES = 107  # sockaddr_un.sun_path less its final zero, unix(7)
MAX_LINE_BYTES = 64 * 1024
MAX_UNREAD_BYTES = 256 * 1024
MAX_CLIENTS = 16
MAX_EVENTS_WAITING = 1024
_TAKEN = "another pressel answers on {path}: stop it, or choose another state folder"
_FULL_S = 1.0  # how long nobody is let in once the process is out of file descriptors
_CLOSING_S = 1.0
_NO_ROOM = (errno.EROFS, errno.ENOSPC, errno.EDQUOT)


Answer = dict[str, Any]


class _Client:
    """One connection: what has come of its next line, and what it has not read yet."""

    def __init__(self, sock: socket.socket) -> None:
        self.waiting = False  # for an answer that takes its time
        self.sock = sock
        self.inbox = b""
        self.outbox = bytearray()
        self.watching = False


class ControlServer:
    """Serves every client from one thread, in which `handle` answers each request.

    `handle` takes the request and returns the whole answer, `{"ok": true, …}`; a PresselError of its becomes
    `{"ok": false, "error": …}`. For an answer that takes its time it returns a function instead, which gives
    the answer in a thread of its own; one at a time for a client. "watch" is answered here. No client can
    hold the server up: one that does not read is dropped, one that sends what is no request is told so and
    dropped. On a medium that takes no socket (full, read-only) there is none, which is logged; a device can
    be talked to without.
    """

    def __init__(self, path: Path, handle: Callable[[Answer], Answer | Callable[[], Answer]]) -> None:
        self._path = path
        self._handle = handle
        self._clients: dict[socket.socket, _Client] = {}
        self._events: deque[bytes] = deque(maxlen=MAX_EVENTS_WAITING)
        self._late: deque[tuple[_Client, bytes]] = deque()  # answers that took their time
        self._selector = selectors.DefaultSelector()
        self._bell, self._ringer = socket.socketpair()
        self._ringer.setblocking(False)
        self._listener: socket.socket | None = None
        self._closing = False
        self._full_until: float | None = None  # monotonic seconds
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        """Open the socket (mode 0600) and serve. Raises StateError."""
        try:
            self._listener = _listen(self._path)
            self._selector.register(self._listener, selectors.EVENT_READ)
        except StateError as error:
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno not in _NO_ROOM:
                raise
            log.error("%s: pressel ctl works again after a start with room for it", error)  # noqa: TRY400
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._thread.start()

    def publish(self, event: dict[str, Any]) -> None:
        """Send an event to every watcher; never blocks, from any thread."""
        self._events.append(_line(event))
        self._ring()

    def close(self) -> None:
        """Drop the clients and remove the socket; safe to call twice and from `handle`."""
        self._closing = True
        self._ring()
        if not self._thread.ident:
            self._put_away()
        elif self._thread is not threading.current_thread():
            self._thread.join(_CLOSING_S)

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # full: it has been rung already; closed: nobody listens
            self._ringer.send(b"\0")

    def _run(self) -> None:
        try:
            while not self._closing:
                self._turn()
        finally:
            self._put_away()

    def _turn(self) -> None:
        for key, mask in self._selector.select(_FULL_S if self._full_until else None):
            if key.fileobj is self._bell:
                self._bell.recv(4096)
            elif self._listener is not None and key.fileobj is self._listener:
                self._accept(self._listener)
            else:
                self._serve(key.data, mask)
        self._listen_again()
        self._spread()
        self._hand_over()

    def _put_away(self) -> None:
        for client in list(self._clients.values()):
            self._drop(client)
        if self._listener is not None:
            self._listener.close()
            with contextlib.suppress(OSError):  # the medium has become read-only: the next start clears it
                self._path.unlink(missing_ok=True)
        self._bell.close()
        self._ringer.close()
        self._selector.close()

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError as error:  # out of file descriptors, or the client has gone again
            log.warning("control: a client could not be let in: %s", error)
            self._selector.unregister(listener)  # it would be ready, and fail, without end
            self._full_until = time.monotonic() + _FULL_S
            return
        sock.setblocking(False)
        client = self._clients[sock] = _Client(sock)
        self._selector.register(sock, selectors.EVENT_READ, client)
        if len(self._clients) > MAX_CLIENTS:
            self._refuse(client, f"{MAX_CLIENTS} clients are connected already: end one of them")

    def _listen_again(self) -> None:
        if self._listener and self._full_until and time.monotonic() >= self._full_until:
            self._full_until = None
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _serve(self, client: _Client, mask: int) -> None:
        if mask & selectors.EVENT_READ:
            self._receive(client)
        self._flush(client)

    def _receive(self, client: _Client) -> None:
        """Read what has come and obey every whole line."""
        try:
            data = client.sock.recv(MAX_LINE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        *lines, rest = (client.inbox + data).split(b"\n")
        client.inbox = rest
        for line in lines:
            if client.sock in self._clients:
                self._obey(client, line)
        if len(rest) > MAX_LINE_BYTES:
            self._refuse(client, f"a request has at most {MAX_LINE_BYTES} bytes and ends with a newline")

    def _obey(self, client: _Client, line: bytes) -> None:
        try:
            request = msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._refuse(client, 'a request is one JSON object a line, as {"cmd": "status"}')
            return
        client.watching |= request.get("cmd") == "watch"
        client.outbox += self._answer(client, request)

    def _answer(self, client: _Client, request: Answer) -> bytes:
        """Return the line that answers now, none when it follows later."""
        command = request.get("cmd")
        if not isinstance(command, str):
            return _refusal('the request names no command, as in {"cmd": "status"}')
        if command == "watch":
            return _line({"ok": True})
        return self._tried(command, lambda: self._begin(client, command, self._handle(request)))

    def _begin(self, client: _Client, command: str, answer: Answer | Callable[[], Answer]) -> bytes:
        if not callable(answer):
            return _line(answer)
        if client.waiting:
            return _refusal("an answer is still being found: ask for one at a time")

        def work() -> None:
            self._late.append((client, self._tried(command, lambda: _line(answer()))))
            self._ring()

        threading.Thread(target=work, name=f"control-{command[:20]}", daemon=True).start()
        client.waiting = True
        return b""

    def _hand_over(self) -> None:
        """Send what answers have been found."""
        while self._late:
            client, line = self._late.popleft()
            client.waiting = False
            client.outbox += line
            self._flush(client)

    @staticmethod
    def _tried(command: str, work: Callable[[], bytes]) -> bytes:
        try:
            return work()
        except PresselError as error:
            return _refusal(str(error))
        except MemoryError:
            raise  # who knows what is half done: the process ends
        except Exception:
            log.exception("control: %r failed", command)
            return _refusal(f"{command[:40]!r} failed: see the log")

    def _refuse(self, client: _Client, why: str) -> None:
        """Say why and hang up; what the client still has to say is not read."""
        client.outbox += _refusal(why)
        self._flush(client)
        self._drop(client)

    def _spread(self) -> None:
        """Hand the waiting events to the watchers."""
        lines = b"".join(self._events.popleft() for _ in range(len(self._events)))
        for client in [client for client in self._clients.values() if lines and client.watching]:
            client.outbox += lines
            self._flush(client)

    def _flush(self, client: _Client) -> None:
        """Send what the client takes now; drop it when it has gone or is too far behind."""
        if client.sock not in self._clients:
            return
        try:
            while client.outbox:
                del client.outbox[: client.sock.send(client.outbox)]
        except BlockingIOError:
            if len(client.outbox) > MAX_UNREAD_BYTES:
                log.warning("control: a client that does not read has been dropped")
                self._drop(client)
                return
        except OSError:
            self._drop(client)
            return
        writing = selectors.EVENT_WRITE if client.outbox else 0
        self._selector.modify(client.sock, selectors.EVENT_READ | writing, client)

    def _drop(self, client: _Client) -> None:
        if self._clients.pop(client.sock, None) is not None:
            self._selector.unregister(client.sock)
            client.sock.close()


def _line(answer: dict[str, Any]) -> bytes:
    return msgspec.json.encode(answer) + b"\n"


def _refusal(why: str) -> bytes:
    return _line({"ok": False, "error": why})


def _listen(path: Path) -> socket.socket:
    if len(str(path).encode()) > MAX_PATH_BYTES:
        raise StateError(
            f"{path} is too long for a socket ({MAX_PATH_BYTES} bytes): choose a shorter state folder"
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        listener.bind(str(path))
        path.chmod(0o600)  # before listen: nobody has been let in
        listener.listen(MAX_CLIENTS)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise StateError(f"the control socket {path} cannot be made ({error.strerror})") from error
    except StateError:
        listener.close()
        raise
    return listener


def _clear(path: Path) -> None:
    """Remove the socket of a daemon that was killed, and nothing else."""
    try:
        if not S_ISSOCK(path.lstat().st_mode):
            raise StateError(f"{path} is in the way of the control socket: move it")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a socket that nobody accepts from would block for ever
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
        except BlockingIOError:  # its queue is full: it lives
            raise StateError(_TAKEN.format(path=path)) from None
        else:
            raise StateError(_TAKEN.format(path=path))
