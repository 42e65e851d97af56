"""The other end of the control socket: one request, or the stream of events."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any, Self

import msgspec

from device.errors import StateError

if TYPE_CHECKING:
    from pathlib import Path


def request(path: Path, message: dict[str, Any], timeout_s: float = 5) -> dict[str, Any]:
    """Send one request and return its answer, a refusal as well. Raises StateError without a daemon."""
    with _Connection(path, timeout_s) as connection:
        return connection.ask(message)


def watch(path: Path, timeout_s: float | None = None) -> Watch:
    """Return the events from now on. Raises StateError without a daemon."""
    return Watch(path, timeout_s)


class _Connection:
    def __init__(self, path: Path, timeout_s: float | None) -> None:
        self._path = path
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(timeout_s)
        self._lines = self._sock.makefile("rb")
        try:
            self._sock.connect(str(path))
        except OSError as error:
            self.close()
            raise StateError(_no_daemon(path, error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        with contextlib.suppress(ConnectionError):  # turned away before we spoke: the answer says why
            self._sock.sendall(msgspec.json.encode(message) + b"\n")
        answer = self.read()
        if answer is None:
            raise StateError(f"pressel hung up without an answer on {self._path}: see its log")
        return answer

    def read(self) -> dict[str, Any] | None:
        """Return the next line, or None when the daemon has gone."""
        try:
            line = self._lines.readline()
            return msgspec.json.decode(line, type=dict[str, Any]) if line.endswith(b"\n") else None
        except TimeoutError as error:
            raise StateError(f"pressel does not answer on {self._path}: see its log") from error
        except ConnectionError:
            return None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StateError(f"what answers on {self._path} is not pressel ({error})") from error

    def close(self) -> None:
        self._lines.close()
        self._sock.close()


class Watch:
    """An iterator over the events, as dicts; it ends when the daemon goes.

    The watch holds from the moment this object exists. With `timeout_s`, StateError when no event comes for
    that long. Close it, or use it as a context manager.
    """

    def __init__(self, path: Path, timeout_s: float | None = None) -> None:
        self._connection = _Connection(path, timeout_s)
        try:
            answer = self._connection.ask({"cmd": "watch"})
        except StateError:
            self.close()
            raise
        if not answer.get("ok"):
            self.close()
            raise StateError(str(answer.get("error", "pressel refuses to be watched")))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> dict[str, Any]:
        event = self._connection.read()
        if event is None:
            raise StopIteration
        return event

    def close(self) -> None:
        """Go; safe to call twice."""
        self._connection.close()


def _no_daemon(path: Path, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"{path} belongs to another user: use sudo, or that user"
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return f"pressel is not running (nobody listens on {path}): systemctl start pressel, or pressel run"
    return f"pressel cannot be reached on {path}: {error}"
