"""The control socket under good clients and every bad one."""

from __future__ import annotations

import contextlib
import resource
import socket
import stat
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from device.errors import StateError
from device.system import control
from device.system.control import ControlServer
from device.system.control_client import request, watch
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Answer = Callable[[dict[str, Any]], dict[str, Any] | Callable[[], dict[str, Any]]]


def echo(message: dict[str, Any]) -> dict[str, Any]:
    return {"ok": True, "echo": message}


@contextlib.contextmanager
def serving(path: Path, handle: Answer = echo) -> Iterator[ControlServer]:
    server = ControlServer(path, handle)
    try:
        server.start()
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def raw(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        yield sock


def hear_all(sock: socket.socket) -> bytes:
    """Return what is sent until the server hangs up."""
    heard = b""
    with contextlib.suppress(ConnectionResetError):
        while data := sock.recv(65536):
            heard += data
    return heard


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def test_a_request_is_answered_and_the_socket_is_the_owners(path: Path) -> None:
    with serving(path):
        assert request(path, {"cmd": "volume", "value": 40}) == {
            "ok": True,
            "echo": {"cmd": "volume", "value": 40},
        }
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_one_connection_takes_many_requests_and_split_lines(path: Path) -> None:
    with serving(path, lambda message: {"ok": True, "cmd": message["cmd"]}), raw(path) as sock:
        sock.sendall(b'{"cmd":"press"}\n{"cmd":"rel')
        sock.sendall(b'ease"}\n{"cmd":"tap"}')
        sock.shutdown(socket.SHUT_WR)
        assert hear_all(sock) == b'{"ok":true,"cmd":"press"}\n{"ok":true,"cmd":"release"}\n'


def test_watchers_get_every_event_in_order(path: Path) -> None:
    with serving(path) as server, watch(path, timeout_s=10) as one, watch(path, timeout_s=10) as two:
        for number in range(100):
            server.publish({"event": "state", "number": number})
        assert [next(one)["number"] for _ in range(100)] == list(range(100))
        assert [next(two)["number"] for _ in range(100)] == list(range(100))


def test_a_watch_ends_with_the_server(path: Path) -> None:
    with serving(path) as server, watch(path, timeout_s=10) as events:
        server.publish({"event": "notice"})
        server.close()
        assert [event["event"] for event in events] == ["notice"]


def test_a_refused_request_keeps_its_reason_and_a_bug_is_not_shown(path: Path) -> None:
    def handle(message: dict[str, Any]) -> dict[str, Any]:
        if message["cmd"] == "volume":
            raise StateError("volume is 0 to 100")
        raise KeyError("a secret detail")

    with serving(path, handle):
        assert request(path, {"cmd": "volume"}) == {"ok": False, "error": "volume is 0 to 100"}
        assert request(path, {"cmd": "status"}) == {"ok": False, "error": "'status' failed: see the log"}


def test_an_answer_that_takes_its_time_holds_nobody_up(path: Path) -> None:
    go = threading.Event()

    def handle(message: dict[str, Any]) -> dict[str, Any] | Callable[[], dict[str, Any]]:
        if message["cmd"] != "check":
            return {"ok": True}

        def slow() -> dict[str, Any]:
            assert go.wait(10)
            if message.get("fails"):
                raise StateError("nobody there")
            return {"ok": True, "late": True}

        return slow

    with serving(path, handle), raw(path) as one, raw(path) as two:
        one.sendall(b'{"cmd":"check"}\n{"cmd":"check"}\n')
        two.sendall(b'{"cmd":"check","fails":1}\n')
        assert request(path, {"cmd": "status"}) == {"ok": True}
        refusal = one.recv(4096)
        assert b"one at a time" in refusal
        go.set()
        assert one.recv(4096) == b'{"ok":true,"late":true}\n'
        assert two.recv(4096) == b'{"ok":false,"error":"nobody there"}\n'
        one.sendall(b'{"cmd":"check"}\n')
        assert one.recv(4096) == b'{"ok":true,"late":true}\n'


def test_who_leaves_before_its_answer_is_found_harms_nobody(path: Path) -> None:
    go = threading.Event()
    with serving(path, lambda _message: lambda: {"ok": go.wait(10)}):
        with raw(path) as one:
            one.sendall(b'{"cmd":"check"}\n')
            until(lambda: any(thread.name == "control-check" for thread in threading.enumerate()))
        go.set()
        assert request(path, {"cmd": "check"}) == {"ok": True}


def test_an_answer_that_is_no_json_does_not_end_the_server(path: Path) -> None:
    with serving(path, lambda message: {"ok": True, "object": object()}):
        assert request(path, {"cmd": "status"})["ok"] is False
        assert request(path, {"cmd": "status"})["ok"] is False


@pytest.mark.parametrize(
    "garbage",
    [
        b"press\n",
        b"[1]\n",
        b'"press"\n',
        b"{\n",
        b"\xff\xfe\x00\n",
        b"\n",
        bytes(range(256)) + b"\n",
        b"[" * 60_000 + b"\n",
    ],
)
def test_garbage_gets_one_error_and_is_shown_out(path: Path, garbage: bytes) -> None:
    with serving(path):
        with raw(path) as sock:
            sock.sendall(garbage + b'{"cmd":"status"}\n')
            answer = hear_all(sock)
        assert answer.count(b"\n") == 1
        assert answer.startswith(b'{"ok":false,"error":"a request is one JSON object a line')
        assert request(path, {"cmd": "status"})["ok"] is True


@pytest.mark.parametrize("message", [{}, {"cmd": None}, {"cmd": 7}, {"command": "press"}])
def test_a_request_without_a_command_is_refused_and_the_client_may_try_again(
    path: Path, message: dict[str, Any]
) -> None:
    with serving(path):
        assert request(path, message) == {
            "ok": False,
            "error": 'the request names no command, as in {"cmd": "status"}',
        }


def test_ten_megabytes_without_a_newline(path: Path) -> None:
    with serving(path):
        with raw(path) as sock:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(b"x" * 10_000_000)
            assert hear_all(sock).startswith(b'{"ok":false,"error":"a request has at most 65536 bytes')
        assert request(path, {"cmd": "status"})["ok"] is True


def test_half_a_line_is_not_obeyed(path: Path) -> None:
    seen: list[str] = []

    def handle(message: dict[str, Any]) -> dict[str, Any]:
        seen.append(message["cmd"])
        return {"ok": True}

    with serving(path, handle):
        with raw(path) as sock:
            sock.sendall(b'{"cmd":"forget"}')
        request(path, {"cmd": "status"})
    assert seen == ["status"]


def test_a_watcher_that_never_reads_is_dropped_and_the_others_go_on(path: Path) -> None:
    with serving(path) as server, raw(path) as sleeper, watch(path, timeout_s=10) as reader:
        sleeper.sendall(b'{"cmd":"watch"}\n')
        assert sleeper.recv(100) == b'{"ok":true}\n'
        for number in range(1000):
            server.publish({"event": "notice", "number": number, "text": "x" * 2000})
            assert next(reader)["number"] == number
        heard = hear_all(sleeper)  # ends, because the server has hung up
        assert len(heard) < 1_500_000


def test_a_client_that_asks_and_never_reads_is_dropped(path: Path) -> None:
    with serving(path, lambda message: {"ok": True, "text": "x" * 10_000}):
        with raw(path) as sock, pytest.raises((BrokenPipeError, ConnectionResetError)):  # noqa: PT012  # until it is dropped
            for _ in range(10_000):
                sock.sendall(b'{"cmd":"status"}\n')
        assert request(path, {"cmd": "status"})["ok"] is True


def test_one_client_too_many_is_told(path: Path) -> None:
    with serving(path), contextlib.ExitStack() as stack:
        watches = [stack.enter_context(watch(path, timeout_s=10)) for _ in range(control.MAX_CLIENTS)]
        assert request(path, {"cmd": "status"}) == {
            "ok": False,
            "error": "16 clients are connected already: end one of them",
        }
        watches.pop().close()
        until = time.monotonic() + 10
        while not (answer := request(path, {"cmd": "status"}))["ok"]:
            assert time.monotonic() < until, answer


def test_publish_does_not_wait_for_a_handler_that_is_busy(path: Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(_: dict[str, Any]) -> dict[str, Any]:
        entered.set()
        return {"ok": leave.wait(10)}

    with serving(path, slow) as server, watch(path, timeout_s=10) as events:
        asker = threading.Thread(target=request, args=(path, {"cmd": "status"}, 10))
        asker.start()
        assert entered.wait(10)
        for number in range(5000):  # many more than are kept
            server.publish({"event": "notice", "number": number})
        leave.set()
        asker.join()
        assert next(events)["number"] == 5000 - control.MAX_EVENTS_WAITING


def test_quit_is_answered_although_the_handler_closes_the_server(path: Path) -> None:
    servers: list[ControlServer] = []

    def handle(_: dict[str, Any]) -> dict[str, Any]:
        servers[0].close()
        return {"ok": True}

    with serving(path, handle) as server:
        servers.append(server)
        assert request(path, {"cmd": "quit"}) == {"ok": True}
    assert not path.exists()


def test_the_socket_of_a_killed_daemon_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    with serving(path):
        assert request(path, {"cmd": "status"})["ok"] is True


def test_a_living_daemon_keeps_its_socket(path: Path) -> None:
    with serving(path):
        with pytest.raises(StateError, match="another pressel answers"), serving(path):
            pass
        assert request(path, {"cmd": "status"})["ok"] is True


def test_a_socket_that_nobody_accepts_from_is_not_waited_for(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as busy, contextlib.ExitStack() as clients:
        busy.bind(str(path))
        busy.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                client = clients.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                client.setblocking(False)
                client.connect(str(path))
        with pytest.raises(StateError, match="another pressel answers"), serving(path):
            pass


def test_without_descriptors_nobody_is_let_in_until_there_are_some(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with serving(path), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        spent = time.process_time()
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # fewer than are open
        try:
            client.connect(str(path))
            client.sendall(b'{"cmd":"status"}\n')
            until(lambda: len(caplog.messages) >= 2, 10)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert client.recv(1000) == b'{"ok":true,"echo":{"cmd":"status"}}\n'
        assert time.process_time() - spent < 1, "it does not spin"
    assert all("Too many open files" in line for line in caplog.messages)
    assert len(caplog.messages) < 5


def test_a_handler_that_is_out_of_memory_ends_the_thread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def starve(_message: dict[str, Any]) -> dict[str, Any]:
        raise MemoryError

    dead: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", dead.append)
    with serving(path, starve), raw(path) as sock:
        sock.sendall(b'{"cmd":"status"}\n')
        assert hear_all(sock) == b""
    assert [one.exc_type for one in dead] == [MemoryError]


def test_a_file_in_the_way_is_left_alone(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(StateError, match="in the way of the control socket"), serving(path):
        pass
    assert path.read_text() == "mine"


def test_a_path_that_no_socket_can_have(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 108) / "control.sock"
    with (
        pytest.raises(
            StateError, match=r"too long for a socket \(107 bytes\): choose a shorter state folder"
        ),
        serving(path),
    ):
        pass


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be made"), serving(tmp_path / "none" / "control.sock"):
        pass


def test_closing_twice_and_publishing_after_is_harmless(path: Path) -> None:
    server = ControlServer(path, echo)
    server.close()
    server.close()
    with serving(path) as server:
        server.close()
        server.publish({"event": "state"})
    assert list(path.parent.iterdir()) == []
