"""The companion's unit at work: its sandbox lets it mint, recognise and speak."""

from __future__ import annotations

import json
import shutil
import sys
import sysconfig
import wave
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rig import nspawn
from rig.nspawn import Container
from rig.processes import ROOT, Device, free_port, wav_audio
from rig.rootfs import Unavailable, copy, debian_root
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator

_SUITES = {(3, 11): "bookworm", (3, 13): "trixie"}  # whose Python takes this checkout's packages
_SUITE = _SUITES.get(sys.version_info[:2])
_STATE = "/var/lib/pressel-companion"
_PROGRAM = """\
#!/opt/pressel-companion/bin/python
from companion.cli import main
raise SystemExit(main())
"""

pytestmark = [
    pytest.mark.appliance,
    pytest.mark.skipif(nspawn.missing() is not None, reason=str(nspawn.missing())),
    pytest.mark.skipif(_SUITE is None, reason="no Debian has this version of Python"),
]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A server whose venv is this checkout's: the folders are lent to it."""
    folder = tmp_path_factory.mktemp("companion")
    try:
        root = copy(debian_root(suite=str(_SUITE)), folder / "root")
    except Unavailable as error:
        pytest.skip(str(error))
    for kind in ("sysusers.d", "tmpfiles.d"):
        shutil.copytree(ROOT / "systemd" / kind, root / "usr/local/lib" / kind, dirs_exist_ok=True)
    shutil.copy(ROOT / "systemd/pressel-companion.service", root / "etc/systemd/system")
    for mount in ("opt/checkout", "opt/packages"):
        (root / mount).mkdir()
    packages = Path(sysconfig.get_path("purelib"))
    with Container(root, "pressel-companion", {"/opt/checkout": ROOT, "/opt/packages": packages}) as one:
        one.run("python3", "-m", "venv", "--without-pip", "/opt/pressel-companion")
        (paths,) = (root / "opt/pressel-companion/lib").glob("python3*/site-packages")
        (paths / "lent.pth").write_text("/opt/checkout\n/opt/packages\n")
        program = root / "opt/pressel-companion/bin/pressel-companion"
        program.write_text(_PROGRAM)
        program.chmod(0o755)
        one.run("systemd-sysusers", "pressel-companion.conf")
        one.run("systemd-tmpfiles", "--create", "pressel-companion.conf")
        (root / "etc/pressel-companion/companion.toml").write_text(
            f'listen = "127.0.0.1:{free_port()}"\n'
            f'state_dir = "{_STATE}"\ntokens_file = "{_STATE}/tokens.json"\n'
            '[endpoints.default]\nprovider = "local"\n'
        )
        one.run("systemctl", "start", "pressel-companion")
        yield one


def _command(machine: Container, *words: str) -> dict[str, str]:
    as_user = [
        "runuser",
        "-u",
        "pressel-companion",
        "--",
        "/opt/pressel-companion/bin/pressel-companion",
        *words,
    ]
    config = ["--config", "/etc/pressel-companion/companion.toml", "--json"]
    answer: dict[str, str] = json.loads(machine.run(*as_user, *config).stdout)
    return answer


def _url(machine: Container) -> str:
    until(lambda: "listens on" in machine.journal("--unit=pressel-companion"), 30)
    return machine.journal("--unit=pressel-companion").split("listens on ")[-1].split()[0]


def test_a_device_talks_to_it_and_is_answered(machine: Container, tmp_path: Path) -> None:
    token = _command(machine, "token", "new", "kitchen")["token"]
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text(token)
    with wave.open(str(tmp_path / "mic.wav"), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", "not compressed"))
    backend = f'url = "{_url(machine)}"\ntoken_file = "{tmp_path}/token"'
    audio = wav_audio(tmp_path / "mic.wav", tmp_path / "speaker.wav")
    with Device(tmp_path / "d", None, audio, backend=backend) as device:
        assert device.ask("check", 20) == {"ok": True, "device": "kitchen"}
        device.ask("say", more={"text": "what time is it"})
        until(lambda: device.ask("status")["counters"]["replies"] == 1, 60)


def test_it_is_started_again_after_a_kill_and_stays_down_with_a_wrong_setting(machine: Container) -> None:
    pid = machine.show("pressel-companion", "MainPID")
    machine.run("kill", "-KILL", pid)
    until(
        lambda: (
            machine.show("pressel-companion", "ActiveState") == "active"
            and machine.show("pressel-companion", "MainPID") not in (pid, "0")
        ),
        15,
    )
    file = machine.root / "etc/pressel-companion/companion.toml"
    file.write_text(file.read_text().replace("[endpoints", "[endpoint"))
    machine.run("systemctl", "restart", "pressel-companion", check=False)
    until(lambda: machine.show("pressel-companion", "SubState") == "failed", 15)
    assert machine.show("pressel-companion", "ExecMainStatus") == "78"
