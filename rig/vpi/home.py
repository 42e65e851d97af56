"""What stands around the virtual Pi: a companion on this host, a USB stick with bundles, and the disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rig import rootfs
from rig.processes import ROOT, Companion
from rig.rootfs import Unavailable
from rig.vpi.agent import GuestError
from rig.vpi.image import disk, stick, written_disk
from rig.vpi.kernel import kernel
from rig.vpi.machine import COMPANION, COMPANION_PORT
from rig.vpi.pi import AUDIO, Pi
from rig.vpi.processor import chosen

if TYPE_CHECKING:
    from pathlib import Path

    from rig.vpi.agent import Done

NAME = "virtual-pi"
BOARD = "i2s-mems-pair"
URL = f"http://{COMPANION}:{COMPANION_PORT}"
CONFIG = f"""\
[backend]
url = "{URL}"
allow_insecure = true # the line to the host is a cable of QEMU's

{AUDIO}
"""
# Board, settings and claim for a machine that has never seen Pressel.
FIRST = f"--board {BOARD} --config /mnt/stick/config.toml --claim /mnt/stick/claim.json"
_INSTALL_S = 900.0


class Home:
    """A folder with one virtual Pi in it. `stick` is what its USB stick holds; it is written by `make`."""

    def __init__(self, folder: Path, companion: Companion) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.companion = folder, companion
        self.stick = folder / "stick"
        self.processor = chosen()

    def make(self, bundle: str = "") -> str:
        """Make the disk and the stick; returns what the installer said. Raises Unavailable, GuestError.

        The disk is factory-new. With a bundle of the stick's, its installer has been run in the disk's root
        folder, as who writes cards for many Pis would do.
        """
        said: list[str] = []
        if bundle:
            written_disk(
                self.folder / "disk.ext4",
                self.processor,
                lambda tree: said.append(self._install_into(tree, bundle)),
            )
        else:
            disk(self.folder / "disk.ext4", self.processor)
        stick(self.stick, self.folder / "stick.ext4")
        return "".join(said)

    def _install_into(self, tree: Path, bundle: str) -> str:
        shutil.copytree(self.stick, tree / "mnt/stick")
        done = rootfs.run_in(tree, f"/mnt/stick/{bundle}/install.sh", *FIRST.split())
        shutil.rmtree(tree / "mnt/stick")
        if done.returncode:
            raise GuestError(f"install.sh ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def pi(self) -> Pi:
        """Return the virtual Pi of this folder, on or off."""
        port = urlsplit(self.companion.url).port or 0
        image, drive = self.folder / "disk.ext4", self.folder / "stick.ext4"
        return Pi(
            self.folder, image, kernel(self.processor), forward=port, stick=drive if drive.exists() else None
        )

    def add_settings(self) -> None:
        """Put the configuration and a new claim on the stick."""
        self.stick.mkdir(exist_ok=True)
        (self.stick / "config.toml").write_text(CONFIG)
        claim(self.companion, self.stick / "claim.json")

    def add_bundle(self, version: str = "", source: Path = ROOT) -> str:
        """Build a bundle of `source`, unpack it on the stick, and return its folder's name there."""
        self.stick.mkdir(exist_ok=True)
        out = self.folder / "dist"
        command = [sys.executable, "-m", "provision.bundle", "--out", str(out)]
        command += ["--arch", self.processor.wheels]
        command += ["--version", version] if version else []
        done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable(f"there is no bundle: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        (archive,) = out.glob("*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(self.stick, filter="data")
        shutil.rmtree(out)
        return archive.name.removesuffix(".tar.gz")


def install(pi: Pi, bundle: str, options: str = "") -> Done:
    """Run the bundle's installer in the guest, from the stick; returns how it ended."""
    mounted = "mkdir -p /mnt/stick && (mountpoint -q /mnt/stick || mount -o ro LABEL=stick /mnt/stick)"
    return pi.agent.run(f"{mounted} && /mnt/stick/{bundle}/install.sh {options}", timeout_s=_INSTALL_S)


def claim(companion: Companion, to: Path, name: str = NAME) -> None:
    """Have the companion write a claim for the device; one that was enrolled before is replaced."""
    to.unlink(missing_ok=True)
    command = [sys.executable, "-m", "companion", "claims", "new", name, "--replace", "--out", str(to)]
    command += ["--url", URL, "--config", str(companion.config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise GuestError(f"the companion makes no claim: {done.stderr.strip()}")
