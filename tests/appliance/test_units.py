"""The units under the tools of the systemd that Raspberry Pi OS has today, and under the one before."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from rig.processes import ROOT
from rig.rootfs import Unavailable, copy, debian_root

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.appliance

_UNITS = sorted((ROOT / "systemd").glob("*.service"))
_PROGRAMS = (
    *("opt/pressel/current/bin/pressel", "opt/pressel/install.sh", "etc/pressel/mixer"),
    "opt/pressel-companion/bin/pressel-companion",
)
_THRESHOLDS = {"pressel.service": 15, "pressel-companion.service": 20}


@pytest.fixture(
    scope="module", params=[("bookworm", "systemd 252"), ("trixie", "systemd 257")], ids=lambda p: p[1]
)
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    suite, version = request.param
    try:
        made = copy(debian_root(suite=suite), tmp_path_factory.mktemp(suite) / "root")
    except Unavailable as error:
        pytest.skip(str(error))
    for unit in _UNITS:
        shutil.copy(unit, made / "etc/systemd/system")
    for program in _PROGRAMS:
        (made / program).parent.mkdir(parents=True, exist_ok=True)
        (made / program).write_text("#!/bin/sh\n")
        (made / program).chmod(0o755)
    for kind in ("sysusers.d", "tmpfiles.d"):
        shutil.copytree(ROOT / "systemd" / kind, made / "usr/local/lib" / kind)
    assert version in inside(made, "systemctl", "--version").stdout
    return made


def inside(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    enter = ["unshare", "--pid", "--fork", f"--mount-proc={root}/proc", "chroot", str(root)]
    return subprocess.run([*enter, *command], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("unit", [unit.name for unit in _UNITS])
def test_the_units_are_clean(root: Path, unit: str) -> None:
    done = inside(root, "systemd-analyze", "verify", "--recursive-errors=no", "--man=no", unit)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(("unit", "threshold"), _THRESHOLDS.items())
def test_the_exposure_stays_below_its_limit(root: Path, unit: str, threshold: int) -> None:
    options = ["security", "--offline=true", f"--threshold={threshold}", f"/etc/systemd/system/{unit}"]
    done = inside(root, "systemd-analyze", *options)
    assert done.returncode == 0, done.stdout + done.stderr


def test_users_and_folders_are_made(root: Path) -> None:
    for command in ("systemd-sysusers", "systemd-tmpfiles --create"):
        for name in ("pressel", "pressel-companion"):
            done = inside(root, *command.split(), f"{name}.conf")
            assert done.returncode == 0, done.stderr
    groups = inside(root, "id", "-nG", "pressel").stdout.split()
    assert {"pressel", "audio"} <= set(groups)
    folders = ["/var/lib/pressel", "/etc/pressel/credentials", "/var/lib/pressel-companion"]
    found = inside(root, "stat", "-c", "%n %a %U", *folders).stdout.splitlines()
    assert found == [
        "/var/lib/pressel 700 pressel",
        "/etc/pressel/credentials 700 root",
        "/var/lib/pressel-companion 700 pressel-companion",
    ]
