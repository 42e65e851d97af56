"""The stand-in for systemd: its rules, on small services that break each of them."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from rig.supervisor import Run, Supervisor
from tests.servers import until

if TYPE_CHECKING:
    from pathlib import Path

_SERVICE = """
import os, signal, socket, subprocess, sys, time
def tell(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])
def feed():
    while True:
        tell("WATCHDOG=1")
        time.sleep(0.05)
"""


def service(
    tmp_path: Path, program: str, *, watchdog_s: float | None = 10.0, abort_s: float = 2.0
) -> Supervisor:
    command = [sys.executable, "-S", "-c", _SERVICE + program]
    return Supervisor(command, tmp_path / "log", watchdog_s=watchdog_s, abort_s=abort_s, restart_s=0.01)


def life(supervisor: Supervisor, number: int) -> Run:
    """Return the service's n-th life once it is over, or ready."""
    until(lambda: len(supervisor.runs) > number, 20)
    run = supervisor.runs[number]
    until(lambda: run.ready_at or run.status is not None, 20)
    return run


def test_a_service_that_feeds_its_watchdog_lives_until_it_is_stopped(tmp_path: Path) -> None:
    with service(tmp_path, "tell('READY=1\\nSTATUS=well'); feed()", watchdog_s=3) as supervisor:
        run = life(supervisor, 0)
        until(lambda: run.said.count("WATCHDOG=1") > 3, 20)
        assert run.said[:2] == ["READY=1", "STATUS=well"]
        assert supervisor.stop() == -signal.SIGTERM
    assert len(supervisor.runs) == 1
    assert not run.why_killed


@pytest.mark.parametrize(("prelude", "status"), [("", -6), ("signal.signal(6, signal.SIG_IGN)", -9)])
def test_a_service_that_does_not_feed_its_watchdog_is_killed_and_started_again(
    tmp_path: Path, prelude: str, status: int
) -> None:
    program = f"{prelude}\ntell('READY=1')\nsignal.pause()"
    with service(tmp_path, program, watchdog_s=0.5, abort_s=0.2) as supervisor:
        assert life(supervisor, 1).ready_at
        run = supervisor.runs[0]
    assert (run.status, run.why_killed) == (status, "watchdog")
    assert run.ready_at
    assert run.ended_at - run.ready_at >= 0.5


def test_a_failed_service_is_started_again_and_one_that_is_done_is_not(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    program = f"sys.exit() if os.path.exists('{mark}') else (open('{mark}', 'w').close(), sys.exit(1))"
    with service(tmp_path, program) as supervisor:
        until(lambda: supervisor.ended, 20)
        assert [run.status for run in supervisor.runs] == [1, 0]


def test_a_service_that_is_killed_is_started_again(tmp_path: Path) -> None:
    with service(tmp_path, "tell('READY=1'); feed()") as supervisor:
        os.kill(life(supervisor, 0).pid, signal.SIGKILL)
        assert life(supervisor, 1).ready_at
        assert supervisor.runs[0].status == -signal.SIGKILL


def test_a_wrong_configuration_is_not_started_again(tmp_path: Path) -> None:
    with service(tmp_path, "sys.exit(78)") as supervisor:
        until(lambda: supervisor.ended, 20)
        assert [run.status for run in supervisor.runs] == [78]


def test_only_the_service_itself_is_listened_to(tmp_path: Path) -> None:
    program = (
        "child = os.fork()\n"
        "tell('STATUS=child' if not child else 'STATUS=parent')\n"
        "child or os._exit(0)\n"
        "os.wait(); tell('READY=1'); feed()"
    )
    with service(tmp_path, program) as supervisor:
        assert life(supervisor, 0).said[:2] == ["STATUS=parent", "READY=1"]


def test_the_service_is_told_its_limit_and_its_own_number(tmp_path: Path) -> None:
    program = "tell('READY=1\\nSTATUS=' + os.environ['WATCHDOG_USEC'] + os.environ['WATCHDOG_PID']); feed()"
    with service(tmp_path, program, watchdog_s=7) as supervisor:
        run = life(supervisor, 0)
        assert run.said[1] == f"STATUS=7000000{run.pid}"
