"""What goes wrong between desk and device: over a real sshd, with a stand-in for the installer."""

from __future__ import annotations

import io
import json
import os
import platform
import socket
import subprocess
import sys
import tarfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from rig import rootfs, sshd
from rig.processes import ROOT, free_port
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.appliance

TOKEN = "pressel_a-word-that-nobody-may-see"
# Does what the desk sees of the real one: options, lines, links, exit status. Waits while /srv/hold is there.
INSTALLER = """#!/bin/bash
set -eu
cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' >/srv/processes
find /var/cache/pressel-fleet -printf '%m %p\\n' >/srv/modes
while [ $# -gt 0 ]; do
  case $1 in --config) config=$2 ;; --board) board=$2 ;; --token-file) token=$2 ;; esac
  shift 2
done
echo "changed release 2.0"
echo "$0" >>/srv/begun
while [ -e /srv/hold ]; do sleep 0.1; done
echo "changed config.toml"
mkdir -p /opt/pressel/releases/2.0 /etc/pressel/credentials
cp "$config" /etc/pressel/config.toml
[ -z "${token-}" ] || cp "$token" /etc/pressel/credentials/token
echo "name = '$board'" >/etc/pressel/board.toml
ln -sfn releases/2.0 /opt/pressel/current
"""

SIMULATED = """board = "simulated"
config = { audio = { driver = "wav", input = { device = "/a" }, output = { device = "/b" } } }
"""
OWN = ("/opt", "/etc/pressel", "/var/lib/pressel", "/var/cache")
# What a device says to SFTP, and then to all else.
NO_SFTP = 'ForceCommand case "$SSH_ORIGINAL_COMMAND" in *sftp*) {} ;; *) eval "$SSH_ORIGINAL_COMMAND" ;; esac'


@dataclass
class Desk:
    """A folder with an inventory of one device, and the sshd that is that device."""

    folder: Path
    device: sshd.Sshd

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start pressel-fleet in the folder."""
        return subprocess.Popen(
            [sys.executable, "-c", "import sys; from provision.cli import main; sys.exit(main())", *words],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def fleet(self, *words: str) -> tuple[int, str, str]:
        """Run it to its end; returns exit status, stdout and stderr."""
        with self.start(*words) as process:
            out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    @contextmanager
    def neighbour(self, name: str, settings: str = "") -> Iterator[None]:
        """Have another device, without a token, whose sshd has settings of its own (sshd_config(5))."""
        port, root = free_port(), self.device.root
        for own in OWN:
            (root / own[1:]).mkdir(parents=True, exist_ok=True)
        with (root / "etc/ssh/sshd_config.d/rig.conf").open("a") as file:
            file.write(f"Match LocalPort {port}\n{settings}\n")
        with (self.folder / "fleet.toml").open("a") as file:
            file.write(f'[devices.{name}]\nhost = "127.0.0.1"\nssh = {{ port = {port} }}\n{SIMULATED}')
        with sshd.Sshd(root, port, OWN):
            yield

    def change(self, old: str, new: str) -> None:
        """Edit the inventory."""
        file = self.folder / "fleet.toml"
        file.write_text(file.read_text().replace(old, new))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    try:
        root = rootfs.copy(rootfs.debian_root(), tmp_path / "root")
    except rootfs.Unavailable as error:
        pytest.skip(str(error))
    key = sshd.make_key(tmp_path / "key")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    _bundle(tmp_path / "b.tar.gz", platform.machine())
    port = free_port()
    (tmp_path / "fleet.toml").write_text(
        '[fleet]\ncompanion = "http://127.0.0.1:8790"\nbundle = "b.tar.gz"\ngate_s = 1\ncanary = 0\n'
        '[ssh]\nkey_file = "key"\n'
        f'[devices.hall]\nhost = "127.0.0.1"\nssh = {{ port = {port} }}\n'
        f'token = {{ file = "token" }}\n{SIMULATED}'
    )
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost {socket.gethostname()}\n")
    sshd.prepare(root, port, key)
    with sshd.Sshd(root, port) as device:
        yield Desk(tmp_path, device)


def test_ssh_that_dies_midway_is_one_line_and_the_device_ends_what_it_began(desk: Desk) -> None:
    srv = desk.device.root / "srv"
    (srv / "hold").touch()
    process = desk.start("apply", "--json")
    until((srv / "begun").exists, 60)
    desk.device.hang_up()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    hall = json.loads(out)["devices"][0]
    assert hall["result"] == "failed"
    assert hall["detail"].startswith("the SSH connection broke during: install, then 1 s of gate")
    (srv / "hold").unlink()
    until((desk.device.root / "opt/pressel/current").is_symlink, 60)
    until(lambda: not list((desk.device.root / "var/cache/pressel-fleet").glob("run-*")), 60)
    _status, out, err = desk.fleet("plan", "--json")
    assert json.loads(out)["devices"][0]["version"] == "2.0", err


def test_devices_that_cannot_take_a_file_are_a_line_each_and_the_others_go_on(desk: Desk) -> None:
    with (
        desk.neighbour("cut", NO_SFTP.format("kill -9 $PPID")),
        desk.neighbour("shut", "MaxSessions 0"),
        desk.neighbour("spare", NO_SFTP.format("exit 1")),
    ):
        status, out, err = desk.fleet("apply", "--json")
    assert "Traceback" not in err
    found = {device["name"]: device for device in json.loads(out)["devices"]}
    assert status == 1
    assert found["hall"]["result"] == "changed"
    assert found["cut"]["result"] == "failed"
    assert found["cut"]["detail"].startswith("the SSH connection broke during: send b.tar.gz")
    assert found["spare"]["result"] == "failed"
    assert "takes no files" in found["spare"]["detail"]
    assert found["shut"]["result"] == "unreachable"
    assert "lets ops in and opens no session" in found["shut"]["detail"]


def test_devices_of_a_batch_do_not_wait_for_each_other(desk: Desk) -> None:
    """One is sent a token besides its settings, the other is not."""
    srv = desk.device.root / "srv"
    (srv / "hold").touch()
    with desk.neighbour("study"):
        process = desk.start("apply", "--json")
        until(lambda: (srv / "begun").exists() and len((srv / "begun").read_text().split()) == 2, 60)
        (srv / "hold").unlink()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert {line for line in err.splitlines() if line.startswith("study: send")} == {
        "study: send b.tar.gz (0 MB)",
        "study: send config.toml",
    }
    assert [device["result"] for device in json.loads(out)["devices"]] == ["changed"] * 2


def test_two_desks_at_once_take_nothing_from_each_other(desk: Desk) -> None:
    srv = desk.device.root / "srv"
    (srv / "hold").touch()
    desks = []
    for number in (1, 2):
        desks.append(desk.start("apply"))
        until(lambda: (srv / "begun").exists() and len((srv / "begun").read_text().split()) >= number, 60)  # noqa: B023 - called at once
    (srv / "hold").unlink()
    for process in desks:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, out + err
    assert [path.name for path in (desk.device.root / "var/cache/pressel-fleet").iterdir()] == ["b.tar.gz"]


def test_a_secret_is_in_no_list_of_processes_and_open_to_nobody(desk: Desk) -> None:
    status, out, err = desk.fleet("apply")
    assert status == 0, out + err
    root = desk.device.root
    assert TOKEN not in out + err + (root / "srv/processes").read_text(errors="replace")
    modes = (root / "srv/modes").read_text().splitlines()
    assert "700 /var/cache/pressel-fleet" in modes
    (sent,) = [line for line in modes if line.endswith("/token")]
    assert sent.startswith("600 /var/cache/pressel-fleet/")
    assert TOKEN in (root / "etc/pressel/credentials/token").read_text()
    stage = root / "var/cache/pressel-fleet"
    assert [path.name for path in stage.iterdir()] == ["b.tar.gz"]
    sent_at = (stage / "b.tar.gz").stat().st_mtime_ns
    desk.change("/a", "/c")
    status, out, err = desk.fleet("apply")
    assert (status, "1 changed" in out) == (0, True), out + err
    assert (stage / "b.tar.gz").stat().st_mtime_ns == sent_at  # and not sent again


def test_a_changed_host_key_is_refused_with_the_mend(desk: Desk) -> None:
    assert desk.fleet("plan")[0] == 0
    known = desk.folder / "known_hosts"
    assert known.read_text().count("\n") == 1
    other = sshd.make_key(desk.folder / "other").with_name("other.pub").read_text().split()[1]
    kept = known.read_text().split()
    known.write_text(f"{kept[0]} {kept[1]} {other}\n")
    status, out, _ = desk.fleet("apply")
    assert status == 1
    assert "has changed since it was first seen" in out
    assert f"ssh-keygen -f {known} -R '[127.0.0.1]:" in out
    assert not (desk.device.root / "srv/begun").exists()


def test_sudo_that_wants_a_password_is_told_by_every_command(desk: Desk) -> None:
    (desk.device.root / "etc/sudoers.d/ops").unlink()
    for words in (("plan",), ("status",), ("run", "--", "id")):
        status, out, err = desk.fleet(*words)
        assert status == 1
        assert "ops may not use sudo without a password" in out + err


def test_a_key_that_nobody_let_in_and_one_with_a_passphrase(desk: Desk) -> None:
    sshd.make_key(desk.folder / "stranger")
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "word", "-f", str(desk.folder / "locked")], check=True
    )
    for key, complaint in (
        ("stranger", "ops is not let in at 127.0.0.1"),
        ("locked", "has a passphrase: load it with ssh-add"),
    ):
        desk.change('key_file = "', f'key_file = "{key}" # "')
        status, out, _ = desk.fleet("plan")
        assert status == 1
        assert complaint in out
        desk.change(f'key_file = "{key}" # "', 'key_file = "')
    desk.change('key_file = "key"', 'key_file = "none"')
    status, _, err = desk.fleet("plan")
    assert status == 2
    assert "ssh.key_file" in err


def test_a_bundle_for_another_machine_changes_nothing(desk: Desk) -> None:
    _bundle(desk.folder / "b.tar.gz", "riscv64")
    status, out, _ = desk.fleet("apply")
    assert status == 1
    assert "the bundle is for riscv64, the device is" in out
    assert not (desk.device.root / "srv/begun").exists()


def test_run_puts_the_name_before_each_line_and_tells_a_failure(desk: Desk) -> None:
    status, out, _ = desk.fleet("run", "--", "id -un; echo two")
    assert (status, out) == (0, "hall: root\nhall: two\n")
    status, _, err = desk.fleet("run", "--", "ls", "/no such")
    assert status == 1
    assert "hall: ls: cannot access '/no such'" in err
    assert "hall: the command failed" in err
    status, out, err = desk.fleet("run", "--json", "--", "printf 'a\\377b\\n'; exit 3")
    assert (status, err) == (1, "")
    (hall,) = json.loads(out)["devices"]
    assert (hall["ok"], hall["stdout"]) == (False, ["a\ufffdb"])
    assert json.loads(out)["ok"] is False


def _bundle(path: Path, machine: str) -> None:
    about = json.dumps({"version": "2.0", "arch": machine, "pythons": ["3.11"]})
    with tarfile.open(path, "w:gz") as archive:
        for name, text in (("bundle.json", about), ("install.sh", INSTALLER)):
            entry = tarfile.TarInfo(f"pressel-2.0-{machine}/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
