"""First boot for real: cards as pressel-fleet writes them, given to Debian's cloud-init and to systemd."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from provision import bundle, cli
from provision.media import bookworm
from provision.media.settings import psk
from rig import nspawn, rootfs
from rig.processes import ROOT, Companion
from tests.provision import cards
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.appliance

# What Raspberry Pi's image has beside Debian's cloud-init: where the files are, and to look nowhere else.
_SOURCE = "datasource_list: [NoCloud, None]\ndatasource: {NoCloud: {seedfrom: 'file:///boot/firmware'}}\n"
_BOOT = "boot/firmware"
_LOG = "var/log/install.log"
# The first try fails as it does without a network; each says what it was told.
_INSTALLER = f"""\
echo "$@" >>/{_LOG}
cat /boot/firmware/pressel/claim.json >>/{_LOG}
[ -e /var/tried ] || {{ touch /var/tried; echo "no network" >&2; exit 1; }}
"""
_UNIT = "etc/systemd/system/pressel-first-boot.service"
_RESTARTED = "var/restarted"
_S = 60.0


def _root(suite: str, folder: Path, *packages: str) -> Path:
    if why := nspawn.missing():
        pytest.skip(why)
    try:
        root = rootfs.copy(rootfs.debian_root(packages, suite=suite), folder / suite)
    except rootfs.Unavailable as error:
        pytest.skip(str(error))
    shutil.rmtree(root / _BOOT, ignore_errors=True)
    (root / f"{_UNIT}.d").mkdir(parents=True)
    quick = "[Service]\nEnvironment=CLOCK_WAIT_S=0\nRestartSec=1\n"  # nothing sets a test machine's clock
    (root / f"{_UNIT}.d/quick.conf").write_text(quick)
    # Restarts are the tests' own doing: one that is asked for leaves a note.
    stub = root / "usr/local/sbin/systemctl"
    stub.write_text(
        f'#!/bin/sh\n[ "$1" != reboot ] || exec touch /{_RESTARTED}\nexec /usr/bin/systemctl "$@"\n'
    )
    stub.chmod(0o755)
    return root


@pytest.fixture(scope="module")
def trixie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = _root("trixie", tmp_path_factory.mktemp("roots"), "cloud-init", "netplan.io", "python3-pyaudio")
    (root / "etc/cloud/cloud.cfg.d/99_image.cfg").write_text(_SOURCE)
    (root / "etc/ssh/sshd_config.d/port.conf").write_text("Port 22622\nListenAddress 127.0.0.1\n")
    subprocess.run(["chroot", root, "ssh-keygen", "-A"], check=True, capture_output=True)
    (root / "etc/systemd/system/multi-user.target.wants/ssh.service").unlink(missing_ok=True)  # as on a Pi
    return root


@pytest.fixture(scope="module")
def old_cloud_init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _root("bookworm", tmp_path_factory.mktemp("roots"), "cloud-init")


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """An inventory with an SSH key of its own and a bundle that says how it was called."""
    cards.inventory(tmp_path)
    cards.bundle(tmp_path / "bundle.tar.gz", installer=_INSTALLER)
    (tmp_path / "id.pub").unlink()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "id"], check=True)
    return tmp_path


def _write(desk: Path, boot: Path) -> None:
    inventory = str(desk / "fleet.toml")
    assert cli.main(["media", "--inventory", inventory, "--device", "kitchen-1", "--boot", str(boot)]) == 0


@pytest.fixture
def booted(trixie: Path, desk: Path, tmp_path: Path) -> Iterator[nspawn.Container]:
    """A machine that had its first start with the card."""
    root = rootfs.copy(trixie, tmp_path / "machine")
    _write(desk, cards.trixie(root / _BOOT))
    (root / _BOOT / "pressel/.token.new").write_text("half")  # of a run that was broken off
    with nspawn.Container(root, f"media-{os.getpid()}") as machine:
        _settled(machine)
        yield machine


def _settled(machine: nspawn.Container) -> None:
    """Wait until cloud-init has done what it has to do at this start."""
    until(lambda: machine.run("cloud-init", "status", check=False).stdout.startswith("status: done"), _S)


def _zone(machine: nspawn.Container) -> str:
    return str((machine.root / "etc/localtime").readlink()).partition("zoneinfo/")[2]


def _schema(root: Path, file: Path, *more: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(file, root / "root/checked")
    command = ["chroot", str(root), "cloud-init", "schema", "--config-file", "/root/checked", *more]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("wifi", ["default", "hidden", "open", "none"])
def test_cloud_init_finds_no_fault(trixie: Path, old_cloud_init: Path, tmp_path: Path, wifi: str) -> None:
    cards.inventory(tmp_path, wifi=wifi)
    boot = cards.trixie(tmp_path / "boot")
    _write(tmp_path, boot)
    for root in (trixie, old_cloud_init):
        checked = _schema(root, boot / "user-data")
        assert checked.returncode == 0, checked.stdout + checked.stderr
    checked = _schema(trixie, boot / "network-config", "--schema-type", "network-config")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    "ssid",
    [
        "#1",
        " x",
        "it's",
        'quo"te',
        "back\\slash",
        "yes",
        "null",
        "0123",
        "12:30:45",
        "a: b",
        "- x",
        "&a",
        "😀",
        "x" * 32,
    ],
)
def test_a_network_s_name_comes_through_yaml_and_netplan(trixie: Path, tmp_path: Path, ssid: str) -> None:
    file = cards.inventory(tmp_path)
    file.write_text(
        file.read_text().replace('ssid = "Café"', f"ssid = {json.dumps(ssid, ensure_ascii=False)}")
    )
    boot = cards.trixie(tmp_path / "boot")
    _write(tmp_path, boot)
    there = trixie / "root/netplan"
    shutil.rmtree(there, ignore_errors=True)
    (there / "etc/netplan").mkdir(parents=True)
    shutil.copy(boot / "network-config", there / "etc/netplan/1.yaml")
    (there / "etc/netplan/2.yaml").write_text("network: {renderer: NetworkManager}\n")
    subprocess.run(["chroot", trixie, "netplan", "generate", "--root-dir", "/root/netplan"], check=True)
    [key_file] = (there / "run/NetworkManager/system-connections").glob("netplan-wlan0-*")
    lines = key_file.read_text().splitlines()
    assert f"ssid={ssid}".replace("\\", "\\\\").replace("= ", "=\\s") in lines  # as GLib escapes
    assert f"psk={psk(ssid, cards.PASSPHRASE)}" in lines


def test_cloud_init_would_find_a_fault(trixie: Path, old_cloud_init: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text('#cloud-config\n{"hostname": ["not a name"]}\n')
    assert _schema(trixie, wrong).returncode
    assert _schema(old_cloud_init, wrong).returncode
    wrong.write_text(
        '{"network": {"version": 2, "wifis": {"wlan0": {"access-points": {"x": {"key": "y"}}}}}}\n'
    )
    assert _schema(trixie, wrong, "--schema-type", "network-config").returncode


def test_a_card_becomes_a_machine(booted: nspawn.Container, desk: Path) -> None:
    root = booted.root
    assert booted.run("hostname").stdout.strip() == "kitchen-1"
    assert _zone(booted) == "Europe/Berlin"
    netplan = booted.run("netplan", "get", "network.wifis.wlan0").stdout
    assert 'regulatory-domain: "DE"' in netplan
    assert r'"Caf\xE9":' in netplan  # é as netplan writes it
    assert psk("Café", cards.PASSPHRASE) in netplan
    # The login works with the key, may become root, and has no password.
    shutil.copy(desk / "id", root / "root/id")
    login = ["ssh", "-i", "/root/id", "-p", "22622", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]
    assert booted.run(*login, "ops@127.0.0.1", "sudo", "-n", "id", "-un").stdout.strip() == "root"
    assert booted.run("passwd", "--status", "ops").stdout.split()[1] == "L"
    # The first try failed, the second did it, and then the unit took itself out.
    until((root / _RESTARTED).exists, _S)
    assert not (root / _UNIT).exists()
    told = "--board i2s-mems-pair --config /boot/firmware/pressel/config.toml --no-start"
    told += " --claim /boot/firmware/pressel/claim.json"
    lines = (root / _LOG).read_text().splitlines()
    assert lines == [told, json.dumps({"url": cards.URL, "claim": cards.CLAIM})] * 2
    assert (root / _BOOT / "pressel/first-boot.log").read_text().endswith("done: restarting\n")
    assert not (root / _BOOT / "pressel/claim.json").exists()
    assert not (root / _BOOT / "pressel/.token.new").exists()
    assert not (root / "var/tmp/pressel-first-boot").exists()
    assert cards.CLAIM not in booted.journal()


def test_a_card_becomes_a_device_that_its_companion_knows(trixie: Path, tmp_path: Path) -> None:
    root = rootfs.copy(trixie, tmp_path / "machine")
    rootfs.pretend_installed(root, "python3-rpi-lgpio")
    with Companion(tmp_path / "home") as companion:
        ask = [sys.executable, "-m", "companion"]
        more = ["--config", str(companion.config), "--json"]
        claim = ["claims", "new", "kitchen-1", "--out", str(tmp_path / "claim"), "--url", companion.url]
        subprocess.run([*ask, *claim, *more], check=True, capture_output=True, cwd=ROOT)
        _write(_home(tmp_path, companion.url), cards.trixie(root / _BOOT))
        told = (root / _BOOT / "config.txt").read_bytes()
        # The desk gives a Pi's release and no other; this machine is no Pi.
        (root / _BOOT / "pressel/pressel-0.2.0-aarch64.tar.gz").unlink()
        bundle.build("0.2.0", "x86_64", root / _BOOT / "pressel")
        with nspawn.Container(root, f"device-{os.getpid()}") as machine:
            until((root / _RESTARTED).exists, 300)
            machine.stop()
            machine.start()
            until(lambda: _check(machine) == {"ok": True, "device": "kitchen-1"}, _S)
        listed = subprocess.run([*ask, "devices", "list", *more], check=True, capture_output=True, cwd=ROOT)
    assert b"kitchen-1" in listed.stdout
    assert (root / _BOOT / "config.txt").read_bytes() == told  # the desk's block is the installer's
    assert not (root / _BOOT / "pressel/claim.json").exists()
    assert not (root / "var/lib/pressel/claim.json").exists()


def _check(machine: nspawn.Container) -> object:
    return json.loads(machine.run("pressel", "ctl", "check", "--json", check=False).stdout or "null")


def _home(folder: Path, url: str) -> Path:
    """Write an inventory as of a house whose companion is at `url`, with no Wi-Fi and no GPIO."""
    file = cards.inventory(folder, wifi="none")
    text = file.read_text().replace(cards.URL, url).replace("secrets/claim", "claim")
    file.write_text(text.replace("[defaults]", '[defaults]\nconfig = { panel = { driver = "simulated" } }'))
    return folder


def test_only_a_changed_card_is_applied_at_the_next_start(booted: nspawn.Container, desk: Path) -> None:
    until((booted.root / _RESTARTED).exists, _S)
    booted.run("ln", "-sf", "/usr/share/zoneinfo/Etc/UTC", "/etc/localtime")  # the owner's own change
    _write(desk, booted.root / _BOOT)
    booted.stop()
    booted.start()
    _settled(booted)
    assert _zone(booted) == "Etc/UTC"
    file = desk / "fleet.toml"
    file.write_text(file.read_text().replace("Europe/Berlin", "Europe/Oslo"))
    _write(desk, booted.root / _BOOT)
    booted.stop()
    booted.start()
    _settled(booted)
    assert _zone(booted) == "Europe/Oslo"


def test_bookworms_second_start_enables_what_its_third_does(tmp_path: Path, desk: Path) -> None:
    root = _root("bookworm", tmp_path)
    boot = cards.bookworm(root / _BOOT)
    _write(desk, boot)
    line = (boot / "cmdline.txt").read_text()
    unit = _generate(root, line)
    assert bookworm.FIRSTRUN in unit
    assert "SuccessAction=reboot" in unit
    with nspawn.Container(root, f"bookworm-{os.getpid()}") as machine:
        (boot / "firstrun.sh").chmod(0o755)  # as every file on FAT
        machine.run(bookworm.FIRSTRUN)
        kept = [word for word in line.split() if not word.startswith("systemd.")]
        assert (boot / "cmdline.txt").read_text().split() == kept
        assert not (boot / "firstrun.sh").exists()
        machine.stop()
        machine.start()
        until((root / _RESTARTED).exists, _S)
    assert (root / _LOG).read_text().count("--board i2s-mems-pair") == 2


def _generate(root: Path, line: str) -> str:
    """Return the unit that systemd makes of this kernel command line: systemd-run-generator(8)."""
    (root / "root/generated").mkdir()
    generator = "/usr/lib/systemd/system-generators/systemd-run-generator"
    env = {"PATH": "/usr/bin", "SYSTEMD_PROC_CMDLINE": line.strip()}
    subprocess.run(["/usr/sbin/chroot", root, generator, *["/root/generated"] * 3], env=env, check=True)
    return (root / "root/generated/kernel-command-line.service").read_text()
