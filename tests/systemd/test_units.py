"""The units under systemd's own tools, on this machine's version of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from device.cli import EX_CONFIG
from device.config import BackendConfig, StateConfig
from device.system.watchdog import LIMIT_S

UNITS = Path(__file__).resolve().parents[2] / "systemd"
_NAMES = sorted(path.name for path in UNITS.glob("*.service"))
_SYSTEM = Path("/usr/lib/systemd/system")
_PROGRAM = re.compile(r"^ExecStart=(\S+)", re.MULTILINE)
_EXPOSURE = {"pressel.service": 1.5, "pressel-companion.service": 2.0}

pytestmark = pytest.mark.skipif(
    not shutil.which("systemd-analyze") or not _SYSTEM.is_dir(),
    reason="no systemd here: apt-get install systemd",
)


def install(root: Path, units: dict[str, str]) -> Path:
    """Put the units, and a program wherever one is started, into a root folder with systemd's own units."""
    shutil.copytree(_SYSTEM, root / "usr/lib/systemd/system", symlinks=True)
    folder = root / "usr/local/lib/systemd/system"
    folder.mkdir(parents=True)
    for name, text in units.items():
        (folder / name).write_text(text)
        for program in _PROGRAM.findall(text):
            file = root / program.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("#!/bin/sh\n")
            file.chmod(0o755)
    return root


def verify(root: Path, name: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "verify", f"--root={root}", "--recursive-errors=no", "--man=no", name]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def the_units() -> dict[str, str]:
    return {name: (UNITS / name).read_text() for name in _NAMES}


def settings(name: str) -> dict[str, list[str]]:
    """Every value of every key of a unit."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", (UNITS / name).read_text(), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("name", _NAMES)
def test_systemd_finds_nothing_to_complain_about(tmp_path: Path, name: str) -> None:
    done = verify(install(tmp_path, the_units()), name)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("good", "bad", "complaint"),
    [
        ("WatchdogSec=10", "WatchdgSec=10", "Unknown key 'WatchdgSec'"),
        ("Restart=on-failure", "Restart=on-faliure", "Failed to parse service restart specifier"),
        ("@system-service", "@sytem-service", "Unknown system call group"),
    ],
)
def test_it_would_complain_about_a_slip_of_the_pen(
    tmp_path: Path, good: str, bad: str, complaint: str
) -> None:
    units = the_units()
    units["pressel.service"] = units["pressel.service"].replace(good, bad)
    assert complaint in verify(install(tmp_path, units), "pressel.service").stderr


@pytest.mark.parametrize(("name", "most"), _EXPOSURE.items())
def test_the_exposure_stays_below_its_limit_and_each_exception_is_explained(name: str, most: float) -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={most * 10:.0f}"]
    done = subprocess.run([*command, str(UNITS / name)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    comments = "\n".join(re.findall(r"^#.*$", (UNITS / name).read_text(), re.MULTILINE))
    for word in _exceptions(name):
        assert word in comments, f"{name} leaves {word} open and does not say why"


def _exceptions(name: str) -> set[str]:
    """Give what the exposure still counts, by the word of systemd.exec(5) for it."""
    command = ["systemd-analyze", "security", "--offline=true", "--json=short", str(UNITS / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    open_ones = [one["name"] for one in json.loads(done.stdout) if one["exposure"]]
    assert open_ones, "a service that may do nothing at all"
    return {word for one in open_ones for word in re.findall(r"@\w+|AF_[A-Z0-9]+|\w+=(?!~)", one)}


def test_the_processes_pseudo_files_stay_visible_and_the_kernel_s_too() -> None:
    assert "ProcSubset" not in settings("pressel.service"), "it hides /proc/device-tree and /proc/asound"


def test_the_device_s_unit_agrees_with_the_program_s_own_numbers_and_paths() -> None:
    unit = settings("pressel.service")
    assert unit["RestartPreventExitStatus"] == [str(EX_CONFIG)]
    assert int(unit["WatchdogSec"][0]) >= 2 * LIMIT_S, (
        "systemd would kill before the program knows which part hangs"
    )
    assert StateConfig().dir == f"/var/lib/{unit['StateDirectory'][0]}"
    credentials, folder = unit["LoadCredential"][0].split(":")
    assert folder == "/etc/pressel/credentials"
    assert BackendConfig().token_credential == f"{credentials}_token"


def test_nothing_waits_for_the_network_but_the_trial_and_nothing_gives_up() -> None:
    for name in ("pressel.service", "pressel-companion.service"):
        unit = settings(name)
        assert unit["StartLimitIntervalSec"] == ["0"]
        assert not any("network-online" in value for values in unit.values() for value in values)


@pytest.mark.parametrize("name", ["pressel", "pressel-companion"])
def test_the_users_are_made(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "usr/lib/sysusers.d"
    folder.mkdir(parents=True)
    shutil.copy(UNITS / f"sysusers.d/{name}.conf", folder)
    command = ["systemd-sysusers", "--dry-run", f"--root={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"Creating user '{name}'" in done.stderr
