"""What `pressel ctl` is told when the daemon is not there, silent, or not Pressel at all."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from device.errors import StateError
from device.system.control_client import request, watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def stranger(path: Path, says: bytes | None) -> Iterator[None]:
    """Something that listens there, hears one request and says `says`, or nothing until it is let go."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        let_go = threading.Event()

        def answer() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(1000)
                if says is None:
                    let_go.wait(10)
                else:
                    sock.sendall(says)

        thread = threading.Thread(target=answer)
        thread.start()
        yield
        let_go.set()
        thread.join()


def test_no_daemon(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"not running .* systemctl start pressel, or pressel run"):
        request(tmp_path / "control.sock", {"cmd": "status"})
    with pytest.raises(StateError, match="not running"):
        watch(tmp_path / "control.sock")


def test_the_socket_of_a_dead_daemon(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(tmp_path / "control.sock"))
    with pytest.raises(StateError, match="not running"):
        request(tmp_path / "control.sock", {"cmd": "status"})


def test_a_daemon_that_does_not_answer(tmp_path: Path) -> None:
    with stranger(tmp_path / "s", None), pytest.raises(StateError, match="does not answer"):
        request(tmp_path / "s", {"cmd": "status"}, timeout_s=0.05)


def test_a_watch_that_is_not_answered_is_closed(tmp_path: Path) -> None:
    with stranger(tmp_path / "s", None), pytest.raises(StateError, match="does not answer"):
        watch(tmp_path / "s", timeout_s=0.05)


@pytest.mark.parametrize("says", [b"", b'{"ok":true'])
def test_a_daemon_that_hangs_up(tmp_path: Path, says: bytes) -> None:
    with stranger(tmp_path / "s", says), pytest.raises(StateError, match="hung up without an answer"):
        request(tmp_path / "s", {"cmd": "status"})


@pytest.mark.parametrize("says", [b"220 mail.example ESMTP\n", b"[]\n", b"\xff\n"])
def test_something_else_answers(tmp_path: Path, says: bytes) -> None:
    with stranger(tmp_path / "s", says), pytest.raises(StateError, match="is not pressel"):
        request(tmp_path / "s", {"cmd": "status"})


def test_a_refused_watch_says_why(tmp_path: Path) -> None:
    with (
        stranger(tmp_path / "s", b'{"ok":false,"error":"too many"}\n'),
        pytest.raises(StateError, match="too many"),
    ):
        watch(tmp_path / "s")


def test_a_path_too_long_is_one_line_too(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be reached"):
        request(tmp_path / ("x" * 120), {"cmd": "status"})
