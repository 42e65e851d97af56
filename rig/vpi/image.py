"""The virtual Pi's disk: a Debian root, the kernel's modules and the hand of the host, as one ext4 file."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rig import rootfs
from rig.vpi.kernel import Kernel, kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from rig.vpi.processor import Processor

_GUEST = Path(__file__).parent / "guest"
_SIZE = "3G"  # sparse: what is not written takes no room
# What install.sh would fetch, and what this machine's network has no way to.
PACKAGES = ("python3-pyaudio", "alsa-utils", "gpiod", "libgomp1")
_MASKED = ["apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "man-db.timer"]
_MASKED += ["e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "getty@tty1.service", "ssh.service"]
_MASKED += ["systemd-networkd-wait-online.service", "systemd-binfmt.service"]
_MASKED += ["proc-sys-fs-binfmt_misc.automount"]
_WANTED = {
    "sysinit.target.wants/vpi-hardware.service": "/etc/systemd/system/vpi-hardware.service",
    "sysinit.target.wants/vpi-agent.service": "/etc/systemd/system/vpi-agent.service",
    "multi-user.target.wants/systemd-networkd.service": "/lib/systemd/system/systemd-networkd.service",
}
_MACHINE_ID = "0123456789abcdef0123456789abcdef"  # one journal for all boots of a disk


def disk(to: Path, processor: Processor) -> Path:
    """Put a factory-new disk at `to`, without Pressel, and return it. Raises Unavailable."""
    built = kernel(processor)
    root = rootfs.debian_root(PACKAGES, architecture=processor.debian)
    kept = rootfs.cache() / "disks" / f"{root.name}-{built.version}-{_fingerprint()}.ext4"
    with rootfs.locked(kept):
        if not kept.exists():
            half = kept.with_suffix(".half")
            _make(half, root, built, lambda _tree: None)
            half.rename(kept)
    to.unlink(missing_ok=True)
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(kept), str(to)], check=True)
    return to


def written_disk(to: Path, processor: Processor, write: Callable[[Path], None]) -> Path:
    """Put a disk at `to` into whose root folder `write` has put more, as who prepares a card does."""
    root = rootfs.debian_root(PACKAGES, architecture=processor.debian)
    _make(to, root, kernel(processor), write)
    return to


def stick(folder: Path, to: Path) -> Path:
    """Make a drive that holds what is in `folder`, as a USB stick would; return it."""
    size_mb = (
        sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) // 1_000_000 * 5 // 4 + 32
    )
    to.unlink(missing_ok=True)
    _make_ext4(to, folder, f"{size_mb}M", "stick")
    return to


def _make(to: Path, root: Path, built: Kernel, write: Callable[[Path], None]) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    to.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent) as folder:
        tree = rootfs.copy(root, Path(folder) / "root")
        shutil.copytree(built.modules, tree / "lib/modules", dirs_exist_ok=True)
        shutil.copytree(_GUEST, tree, dirs_exist_ok=True)
        _set_up(tree)
        finish = f"depmod {built.version} && groupadd --system gpio && chown -R 0:0 /usr/local/lib/vpi"
        subprocess.run(["chroot", str(tree), "sh", "-c", finish], check=True, capture_output=True)
        write(tree)
        _make_ext4(to, tree, _SIZE, "virtual-pi")


def _set_up(tree: Path) -> None:
    for file, text in {
        "etc/hostname": "virtual-pi\n",
        "etc/hosts": "127.0.0.1 localhost virtual-pi\n10.0.2.100 companion\n",
        "etc/fstab": "LABEL=virtual-pi / ext4 defaults,noatime 0 1\n",
        "etc/machine-id": f"{_MACHINE_ID}\n",
    }.items():
        (tree / file).write_text(text)
    (tree / "var/log/journal").mkdir(exist_ok=True)
    units = tree / "etc/systemd/system"
    for unit in _MASKED:
        _link(units / unit, "/dev/null")
    for unit, target in _WANTED.items():
        _link(units / unit, target)


def _link(link: Path, target: str) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def _make_ext4(to: Path, tree: Path, size: str, label: str) -> None:
    command = ["mke2fs", "-q", "-t", "ext4", "-L", label, "-d", str(tree), str(to), size]
    subprocess.run(command, check=True, capture_output=True)


def _fingerprint() -> str:
    """Change with whatever this file and the guest's folder put on the disk."""
    known = hashlib.sha256()
    for file in sorted([Path(__file__), *(path for path in _GUEST.rglob("*") if path.is_file())]):
        known.update(file.read_bytes())
    return known.hexdigest()[:12]
