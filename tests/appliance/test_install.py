"""install.sh in a Debian of its own: what it refuses, what it leaves, power cuts, updates that fail."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import tarfile
import wave
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provision import bundle
from rig import nspawn, rootfs
from rig.processes import Companion, wav_audio
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.appliance

_GATE = ("--gate", "3")
_CONFIG_TXT = "dtparam=audio=on\ndtoverlay=vc4-kms-v3d\n[cm4]\notg_mode=1"  # no end of line
_CUTS = 5
# Read by every bash before its script: counts commands, and at the one that is named kills all of it.
_CUTTER = """\
set -o functrace
n=0
trap 'n=$((n+1)); echo $n >/tmp/commands; [ $n -ne "${CUT_AT:-0}" ] || kill -KILL 0' DEBUG
"""


def _unpacked(version: str, folder: Path) -> Path:
    archive = bundle.build(version, "x86_64", folder)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def _seal(folder: Path) -> None:
    """Make the sums of a bundle anew, as whoever builds another one would."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    sums = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder)}\n" for file in files
    ]
    (folder / "SHA256SUMS").write_text("".join(sums))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three releases in one folder: 1.0, 1.1, and 1.2, whose daemon ends at once."""
    folder = tmp_path_factory.mktemp("bundles")
    for version in ("1.0", "1.1", "1.2"):
        _unpacked(version, folder).rename(folder / version)
    unit = folder / "1.2/systemd/pressel.service"
    lines = unit.read_text().splitlines()
    unit.write_text(
        "\n".join("ExecStart=/bin/false" if x.startswith("ExecStart=") else x for x in lines) + "\n"
    )
    _seal(folder / "1.2")
    return folder


class Machine:
    """A Debian root, with a Pi's boot partition, in which commands run without systemd."""

    def __init__(self, root: Path, bundles: Path) -> None:
        self.root = root
        shutil.copytree(bundles, root / "srv/bundles")
        (root / "boot/firmware/overlays").mkdir(parents=True, exist_ok=True)
        (root / "boot/firmware/config.txt").write_text(_CONFIG_TXT)
        (root / "srv/config.toml").write_text('[backend]\nurl = "https://companion.example:8790"\n')
        (root / "srv/cutter").write_text(_CUTTER)

    def run(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["chroot", self.root, *command],
            env={"PATH": os.environ["PATH"], "HOME": "/root", **env},
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )

    def install(self, version: str, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run(f"/srv/bundles/{version}/install.sh", *options, **env)

    def files(self) -> dict[str, tuple[str, str]]:
        """All that is in it, by path: kind, mode and owner; content of small files, target of links."""
        found = {}
        memory = {self.root / "proc", self.root / "run", self.root / "tmp"}  # gone at the next boot
        for top, folders, names in os.walk(self.root):
            folders[:] = [name for name in folders if Path(top, name) not in memory]
            for path in (Path(top, name) for name in (*folders, *names)):
                facts = path.lstat()
                content = str(path.readlink()) if path.is_symlink() else ""
                if not content and path.is_file() and facts.st_size < 100_000:
                    content = hashlib.sha256(path.read_bytes()).hexdigest()
                found[str(path.relative_to(self.root))] = (
                    f"{facts.st_mode:o} {facts.st_uid} {facts.st_gid}",
                    content,
                )
        return found

    def current(self) -> str:
        """The release that runs; it must be whole."""
        release = self.root / "opt/pressel" / (self.root / "opt/pressel/current").readlink()
        assert (release / ".complete").is_file()
        assert self.run("/opt/pressel/current/bin/pressel", "--help").returncode == 0
        return release.name


def _debian(folder: Path) -> Path:
    if why := nspawn.missing():
        pytest.skip(why)
    try:
        return rootfs.copy(rootfs.debian_root(("python3-pyaudio",)), folder / "root")
    except rootfs.Unavailable as error:
        pytest.skip(str(error))


@contextmanager
def _with_proc(root: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "proc", "proc", root / "proc"], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", root / "proc"], check=True)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Iterator[Machine]:
    root = _debian(tmp_path_factory.mktemp("machine"))
    with _with_proc(root):
        yield Machine(root, bundles)


_FIRST = ("--board", "i2s-mems-pair", "--config", "/srv/config.toml")


def _refused(machine: Machine, status: int, *options: str, version: str = "1.0") -> str:
    before = machine.files()
    done = machine.install(version, *options)
    assert done.returncode == status, done.stdout + done.stderr
    assert machine.files() == before
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


@contextmanager
def _says(machine: Machine, command: str, answer: str) -> Iterator[None]:
    """Have a command of the machine give one answer, whatever it is asked."""
    file = machine.root / "usr/local/bin" / command
    file.write_text(f"#!/bin/sh\nprintf '{answer}\\n'\n")
    file.chmod(0o755)
    try:
        yield
    finally:
        file.unlink()


def test_what_it_refuses_is_one_line_and_nothing_has_changed(machine: Machine) -> None:
    folder = machine.root / "srv/bundles"
    for name, key, value in (("arm", "arch", "aarch64"), ("old", "pythons", ["3.9"])):
        shutil.copytree(folder / "1.0", folder / name)
        facts = json.loads((folder / name / "bundle.json").read_text())
        (folder / name / "bundle.json").write_text(json.dumps({**facts, key: value}))
        _seal(folder / name)
    for name in ("damaged", "cut"):
        shutil.copytree(folder / "1.0", folder / name)
    (wheel,) = (folder / "damaged/wheels").glob("numpy-*cp311*")
    os.truncate(wheel, 1000)
    os.truncate(folder / "cut/bundle.json", 20)
    assert "this bundle is for aarch64, this machine is x86_64" in _refused(
        machine, 4, *_FIRST, version="arm"
    )
    assert "is not in this bundle (3.9)" in _refused(machine, 4, *_FIRST, version="old")
    assert f"damaged (wheels/{wheel.name}: FAILED): copy it again" in _refused(
        machine, 4, *_FIRST, version="damaged"
    )
    assert "damaged (bundle.json: FAILED)" in _refused(machine, 4, *_FIRST, version="cut")
    assert "i2s-mems-pair" in _refused(machine, 2)
    assert 'no board "i2s-mems"' in _refused(machine, 4, "--board", "i2s-mems")
    assert "nobody.toml" in _refused(machine, 2, "--board", "i2s-mems-pair", "--config", "/srv/nobody.toml")
    with _says(machine, "getconf", "32"):
        assert "32-bit" in _refused(machine, 4, *_FIRST)
    python = machine.root / "usr/bin/python3"
    python.rename(python.with_name("python3.away"))
    try:
        assert "python3 is missing: apt-get install python3" in _refused(machine, 4, *_FIRST)
    finally:
        python.with_name("python3.away").rename(python)
    for name in ("arm", "old", "damaged", "cut"):
        shutil.rmtree(folder / name)


def test_somebody_s_own_account_of_that_name_is_left_alone(machine: Machine) -> None:
    machine.run("useradd", "--create-home", "pressel")
    try:
        assert 'an account "pressel" with the home /home/pressel' in _refused(machine, 4, *_FIRST)
        assert machine.run("/srv/bundles/1.0/install.sh", "--uninstall", "--purge").returncode == 0
        assert machine.run("id", "pressel").returncode == 0
    finally:
        machine.run("userdel", "--remove", "pressel")


def test_a_board_that_claims_an_i2s_pin_is_refused_without_settings_too(machine: Machine) -> None:
    board = machine.root / "srv/mine/board.toml"
    board.parent.mkdir()
    text = (bundle.ROOT / "hardware/i2s-mems-pair/board.toml").read_text()
    board.write_text(text.replace('"i2s-mems-pair"', '"mine"', 1).replace("button = 23", "button = 19", 1))
    done = machine.install("1.0", "--board", "/srv/mine")
    assert done.returncode == 4
    assert 'install.sh: board.toml: board "mine": panel.button is GPIO 19' in done.stderr
    assert not (machine.root / "opt/pressel/current").exists()
    assert not (machine.root / "etc/pressel").exists()
    machine.run("/srv/bundles/1.0/install.sh", "--uninstall", "--purge")


def test_somebody_else_s_sound_board_is_named(machine: Machine) -> None:
    config = machine.root / "boot/firmware/config.txt"
    config.write_text("dtoverlay=hifiberry-dac\n")
    try:
        said = _refused(machine, 4, *_FIRST)
        assert 'install.sh: /boot/firmware/config.txt: "dtoverlay=hifiberry-dac" is a sound board' in said
    finally:
        config.write_text(_CONFIG_TXT)


def test_a_full_disk_is_found_before_and_survived_when_it_fills_up_later(machine: Machine) -> None:
    with _small_disk(machine, 100, 0):
        assert "make room" in _refused(machine, 4, *_FIRST)
    # df tells the truth of a moment; another program then takes the room.
    with _says(machine, "df", "999000000"), _small_disk(machine, 60, 20):
        done = machine.install("1.0", *_FIRST)
        assert (done.returncode, "cannot be installed" in done.stderr) == (1, True), done.stderr
        assert not (machine.root / "opt/pressel/current").exists()
        assert not (machine.root / "opt/pressel/releases/1.0").exists()


@contextmanager
def _small_disk(machine: Machine, size_mb: int, taken_mb: int) -> Iterator[None]:
    disk = machine.root / "opt"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", disk], check=True)
    try:
        (disk / "others").write_bytes(bytes(taken_mb * 1_000_000))
        yield
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_dry_run_an_install_a_second_one_and_away_without_a_trace(machine: Machine) -> None:
    before = machine.files()
    dry = machine.install("1.0", *_FIRST, "--dry-run")
    assert machine.files() == before
    done = machine.install("1.0", *_FIRST)
    assert done.returncode == 0, done.stderr
    would = [
        line.removeprefix("would change ") for line in dry.stdout.splitlines() if line.startswith("would ")
    ]
    did = [line.removeprefix("changed ") for line in done.stdout.splitlines() if line.startswith("changed ")]
    assert would == did
    assert f"{len(did)} changes" in done.stdout.splitlines()
    assert "reboot needed: config.txt" in done.stdout
    config = (machine.root / "boot/firmware/config.txt").read_text()
    assert config.startswith(_CONFIG_TXT)
    assert "[all]\ndtparam=audio=off\n" in config
    installed = machine.files()
    again = machine.install("1.0")
    assert "nothing to change" in again.stdout.splitlines()
    assert machine.files() == installed
    status = json.loads(machine.run("/opt/pressel/install.sh", "--status", "--json").stdout)
    assert (status["version"], status["trial"], status["releases"]) == ("1.0", False, ["1.0"])
    gone = machine.run("/opt/pressel/install.sh", "--uninstall", "--purge", "--dry-run")
    assert machine.files() == installed
    away = machine.run("/opt/pressel/install.sh", "--uninstall", "--purge")
    assert (away.returncode, gone.returncode) == (0, 0), away.stderr
    assert gone.stdout.replace("would change ", "changed ") == away.stdout
    left = machine.files()
    # useradd and groupadd keep the last version of their files, and systemd-sysusers does not close the gap.
    changed = {path for path in before.keys() | left.keys() if before.get(path) != left.get(path)}
    assert changed <= {
        f"etc/{name}{end}" for name in ("passwd", "group", "shadow", "gshadow") for end in ("", "-")
    } | {
        "etc/.pwd.lock",
        "etc/subuid-",
        "etc/subgid-",
    }
    assert "pressel" not in (machine.root / "etc/passwd").read_text()


def test_an_overlay_of_ours_comes_with_its_board_and_goes_with_the_rest(machine: Machine) -> None:
    config, overlays = (machine.root / "boot/firmware" / name for name in ("config.txt", "overlays"))
    assert machine.install("1.0", *_FIRST, "--board", "respeaker-2mic-v2").returncode == 0
    installed = machine.files()
    assert "nothing to change" in machine.install("1.0").stdout
    assert machine.files() == installed
    assert [file.name for file in overlays.iterdir()] == ["respeaker-2mic-v2.dtbo"]
    assert "dtoverlay=respeaker-2mic-v2\n" in config.read_text()
    assert machine.run("sh", "-n", "/etc/pressel/mixer").returncode == 0
    reboot = machine.root / "run/pressel-reboot-needed"
    reboot.unlink()
    (overlays / "respeaker-2mic-v2.dtbo").write_bytes(b"of another release")
    assert machine.install("1.0").returncode == 0
    assert reboot.exists(), "the firmware reads overlays at a start alone"
    assert machine.run("/opt/pressel/install.sh", "--uninstall", "--purge").returncode == 0
    assert not list(overlays.iterdir())
    assert config.read_text() == _CONFIG_TXT


def test_a_bad_setting_is_refused_before_the_switch(machine: Machine) -> None:
    assert machine.install("1.0", *_FIRST).returncode == 0
    (machine.root / "srv/bad.toml").write_text('[backend]\nurll = "https://companion.example"\n')
    done = machine.install("1.1", "--config", "/srv/bad.toml")
    assert (done.returncode, machine.current()) == (4, "1.0")
    assert "urll" in done.stderr
    assert "urll" not in (machine.root / "etc/pressel/config.toml").read_text()


def test_the_release_in_use_is_not_replaced_by_another_of_the_same_version(machine: Machine) -> None:
    assert machine.install("1.0", *_FIRST).returncode == 0
    other = machine.root / "srv/bundles/other"
    shutil.copytree(machine.root / "srv/bundles/1.0", other)
    (other / "note").write_text("built again, and not the same\n")
    _seal(other)
    assert "release 1.0 is in use and was made from another bundle" in _refused(machine, 4, version="other")


def test_a_claim_on_the_boot_partition_is_moved_and_never_placed_twice(machine: Machine) -> None:
    assert machine.install("1.0", *_FIRST).returncode == 0
    card, placed = (
        machine.root / name for name in ("boot/firmware/pressel/claim.json", "var/lib/pressel/claim.json")
    )
    card.parent.mkdir(exist_ok=True)
    card.write_text('{"url": "https://companion.example:8790", "claim": "once"}')
    shutil.copy(card, machine.root / "srv/claim.json")
    assert "changed /var/lib/pressel/claim.json" in machine.install("1.0").stdout
    assert not card.exists()
    assert placed.stat().st_mode & 0o777 == 0o600
    assert placed.stat().st_uid == placed.parent.stat().st_uid != 0
    placed.unlink()  # as the daemon does when it is known
    assert "nothing to change" in machine.install("1.0", "--claim", "/srv/claim.json").stdout
    assert not placed.exists()


def test_power_that_fails_at_any_command_leaves_the_old_release_or_the_new(machine: Machine) -> None:
    assert machine.install("1.0", *_FIRST).returncode == 0
    env = {"BASH_ENV": "/srv/cutter"}
    assert machine.install("1.1", **env).returncode == 0
    commands = int((machine.root / "tmp/commands").read_text())
    chance = random.Random(5)  # noqa: S311 # the same cuts each time
    found = set()
    for cut in sorted(chance.sample(range(20, commands), _CUTS)):
        assert machine.install("1.0").returncode == 0
        shutil.rmtree(machine.root / "opt/pressel/releases/1.1", ignore_errors=True)
        killed = machine.install("1.1", CUT_AT=str(cut), **env)
        assert killed.returncode == -9, f"cut at {cut} of {commands}: {killed.stderr}"
        found.add(machine.current())
        done = machine.install("1.1")
        assert done.returncode == 0, f"after a cut at {cut} of {commands}: {done.stderr}"
        assert machine.current() == "1.1"
        assert not (machine.root / "opt/pressel/trial").exists()
        assert "nothing to change" in machine.install("1.1").stdout
    assert found == {"1.0", "1.1"}, "no cut fell before the switch, or none after it"


def test_half_of_a_release_that_was_being_removed_does_not_count(machine: Machine) -> None:
    assert machine.install("1.0", *_FIRST).returncode == 0
    assert machine.install("1.1").returncode == 0
    again = machine.root / "srv/bundles/again"
    shutil.copytree(machine.root / "srv/bundles/1.0", again)
    (again / "note").write_text("built again, and not the same\n")
    _seal(again)
    # Killed as soon as rm takes 1.0 away for the other build of it.
    rm = machine.root / "usr/local/bin/rm"
    rm.write_text(
        '#!/bin/sh\n[ "$1" != -rf ] || { find "$2" -name numpy -exec /bin/rm -r {} +; kill -KILL 0; }\n'
        'exec /bin/rm "$@"\n'
    )
    rm.chmod(0o755)
    try:
        assert machine.install("again").returncode == -9
    finally:
        rm.unlink()
        shutil.rmtree(again)
    assert machine.run("/opt/pressel/install.sh", "--rollback").returncode == 1
    assert machine.current() == "1.1"
    assert machine.install("1.0").returncode == 0
    assert machine.current() == "1.0"


def test_going_back_brings_the_board_s_files_of_that_release(machine: Machine) -> None:
    assert machine.install("1.0", *_FIRST).returncode == 0
    assert machine.install("1.1").returncode == 0
    # As a release would that has other lines for this board.
    board, config = (machine.root / name for name in ("etc/pressel/board.toml", "boot/firmware/config.txt"))
    theirs, lines = board.read_text(), config.read_text()
    board.write_text(theirs.replace("gain_db = 24.0", "gain_db = 20.0"))
    config.write_text(lines.replace("dtparam=audio=off", "dtparam=audio=off\ndtparam=spi=on"))
    done = machine.run("/opt/pressel/install.sh", "--rollback")
    assert done.returncode == 0, done.stderr
    assert (board.read_text(), config.read_text()) == (theirs, lines)
    assert "reboot needed" in done.stdout
    assert machine.current() == "1.0"


def test_debian_s_packages_come_and_go_and_without_a_network_nothing_is_half_there(machine: Machine) -> None:
    machine.run("/opt/pressel/install.sh", "--uninstall", "--purge")
    machine.run("dpkg", "--purge", "python3-pyaudio")
    cut_off = ["unshare", "--net", "chroot", machine.root, "/srv/bundles/1.0/install.sh", *_FIRST]
    done = subprocess.run([str(one) for one in cut_off], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot install python3-pyaudio" in done.stderr
    assert "connect this machine to the network" in done.stderr
    assert not (machine.root / "opt/pressel/releases").exists()
    assert (machine.root / "opt/pressel/packages").read_text() == ""
    before = machine.run("dpkg-query", "-W").stdout
    done = machine.install("1.0", *_FIRST)
    if "cannot install" in done.stderr:
        pytest.skip("Debian's archive cannot be reached from here")
    assert machine.current() == "1.0"
    assert "python3-pyaudio" in machine.run("dpkg-query", "-W").stdout
    assert machine.run("/opt/pressel/install.sh", "--uninstall").returncode == 0
    assert machine.run("dpkg-query", "-W").stdout == before
    assert (machine.root / "etc/pressel/config.toml").exists()


# --- with systemd, a daemon that listens to a file, and a companion


@pytest.fixture(scope="module")
def companion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Companion]:
    with Companion(tmp_path_factory.mktemp("companion")) as running:
        yield running


@pytest.fixture(scope="module")
def empty(
    tmp_path_factory: pytest.TempPathFactory, bundles: Path, companion: Companion
) -> Iterator[nspawn.Container]:
    root = _debian(tmp_path_factory.mktemp("box"))
    Machine(root, bundles)
    (root / "boot/firmware/config.txt").unlink()
    with wave.open(str(root / "srv/microphone.wav"), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 48_000))
    audio = wav_audio(Path("/srv/microphone.wav"), Path("/var/lib/pressel/speaker.wav"))
    (root / "srv/config.toml").write_text(f'[backend]\nurl = "{companion.url}"\n\n{audio}')
    (root / "srv/wrong.toml").write_text(f'[backend]\nurl = "http://127.0.0.1:1"\n\n{audio}')
    shutil.copy(companion.token_file, root / "srv/token")
    volatile = (
        root / "usr/lib/systemd/journald.conf.d/40-rpi-volatile-storage.conf"
    )  # as Raspberry Pi OS has it
    volatile.parent.mkdir(exist_ok=True)
    volatile.write_text("[Journal]\nStorage=volatile\n")
    with nspawn.Container(root, f"install-{os.getpid()}") as running:
        yield running


_BOX = ("--board", "simulated", "--config", "/srv/config.toml", "--token-file", "/srv/token")


def _install(box: nspawn.Container, version: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [f"/srv/bundles/{version}/install.sh", *_GATE, *options]
    return box.run(*command, check=False, timeout_s=180)


@pytest.fixture
def box(empty: nspawn.Container) -> nspawn.Container:
    """The container with 1.1, installed over 1.0, whatever ran before."""
    if not (empty.root / "opt/pressel/current").exists():
        assert _install(empty, "1.0", *_BOX).returncode == 0
    if _release(empty)[0] != "1.1":
        assert _install(empty, "1.1").returncode == 0
    return empty


def _release(box: nspawn.Container) -> tuple[str, str]:
    status = json.loads(box.run("/opt/pressel/install.sh", "--status", "--json").stdout)
    assert not status["trial"]
    return status["version"], status["service"]


def test_it_starts_passes_its_gate_and_is_left_alone_the_second_time(empty: nspawn.Container) -> None:
    done = _install(empty, "1.0", *_BOX)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is no Raspberry Pi" in done.stdout
    assert _release(empty) == ("1.0", "active")
    started = empty.show("pressel", "ActiveEnterTimestampMonotonic")
    assert "nothing to change" in _install(empty, "1.0", *_BOX).stdout
    assert empty.show("pressel", "ActiveEnterTimestampMonotonic") == started


def test_the_journal_is_on_the_card_from_the_installation_on(box: nspawn.Container) -> None:
    assert "File path: /var/log/journal/" in box.run("journalctl", "--header").stdout


def test_an_update_is_kept_and_one_that_fails_its_gate_is_taken_back(box: nspawn.Container) -> None:
    assert _release(box) == ("1.1", "active")
    done = _install(box, "1.2")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "1.2 failed its gate: 1.1 runs again" in done.stderr
    assert _release(box) == ("1.1", "active")
    assert "/bin/false" not in box.show("pressel", "ExecStart")


def test_settings_that_fail_the_gate_are_taken_back_too(box: nspawn.Container) -> None:
    done = _install(box, "1.1", "--config", "/srv/wrong.toml")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "those before are back" in done.stderr
    assert '127.0.0.1:1"' not in box.run("cat", "/etc/pressel/config.toml").stdout


def test_a_token_that_fails_the_gate_is_taken_back_too(box: nspawn.Container) -> None:
    box.run("sh", "-c", "echo pst_wrong >/srv/wrong")
    assert _install(box, "1.1", "--token-file", "/srv/wrong").returncode == 3
    assert box.run("cmp", "/srv/token", "/etc/pressel/credentials/token").returncode == 0


def test_a_unit_that_somebody_disabled_is_a_change(box: nspawn.Container) -> None:
    box.run("systemctl", "--quiet", "disable", "pressel")
    done = _install(box, "1.1")
    assert "changed pressel.service: enabled" in done.stdout
    assert "1 change\n" in done.stdout


def test_a_service_that_fails_with_nothing_changed_is_one_line(box: nspawn.Container) -> None:
    box.run("cp", "-p", "/etc/pressel/config.toml", "/srv/kept.toml")
    box.run("cp", "/srv/wrong.toml", "/etc/pressel/config.toml")
    box.run("systemctl", "stop", "pressel")
    done = _install(box, "1.1")
    box.run("cp", "-p", "/srv/kept.toml", "/etc/pressel/config.toml")
    box.run("systemctl", "restart", "pressel")
    assert (done.returncode, done.stderr) == (
        1,
        "install.sh: pressel is not as it should be, and nothing was changed that could be taken back\n",
    )


def test_a_board_that_fails_its_gate_after_the_reboot_takes_its_config_txt_lines_back(
    box: nspawn.Container,
) -> None:
    box.run("sh", "-c", f"mkdir -p /boot/firmware; printf '{_CONFIG_TXT}\\n' >/boot/firmware/config.txt")
    assert "after the reboot" in _install(box, "1.1", "--board", "respeaker-2mic-v2").stdout
    assert box.run("test", "-x", "/etc/pressel/mixer").returncode == 0
    box.run("rm", "/run/pressel-reboot-needed")  # as a boot does; there is no GPIO here, nor an SPI
    done = _install(box, "1.1")
    assert done.returncode == 3, done.stdout + done.stderr
    assert 'name = "simulated"' in box.run("cat", "/etc/pressel/board.toml").stdout
    assert box.run("cat", "/boot/firmware/config.txt").stdout == f"{_CONFIG_TXT}\n"
    assert box.run("ls", "/etc/pressel").stdout.split() == ["board.toml", "config.toml", "credentials"]
    assert "reboot needed" in box.run("/opt/pressel/install.sh", "--status").stdout
    box.run("rm", "-r", "/boot/firmware", "/run/pressel-reboot-needed")
    assert _install(box, "1.1").returncode == 0


def test_the_release_before_is_one_command_away(box: nspawn.Container) -> None:
    assert box.run("/opt/pressel/install.sh", "--rollback", *_GATE).returncode == 0
    assert _release(box) == ("1.0", "active")
    assert box.run("/opt/pressel/install.sh", "--rollback", *_GATE).returncode == 0
    assert _release(box) == ("1.1", "active")


def test_a_power_cut_during_the_gate_is_settled_at_the_next_start(box: nspawn.Container) -> None:
    # Without its ends: what the daemon of 1.2 does, and a machine that goes off while it is being watched.
    assert _install(box, "1.2", "--no-start").returncode == 0
    box.run("sh", "-c", "echo 1.1 >/opt/pressel/trial; mkdir /opt/pressel/before")
    box.cut()
    box.start()
    until(lambda: box.show("pressel-trial", "ActiveState") == "inactive", 120)
    assert "1.2 failed its gate: 1.1 runs again" in box.journal("-u", "pressel-trial")
    assert _release(box) == ("1.1", "active")


def test_a_reset_forgets_who_it_was_and_keeps_its_settings(box: nspawn.Container) -> None:
    box.run("touch", "/var/lib/pressel/identity.json")
    assert box.run("/opt/pressel/install.sh", "--reset", "--no-start").returncode == 0
    assert box.run("find", "/var/lib/pressel", "/etc/pressel/credentials", "-type", "f").stdout == ""
    assert "[backend]" in box.run("cat", "/etc/pressel/config.toml").stdout
    said = box.run("/opt/pressel/install.sh", "--reset").stdout
    assert "pressel does not run: this device has no claim, no identity and no token" in said
    said = box.run("/opt/pressel/install.sh", "--status").stdout
    assert "it does not run: this device has no claim" in said
