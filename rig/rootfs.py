"""Debian root folders made by mmdebstrap and kept in a cache: a whole Debian for a test to itself."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BASE = ["systemd-sysv", "dbus", "udev", "kmod", "iproute2", "procps", "python3", "python3-venv"]
_BASE += ["openssh-server", "alsa-utils", "ca-certificates", "sudo"]
_UNREAD = ("doc", "man", "locale", "info", "lintian")  # below /usr/share: most of a small root's files
_FORM = 1  # raise it when what is made of the same arguments changes


class Unavailable(Exception):  # noqa: N818  (a fact about this machine, not a fault)
    """Such a root cannot be had here; the text is one line."""


def cache() -> Path:
    """Return the folder for what is slow to make, $PRESSEL_CACHE or ~/.cache/pressel; made when missing."""
    folder = Path(os.environ.get("PRESSEL_CACHE") or Path.home() / ".cache/pressel")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file beside `path`: two processes make nothing twice, nor half of it each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def debian_root(
    extra_packages: tuple[str, ...] = (), suite: str = "bookworm", architecture: str = "amd64"
) -> Path:
    """Return a Debian root with systemd, Python, sshd and ALSA's tools; from the cache when it is there.

    Nobody writes into it: see `copy`. It holds no SSH host keys (`ssh-keygen -A` makes them in a copy).
    About 40 s when it must be made. Raises Unavailable.
    """
    packages = sorted({*_BASE, *extra_packages})
    key = hashlib.sha256(f"{_FORM} {suite} {architecture} {packages}".encode()).hexdigest()[:12]
    root = cache() / "roots" / f"{suite}-{architecture}-{key}"
    with locked(root):
        if not root.exists():
            make(root, packages, suite, architecture)
    return root


def copy(root: Path, to: Path) -> Path:
    """Copy a root to the new folder `to` (blocks are shared where the file system can) and return `to`."""
    to.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", "--reflink=auto", f"{root}/.", str(to)], check=True)
    return to


def run_in(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a copy of a root, with /proc; nothing stays mounted, whatever happens."""
    enter = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
    whole = ["unshare", "--mount", "sh", "-c", enter, str(root), *command]
    return subprocess.run(whole, capture_output=True, text=True, check=False)


def pretend_installed(root: Path, package: str) -> None:
    """Install an empty package of that name: Raspberry Pi's archive has it and Debian's has not."""
    (root / "root/empty/DEBIAN").mkdir(parents=True)
    facts = "Version: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: empty\n"
    (root / "root/empty/DEBIAN/control").write_text(f"Package: {package}\n{facts}")
    make = "dpkg-deb --build /root/empty /root/empty.deb && dpkg --install /root/empty.deb"
    run_in(root, "sh", "-c", make).check_returncode()


def make(root: Path, packages: list[str], suite: str, architecture: str) -> None:
    """Make a Debian root of nothing but these packages at `root`, or nothing. Raises Unavailable."""
    if os.geteuid() != 0:
        raise Unavailable("a Debian root can be made by root only: run this as root, or with sudo")
    if not shutil.which("mmdebstrap"):
        raise Unavailable("mmdebstrap is not installed: run script/setup")
    half = root.with_name(f"{root.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    command = ["mmdebstrap", "--variant=minbase", "--mode=root", "--format=directory", "--quiet"]
    command += [f"--architectures={architecture}", f"--include={','.join(packages)}"]
    command += ["--aptopt=Acquire::Languages none", "--aptopt=Acquire::Retries 3"]
    command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _UNREAD]
    done = subprocess.run([*command, suite, str(half)], capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(half, ignore_errors=True)
        raise Unavailable(f"mmdebstrap makes no {suite} of {architecture}: {_reason(done.stderr)}")
    # Every machine made of it gets keys of its own; a cache must not hold anybody's.
    for host_key in half.glob("etc/ssh/ssh_host_*"):
        host_key.unlink()
    half.rename(root)


def _reason(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.startswith("E:")]
    return (lines or said.strip().splitlines() or ["it gave no reason"])[0]
