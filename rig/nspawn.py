"""A Debian root booted as a container: real systemd in a second, on this machine's network."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
_BOOT_S = 90.0
_OFF_S = 20.0
_TICK_S = 0.05
_BOOTED = ("running", "degraded")  # systemctl(1), is-system-running
# Where this process's own systemd is not PID 1, a container needs a control group to itself: cgroups(7).
_CGROUPS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/systemd"))
_IN_GROUPS = 'for group in $GROUPS_TO_JOIN; do echo $$ >"$group/cgroup.procs"; done; exec "$@"'


class ContainerError(Exception):
    """A container that did not boot, or a command in it that failed; the text says which and why."""


def missing() -> str | None:
    """Return why no container can be booted here, with the mend; None when one can."""
    if os.geteuid() != 0:
        return "a container is booted by root only: run this as root, or with sudo"
    if not shutil.which("systemd-nspawn"):
        return "systemd-nspawn is not installed: run script/setup"
    return None


class Container:
    """The root folder `root`, booted by systemd-nspawn while the context is open; it is written to.

    It has this machine's network: what listens on loopback here is reached from there and the other way
    round, so that every port is taken once. It has neither a sound card nor GPIO. `name`: one that no other
    container has now; the host name is that in the root's /etc/hostname. `binds`: this machine's paths by
    those in the container, read-only. It can be cut, or stopped, and started again with the same disk.
    """

    def __init__(self, root: Path, name: str, binds: Mapping[str, Path] | None = None) -> None:
        self.root, self.name = root, name
        self._binds = dict(binds or {})
        self._log = root.with_name(f"{root.name}.console")
        self._host: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Boot, and return when systemd has started all that it was going to. Raises ContainerError."""
        command = ["systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}", "--console=pipe"]
        command += [f"--machine={self.name}", "--resolv-conf=copy-host"]
        command += [f"--bind-ro={here}:{there}" for there, here in self._binds.items()]
        groups = [] if _supervised() else _make_groups(self.name)
        command += [] if _supervised() else ["--register=no", "--keep-unit"]
        env = {**_ENVIRONMENT, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        env["GROUPS_TO_JOIN"] = " ".join(map(str, groups))
        with self._log.open("ab") as log:
            self._host = subprocess.Popen(
                ["/bin/sh", "-c", _IN_GROUPS, "sh", *command],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._wait_until_booted()
        except BaseException:
            self.cut()
            raise

    def run(
        self, *command: str, check: bool = True, said: str = "", timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it as root; `said` is its input. Raises ContainerError when it fails."""
        enter = ["nsenter", f"--target={self._leader}", "--mount", "--uts", "--ipc", "--pid", "--cgroup"]
        done = subprocess.run(
            [*enter, "--root", "--wd", "--", *command],
            env=_ENVIRONMENT,
            input=said,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode:
            raise ContainerError(
                f"{self.name}: {' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done

    def show(self, unit: str, key: str) -> str:
        """Return one property of a unit, as of `systemctl show`."""
        return self.run("systemctl", "show", "--value", f"--property={key}", unit).stdout.strip()

    def journal(self, *options: str) -> str:
        """Return the journal's messages, of this boot unless `options` (journalctl(1)) name another."""
        chosen = options if any(one.startswith(("-b", "--boot")) for one in options) else ("-b", *options)
        return self.run("journalctl", "--no-pager", "--output=cat", *chosen).stdout

    def stop(self) -> None:
        """Power it off in good order, and cut it when that takes too long; safe to call twice."""
        if self._host is None:
            return
        if self._host.poll() is None:
            self._host.terminate()  # systemd-nspawn then asks the container's systemd to power off
            with suppress(subprocess.TimeoutExpired):
                self._host.wait(_OFF_S)
        self.cut()

    def cut(self) -> None:
        """Kill all of it at once, as a power cut does; what was not synced is there all the same."""
        if self._host is None:
            return
        if self._host.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self._leader or self._host.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._host.wait(_OFF_S)
        if self._host.poll() is None:
            self._host.kill()
            self._host.wait()
        self._host, self._leader = None, 0
        _remove_groups(self.name)

    def _wait_until_booted(self) -> None:
        deadline = time.monotonic() + _BOOT_S
        while time.monotonic() < deadline:
            assert self._host  # noqa: S101 # start has set it
            if self._host.poll() is not None:
                raise ContainerError(f"{self.name} ended with {self._host.returncode}: {self._last_line()}")
            self._leader = self._leader or _child(self._host.pid)
            if self._leader and self._state() in _BOOTED:
                return
            time.sleep(_TICK_S)
        raise ContainerError(f"{self.name} was not up within {_BOOT_S:.0f} s: {self._last_line()}")

    def _state(self) -> str:
        try:
            return self.run("systemctl", "is-system-running", check=False, timeout_s=10).stdout.strip()
        except subprocess.TimeoutExpired:
            return ""

    def _last_line(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "without a word")


def _supervised() -> bool:
    """Whether this machine's own PID 1 is systemd, which then gives the container its control group."""
    return Path("/run/systemd/system").is_dir()


def _groups(name: str) -> list[Path]:
    hierarchies = [path for path in _CGROUPS if path.is_dir()] or [Path("/sys/fs/cgroup")]
    return [hierarchy / f"pressel-{name}" for hierarchy in hierarchies]


def _make_groups(name: str) -> list[Path]:
    for group in _groups(name):
        group.mkdir(exist_ok=True)
    return _groups(name)


def _remove_groups(name: str) -> None:
    for group in _groups(name):
        for path in sorted(group.rglob("*/"), key=lambda path: len(path.parts), reverse=True):
            with suppress(OSError):  # its processes are still being buried: the next start takes it as it is
                path.rmdir()
        with suppress(OSError):
            group.rmdir()


def _child(pid: int) -> int:
    """Return the container's PID 1 as this machine numbers it: systemd-nspawn's only child; 0 before."""
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return int(child)
    return 0
