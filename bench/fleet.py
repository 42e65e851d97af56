"""How long pressel-fleet takes for many devices, and what it takes of the desk's machine.

Method: one Debian root, and in it an sshd for each device, with a port and with /opt, /etc/pressel,
/var/lib/pressel and /var/cache of its own (tmpfs), all on this machine. The installer is a stand-in that
takes no time, so what is measured is the desk and the SSH of both sides, and nothing of a Pi. Canary 1,
batches of 10, 10 at a time. Each command is a process of its own: its wall clock, its CPU time and its
largest resident memory are the kernel's (wait4). The targets' own CPU competes for the same cores. The last
row sends a bundle of 40 MB to one device.

    sudo .venv/bin/python bench/fleet.py [--targets 10 100] [--json]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import socket
import sys
import tarfile
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rig import rootfs, sshd
from rig.processes import free_port

ROOT = Path(__file__).resolve().parent.parent
OWN = ("/opt", "/etc/pressel", "/var/lib/pressel", "/var/cache")
BIG_BYTES = 40_000_000
INSTALLER = """#!/bin/bash
set -eu
while [ $# -gt 0 ]; do case $1 in --config) config=$2 ;; --board) board=$2 ;; esac; shift 2; done
mkdir -p /opt/pressel/releases/2.0/bin
cp "$config" /etc/pressel/config.toml
echo "name = '$board'" >/etc/pressel/board.toml
ln -sfn releases/2.0 /opt/pressel/current
echo 'echo "{\\"ok\\": true}"' >/opt/pressel/current/bin/pressel
chmod +x /opt/pressel/current/bin/pressel
"""
# Where systemd does not run, this says what a healthy device says.
SYSTEMCTL = "#!/bin/sh\n[ -e /opt/pressel/current ] && echo active || echo inactive\n"


def main() -> int:
    """Run all rows, print them, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n\n")[0],
        epilog="examples:\n  sudo .venv/bin/python bench/fleet.py --targets 10",
    )
    parser.add_argument("--targets", type=int, nargs="+", default=[10, 100], metavar="N")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleet") as folder:
        rows = measure(Path(folder), options.targets)
    if options.json:
        print(json.dumps(rows))
        return 0
    print("| what | targets | s | s a target | CPU s | memory MB |\n|---|---|---|---|---|---|")
    for row in rows:
        print("| {what} | {targets} | {s} | {each_s} | {cpu_s} | {memory_mb} |".format(**row))
    return 0


def measure(folder: Path, counts: list[int]) -> list[dict[str, float | str]]:
    """Return the rows; the root is copied once, and each count has fresh devices in it."""
    root = rootfs.copy(rootfs.debian_root(), folder / "root")
    key = sshd.make_key(folder / "key")
    sshd.prepare(root, 22, key)
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost {socket.gethostname()}\n")
    (root / "usr/bin/systemctl").unlink()
    _write(root / "usr/bin/systemctl", SYSTEMCTL)
    for own in OWN:
        (root / own[1:]).mkdir(parents=True, exist_ok=True)
    rows = []
    _bundle(folder / "b.tar.gz", 0)
    for count in counts:
        with ExitStack() as cleanup:
            _start(cleanup, folder, root, count)
            rows += [_row(folder, what, count) for what in ("plan", "apply", "apply again", "status")]
    with ExitStack() as cleanup:
        _bundle(folder / "b.tar.gz", BIG_BYTES)
        _start(cleanup, folder, root, 1)
        rows.append(_row(folder, "apply, 40 MB", 1))
    return rows


def _start(cleanup: ExitStack, folder: Path, root: Path, count: int) -> None:
    """Start the devices and write their inventory."""
    lines = ['[fleet]\ncompanion = "http://127.0.0.1:8790"\nbundle = "b.tar.gz"\ngate_s = 0\nbatch = 10']
    lines += ['[ssh]\nkey_file = "key"\n[defaults]\nboard = "simulated"']
    for number in range(count):
        port = free_port()
        cleanup.enter_context(sshd.Sshd(root, port, OWN))
        lines.append(f'[devices.d{number}]\nhost = "127.0.0.1"\nssh = {{ port = {port} }}')
    (folder / "fleet.toml").write_text("\n".join(lines))
    (folder / "known_hosts").unlink(missing_ok=True)


def _row(folder: Path, what: str, count: int) -> dict[str, float | str]:
    word = what.partition(" ")[0].rstrip(",")
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(folder, word)
    _, status, used = os.wait4(child, 0)
    took = time.monotonic() - began
    said = (folder / "out").read_text()
    if status:
        raise SystemExit(
            f"pressel-fleet {word} ended with {os.waitstatus_to_exitcode(status)}:\n{said[-2000:]}"
        )
    if what == "apply again" and f"nothing to change on {count} device" not in said:
        raise SystemExit(f"the second apply changed something:\n{said[-2000:]}")
    return {
        "what": what,
        "targets": count,
        "s": round(took, 1),
        "each_s": round(took / count, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "memory_mb": round(used.ru_maxrss / 1000),
    }


def _become(folder: Path, word: str) -> None:
    """Turn this process into the command, its output in a file."""
    os.chdir(folder)
    out = os.open("out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from provision.cli import main; sys.exit(main())"
    )
    os.execv(sys.executable, [sys.executable, "-c", program, word])  # noqa: S606 - no shell is wanted


def _bundle(path: Path, filling: int) -> None:
    about = json.dumps({"version": "2.0", "arch": platform.machine(), "pythons": ["3.11"]}).encode()
    files = (("bundle.json", about), ("install.sh", INSTALLER.encode()), ("filling", os.urandom(filling)))
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in files:
            entry = tarfile.TarInfo(f"pressel-2.0/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


if __name__ == "__main__":
    sys.exit(main())
