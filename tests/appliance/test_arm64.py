"""The bundle that a Pi gets, installed by programs of a Pi's processor under both of Debian's Pythons."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import pytest

from provision import bundle
from rig import rootfs
from rig.vpi.image import PACKAGES
from rig.vpi.processor import chosen

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.appliance,
    pytest.mark.skipif(chosen().debian != "arm64", reason="run by script/appliance --arm64 test"),
]

# Every wheel with machine code in it, and what a daemon loads besides.
_USE = """import platform, sys
import cryptography.hazmat.primitives.asymmetric.ed25519 as ed25519
import msgspec, numpy, pyaudio, requests, webrtcvad, websocket
from device import daemon, enrol, parts
key = ed25519.Ed25519PrivateKey.generate()
key.public_key().verify(key.sign(b"claim"), b"claim")
assert numpy.int16([3, 4]) @ numpy.int16([3, 4]) == 25
assert webrtcvad.Vad(3).is_speech(bytes(640), 16000) is False
print(platform.machine(), *sys.version_info[:2])
"""


@pytest.mark.parametrize(("suite", "python"), [("bookworm", "3 11"), ("trixie", "3 13")])
def test_its_wheels_are_installed_and_work(suite: str, python: str, tmp_path: Path) -> None:
    try:
        root = rootfs.copy(rootfs.debian_root(PACKAGES, suite, "arm64"), tmp_path / "root")
    except rootfs.Unavailable as reason:
        pytest.skip(f"THERE IS NO {suite} OF arm64 HERE: {reason}")
    rootfs.pretend_installed(root, "python3-rpi-lgpio")
    with tarfile.open(bundle.build("1.0", "aarch64", tmp_path)) as archive:
        archive.extractall(root / "srv", filter="data")
    done = rootfs.run_in(root, "/srv/pressel-1.0-aarch64/install.sh", "--board", "i2s-mems-pair")
    assert done.returncode == 0, done.stderr
    used = rootfs.run_in(root, "/opt/pressel/current/bin/python", "-c", _USE)
    assert used.stdout == f"aarch64 {python}\n", used.stderr
    told = rootfs.run_in(root, "/usr/local/bin/pressel", "config")
    assert told.returncode in {0, 78}, told.stderr
