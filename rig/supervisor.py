"""What systemd does for one service of Type=notify: starts it, feels its pulse, kills it, starts it again."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rig.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: unix(7)
_CLEAN = {0, *(-number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE))}
_PULSE_S = 0.02


@dataclass
class Run:
    """One life of the service. Times: monotonic seconds; `status` as of Popen, None while it lives."""

    pid: int
    started_at: float
    said: list[str] = field(default_factory=list)  # what it told, line by line
    ready_at: float | None = None
    fed_at: float = 0.0
    ended_at: float = 0.0
    status: int | None = None
    why_killed: str = ""  # "watchdog", "start" or "stop" when it took too long


class Supervisor:
    """Keeps `command` running while the context is open; every life of it is in `runs`.

    Restart=on-failure, RestartPreventExitStatus=`prevent`, WatchdogSec=`watchdog_s` (None for none),
    TimeoutAbortSec=`abort_s`, TimeoutStopSec=`stop_s`. As with NotifyAccess=main nobody but the service's own
    process is listened to. Source: sd_notify(3), systemd.service(5).
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        watchdog_s: float | None = 10.0,
        restart_s: float = 0.1,
        start_s: float = 30.0,
        abort_s: float = 2.0,
        stop_s: float = 5.0,
        prevent: Sequence[int] = (78,),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.runs: list[Run] = []
        self._command, self._log = list(command), log
        self._watchdog_s, self._restart_s, self._start_s = watchdog_s, restart_s, start_s
        self._abort_s, self._stop_s, self._prevent = abort_s, stop_s, set(prevent)
        self._env = dict(os.environ if env is None else env)
        self._stopping = threading.Event()
        self._folder = tempfile.TemporaryDirectory(prefix="sv")  # a socket's path is short
        self._address = Path(self._folder.name) / "notify"
        self._ears = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ears.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._ears.bind(str(self._address))
        self._thread = threading.Thread(target=self._supervise, name="supervisor")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._ears.close()
        self._folder.cleanup()

    @property
    def run(self) -> Run | None:
        """The present life, or the last one."""
        return self.runs[-1] if self.runs else None

    @property
    def ended(self) -> bool:
        """Whether the service has ended and is not started again."""
        return not self._thread.is_alive()

    def stop(self) -> int | None:
        """SIGTERM, and SIGKILL when that does not help; returns the exit status. Safe to call twice."""
        self._stopping.set()
        self._thread.join()
        return self.run.status if self.run else None

    def _supervise(self) -> None:
        while not self._stopping.is_set():
            run = self._live()
            if run.status in _CLEAN and not run.why_killed:
                return
            if run.status in self._prevent or self._stopping.wait(self._restart_s):
                return

    def _live(self) -> Run:
        env = {**self._env, "NOTIFY_SOCKET": str(self._address), "PYTHONUNBUFFERED": "1"}
        command = self._command
        if self._watchdog_s:
            env["WATCHDOG_USEC"] = str(int(self._watchdog_s * 1e6))
            command = ["/bin/sh", "-c", 'WATCHDOG_PID=$$ exec "$@"', "sh", *command]
        with self._log.open("ab") as log:
            child = subprocess.Popen(
                command, env=env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        run = Run(child.pid, time.monotonic())
        self.runs.append(run)
        with child, selectors.DefaultSelector() as selector:
            selector.register(self._ears, selectors.EVENT_READ)
            while child.poll() is None:
                if selector.select(_PULSE_S):
                    self._listen(run)
                self._judge(child, run)
        run.status, run.ended_at = child.returncode, time.monotonic()
        return run

    def _listen(self, run: Run) -> None:
        text, credentials, _, _ = self._ears.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
        pid, _, _ = _CREDENTIALS.unpack(credentials[0][2])
        if pid != run.pid:
            return
        lines = text.decode().splitlines()
        run.said += lines
        if "READY=1" in lines or "WATCHDOG=1" in lines:
            run.fed_at = time.monotonic()
        if "READY=1" in lines and run.ready_at is None:
            run.ready_at = run.fed_at

    def _judge(self, child: subprocess.Popen[bytes], run: Run) -> None:
        """End a life that is over its time."""
        now = time.monotonic()
        if self._stopping.is_set():
            self._end(child, run, "stop", signal.SIGTERM, self._stop_s)
        elif run.ready_at is None and now - run.started_at > self._start_s:
            self._end(child, run, "start", signal.SIGTERM, self._stop_s)
        elif self._watchdog_s and run.ready_at is not None and now - run.fed_at > self._watchdog_s:
            self._end(child, run, "watchdog", signal.SIGABRT, self._abort_s)

    def _end(
        self, child: subprocess.Popen[bytes], run: Run, why: str, number: signal.Signals, patience_s: float
    ) -> None:
        child.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(patience_s)
        if child.poll() is None:
            child.kill()
            child.wait()
            run.why_killed = why
        elif number == signal.SIGABRT:
            run.why_killed = why
        self._ears.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self._listen(run)
        self._ears.setblocking(True)
