"""What arrives on systemd's notification socket."""

from __future__ import annotations

import os
import socket
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from device.system.notify import Notifier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["path", "abstract"])
def systemd(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@pressel-{uuid.uuid4()}"
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0", 1))
        sock.settimeout(10)
        yield sock


def test_the_life_of_a_daemon(systemd: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000000")
    notifier = Notifier()
    assert notifier.watchdog_s == 20
    notifier.ready("idle")
    notifier.status("two\nlines")
    notifier.status("two\nlines")  # is not told twice
    notifier.watchdog(100.0)
    notifier.stopping()
    notifier.close()
    assert [systemd.recv(1000) for _ in range(4)] == [
        b"READY=1\nSTATUS=idle",
        b"STATUS=two lines",
        b"WATCHDOG=1",
        b"STOPPING=1",
    ]


def test_the_watchdog_is_fed_four_times_a_limit(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    notifier = Notifier()
    for now in range(21):
        notifier.watchdog(float(now))
    notifier.stopping()
    notifier.close()
    heard = []
    while (said := systemd.recv(1000)) != b"STOPPING=1":
        heard.append(said)
    assert heard == [b"WATCHDOG=1"] * 5


@pytest.mark.parametrize(("limit_us", "pid"), [("", ""), ("soon", ""), ("0", ""), ("20000000", "1")])
def test_no_watchdog_is_wanted_of_us(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch, limit_us: str, pid: str
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", limit_us)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    notifier = Notifier()
    assert notifier.watchdog_s is None
    notifier.watchdog(1.0)
    notifier.ready()
    notifier.close()
    assert systemd.recv(1000) == b"READY=1"


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "20000000")
    notifier = Notifier()
    assert notifier.watchdog_s is None
    notifier.ready()
    notifier.watchdog(1.0)
    notifier.stopping()
    notifier.close()
    notifier.close()


def test_a_socket_that_nobody_reads_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))
    notifier = Notifier()
    notifier.ready()
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "full"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "full"))
        full = Notifier()
        for number in range(2000):  # many more than the queue holds
            full.status(f"{number}")
        deaf.setblocking(False)
        held = 0
        with suppress(BlockingIOError):
            while deaf.recv(100):
                held += 1
        assert 0 < held < 2000, "the queue was never full"
        full.close()
    notifier.close()
