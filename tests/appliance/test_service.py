"""The units at work: installed from the bundle, under real systemd 252 and 257, with WAV files for a card."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import wave
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from rig import nspawn
from rig.nspawn import Container
from rig.processes import ROOT, Companion
from rig.rootfs import Unavailable, copy, debian_root
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.appliance,
    pytest.mark.skipif(nspawn.missing() is not None, reason=str(nspawn.missing())),
]

_CONFIG = """\
board = "simulated"

[backend]
url = "{url}"

[audio]
driver = "wav"
[audio.input]
device = "/etc/pressel/mic.wav"
channels = 1
[audio.output]
device = "/var/lib/pressel/speaker.wav"
"""


@dataclass
class Box:
    """A machine on which Pressel has been installed, and the companion that it talks to."""

    machine: Container
    companion: Companion

    def pressel(self, *words: str) -> dict[str, Any]:
        done = self.machine.run("pressel", *words, "--json", check=False)
        assert done.stdout, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def unit(self, key: str) -> str:
        return self.machine.show("pressel.service", key)

    @property
    def up(self) -> bool:
        return self.unit("ActiveState") == "active"

    def restart(self) -> None:
        self.machine.run("systemctl", "restart", "pressel")

    def signal(self, name: str) -> str:
        """Send it to the daemon and return the process id that it had."""
        pid = self.unit("MainPID")
        assert pid != "0"
        self.machine.run("kill", f"-{name}", pid)
        return pid

    def started_again(self, pid: str, within_s: float) -> None:
        until(lambda: self.up and self.unit("MainPID") not in (pid, "0"), within_s)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([ROOT / "script/bundle", "--arch", "x86_64", "--out", out], check=True, cwd=ROOT)
    with tarfile.open(next(out.glob("*.tar.gz"))) as archive:
        archive.extractall(out, filter="data")
    return next(path for path in out.iterdir() if path.is_dir())


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def box(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, bundle: Path
) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp(request.param)
    try:
        root = copy(debian_root(("python3-pyaudio",), suite=request.param), folder / "root")
    except Unavailable as error:
        pytest.skip(str(error))
    shutil.copytree(bundle, root / "root/bundle")
    (root / "etc/pressel").mkdir()
    with wave.open(str(root / "etc/pressel/mic.wav"), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", "not compressed"))
    with Companion(folder / "c") as companion:
        (root / "root/config.toml").write_text(_CONFIG.format(url=companion.url))
        shutil.copy(companion.token_file, root / "root/token")
        with Container(root, f"pressel-{request.param}") as machine:
            install = ["/root/bundle/install.sh", "--board", "simulated", "--config", "/root/config.toml"]
            install += ["--token-file", "/root/token", "--no-packages", "--gate", "5"]
            machine.run(*install, timeout_s=300)
            yield Box(machine, companion)


def test_it_is_up_and_the_companion_knows_it_by_the_credential(box: Box) -> None:
    assert box.up
    gate = box.pressel("gate", "--seconds", "3")
    assert gate["reasons"] == []
    assert gate["device"] == "demo-device"


def test_it_runs_as_its_own_user_with_nothing_to_spare(box: Box) -> None:
    run, pid = box.machine.run, box.unit("MainPID")
    status = dict(line.split(":\t", 1) for line in run("cat", f"/proc/{pid}/status").stdout.splitlines())
    assert status["Uid"].split() == [run("id", "-u", "pressel").stdout.strip()] * 4
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert run("stat", "-c", "%a %U", "/var/lib/pressel").stdout == "700 pressel\n"
    limits = run("cat", f"/proc/{pid}/limits").stdout
    assert "Max core file size        0                    0" in limits


@pytest.mark.parametrize(
    ("path", "writable"),
    [
        ("/var/lib/pressel/x", True),
        ("/run/pressel/x", True),
        ("/etc/pressel/x", False),
        ("/opt/pressel/x", False),
    ],
)
def test_it_may_write_where_its_state_is_and_nowhere_else(box: Box, path: str, writable: bool) -> None:
    inside = ["nsenter", f"--target={box.unit('MainPID')}", "--mount", "--", "touch", path]
    assert (box.machine.run(*inside, check=False).returncode == 0) is writable


def test_a_kill_brings_it_back_within_seconds(box: Box) -> None:
    box.started_again(box.signal("KILL"), 15)


def test_a_process_that_stands_still_is_found_by_the_watchdog(box: Box) -> None:
    box.started_again(box.signal("STOP"), 30)
    assert "Watchdog timeout" in box.machine.journal("--unit=pressel", "--since=-1min")


def test_systemctl_shows_what_it_is_doing(box: Box) -> None:
    assert box.unit("StatusText") == "idle"
    box.machine.run("pressel", "ctl", "mute")
    until(lambda: box.unit("StatusText") == "muted")
    box.machine.run("pressel", "ctl", "unmute")
    until(lambda: box.unit("StatusText") == "idle")


def test_without_a_companion_it_starts_all_the_same(box: Box) -> None:
    box.companion.stop()
    box.restart()
    assert box.up
    assert "cannot be reached" in box.pressel("ctl", "check")["error"]
    box.companion.start()
    assert box.pressel("ctl", "check") == {"ok": True, "device": "demo-device"}


def test_a_wrong_setting_stays_down_and_a_mended_one_comes_up(box: Box) -> None:
    file = box.machine.root / "etc/pressel/config.toml"
    good = file.read_text()
    file.write_text(good.replace("[backend]", "[backed]"))
    box.machine.run("systemctl", "restart", "pressel", check=False)
    until(lambda: box.unit("SubState") == "failed", 15)  # and not "auto-restart"
    assert box.unit("ExecMainStatus") == "78"
    assert "did you mean backend" in box.machine.journal("--unit=pressel", "--since=-1min")
    file.write_text(good)
    box.restart()
    assert box.up


def test_without_a_sound_card_the_journal_has_its_own_lines_alone(box: Box) -> None:
    file = box.machine.root / "etc/pressel/config.toml"
    good = file.read_text()
    file.write_text(good.replace('driver = "wav"', 'driver = "portaudio"'))
    box.restart()
    until(lambda: len(box.pressel("ctl", "status")["faults"]) == 2, 15)  # each side has been looked for
    said = box.machine.journal(f"_SYSTEMD_INVOCATION_ID={box.unit('InvocationID')}").splitlines()
    file.write_text(good)
    box.restart()
    assert any("the microphone is missing" in line for line in said)
    assert [line for line in said if not line.startswith("level=")] == []


def test_one_that_was_asked_to_quit_stays_down(box: Box) -> None:
    assert box.pressel("ctl", "quit") == {"ok": True}
    until(lambda: box.unit("SubState") == "dead", 15)
    assert box.unit("Result") == "success"
    box.machine.run("systemctl", "start", "pressel")
    assert box.up


def test_after_a_power_cut_it_is_there_again_and_the_drop_ins_hold(box: Box) -> None:
    box.machine.cut()
    box.machine.start()
    until(lambda: box.up, 30)
    assert box.pressel("gate", "--seconds", "3")["reasons"] == []
    assert (
        box.machine.run("systemctl", "show", "--property=RuntimeWatchdogUSec").stdout.strip().endswith("=14s")
    )
    boots = box.machine.run("journalctl", "--list-boots", "--no-pager").stdout
    assert "-1 " in boots, "the journal of before the cut is lost"
    assert "Unknown key" not in box.machine.journal()
    assert "Failed to parse" not in box.machine.journal()


def test_the_trial_and_the_mixer_wait_for_their_reason(box: Box) -> None:
    for unit in ("pressel-trial.service", "pressel-mixer.service"):
        assert box.machine.show(unit, "UnitFileState") == "enabled"
        assert box.machine.show(unit, "Result") == "success"


def test_a_card_that_appears_has_its_mixer_set(box: Box) -> None:
    mixer = box.machine.root / "etc/pressel/mixer"
    mixer.write_text("#!/bin/sh -e\necho set >/run/mixed\n")
    mixer.chmod(0o755)
    box.machine.run("systemctl", "start", "sound.target")  # as udev does when it sees a card
    until(lambda: box.machine.show("pressel-mixer.service", "ActiveState") == "active", 15)
    assert box.machine.run("cat", "/run/mixed").stdout == "set\n"
