"""A Debian root as an SSH target on loopback: its login, its keys, and its sshd in a chroot."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rig.rootfs import run_in

if TYPE_CHECKING:
    from collections.abc import Sequence

_CONFIG = """Port {port}
ListenAddress 127.0.0.1
PasswordAuthentication no
MaxStartups 200
MaxSessions 50
UseDNS no
"""
# The mounts are seen by these processes alone: whoever removes the root folder meets no /dev in it.
_IN_CHROOT = """
root=$1 port=$2
shift 2
mount --bind /proc "$root/proc"
mount --bind /dev "$root/dev"
for folder; do mount -t tmpfs none "$root$folder"; done
exec chroot "$root" /usr/sbin/sshd -D -e -p "$port"
"""
_START_S = 10.0


def make_key(path: Path) -> Path:
    """Make an Ed25519 key pair without a passphrase, and return the private one's path."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def prepare(root: Path, port: int, key: Path, user: str = "ops") -> None:
    """Give a root host keys of its own, a port, and a login with sudo for the key's public half."""
    _chroot(root, "ssh-keygen", "-A")
    settings = root / "etc/ssh/sshd_config.d"
    settings.mkdir(exist_ok=True)
    (settings / "rig.conf").write_text(_CONFIG.format(port=port))
    if user != "root":
        _chroot(root, "useradd", "--create-home", "--shell", "/bin/bash", user)
        rule = root / "etc/sudoers.d" / user
        rule.write_text(f"{user} ALL=(ALL) NOPASSWD: ALL\n")
        rule.chmod(0o440)
    home = "root" if user == "root" else f"home/{user}"
    folder = root / home / ".ssh"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "authorized_keys").write_text(key.with_name(f"{key.name}.pub").read_text())
    _chroot(root, "chown", "-R", f"{user}:{user}", f"/{home}/.ssh")


class Sshd:
    """The sshd of a prepared root, run in a chroot while the context is open: a machine without systemd.

    `own`: folders of the root that are empty and this machine's alone, so that several can share one root.
    """

    def __init__(self, root: Path, port: int, own: Sequence[str] = ()) -> None:
        self.root, self.port = root, port
        self._own = own
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        (self.root / "run/sshd").mkdir(parents=True, exist_ok=True)
        log = self.root.with_name(f"{self.root.name}.sshd.log").open("ab")
        self._process = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "--propagation=private",
                "/bin/sh",
                "-ec",
                _IN_CHROOT,
                "sh",
                str(self.root),
                str(self.port),
                *self._own,
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        deadline = time.monotonic() + _START_S
        while not answers(self.port):
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.__exit__()
                raise RuntimeError(f"the sshd of {self.root} does not answer on port {self.port}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self.hang_up()
            self._process.terminate()
            self._process.wait(_START_S)
            self._process = None

    def hang_up(self) -> None:
        """Kill every connection's process, as a network that dies does; the listener lives on."""
        if self._process:
            for child in _children(self._process.pid):
                for pid in (*_children(child), child):
                    _kill(pid)


def answers(port: int) -> bool:
    """Whether an SSH server greets on that port of loopback."""
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _chroot(root: Path, *command: str) -> None:
    done = run_in(root, *command)
    if done.returncode:
        raise RuntimeError(f"{command[0]} in {root}: {done.stderr.strip()}")


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
