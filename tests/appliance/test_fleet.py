"""Three machines with real systemd: pressel-fleet takes them from nothing to talking, updates, rolls back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
import wave
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from device.dsp.resample import Resampler
from device.system.control_client import request
from rig import nspawn, rootfs, sshd
from rig.processes import ROOT, Companion, free_port
from rig.speech import SPOKEN_HZ, hear, say
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.appliance

CARD_HZ = 48_000
MIC, SPEAKER = "/srv/mic.wav", "/var/lib/pressel/speaker.wav"
NAMES = ("hall", "kitchen", "study")
GATE_S = 4
_CONFIG = {
    "talk": {"reply_timeout_ms": 90_000},  # a full machine recognises speech slowly
    "audio": {
        "driver": "wav",
        "input": {"device": MIC, "format": "s16", "rate_hz": CARD_HZ, "channels": 1, "channel": 0},
        "output": {"device": SPEAKER, "format": "s16", "rate_hz": CARD_HZ},
    },
}


@dataclass
class Desk:
    """The folder that the owner of the fleet works in, and the machines out there."""

    folder: Path
    companion: Companion
    machines: dict[str, nspawn.Container]
    ports: dict[str, int]

    def write(
        self, version: str, config: dict[str, Any] = _CONFIG, tokens: dict[str, str] | None = None
    ) -> None:
        """Write fleet.toml; devices that are not in `tokens` (name -> file) have a claim."""
        with_token = tokens or {}
        lines = [
            "[fleet]",
            'name = "house"',
            f'companion = "{self.companion.url}"',
            f'bundle = "dist/pressel-{version}-x86_64.tar.gz"',
            f"fail_percent = 60\ngate_s = {GATE_S}",
            '[ssh]\nkey_file = "key"',
            f'[defaults]\nboard = "simulated"\nconfig = {_inline(config)}',
        ]
        for name, port in self.ports.items():
            secret, file = ("token", with_token[name]) if name in with_token else ("claim", f"{name}.claim")
            lines += [
                f'[devices.{name}]\nhost = "127.0.0.1"\nssh = {{ port = {port} }}',
                f'{secret} = {{ file = "secrets/{file}" }}',
            ]
        (self.folder / "fleet.toml").write_text("\n".join(lines))

    def fleet(self, *words: str) -> tuple[int, str, str]:
        """Run pressel-fleet in the folder; returns its exit status, stdout and stderr."""
        command = [
            sys.executable,
            "-c",
            "import sys; from provision.cli import main; sys.exit(main())",
            *words,
        ]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def report(self, *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
        """Run a command with --json; returns its exit status and the devices by name."""
        status, out, err = self.fleet(words[0], "--json", *words[1:])
        assert out, err
        return status, {device["name"]: device for device in json.loads(out)["devices"]}

    def claim(self, name: str) -> None:
        """Have the companion make a claim for a device."""
        out = self.folder / "secrets" / f"{name}.claim"
        command = [sys.executable, "-m", "companion", "claims", "new", name, "--out", str(out)]
        command += ["--url", self.companion.url, "--config", str(self.companion.config)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    def hush(self) -> None:
        """Empty the microphones' files: what a daemon hears next begins with what is said next."""
        for machine in self.machines.values():
            with wave.open(f"{machine.root}{MIC}", "wb") as file:
                file.setparams((1, 2, CARD_HZ, 0, "NONE", "not compressed"))

    def talk(self, name: str, words: str) -> str:
        """Hold a device's button through pressel-fleet while saying `words`; returns what it then said."""
        speaker = Path(f"{self.machines[name].root}{SPEAKER}")
        pcm, turns = say(words), len(self.turns(name))
        self.press(name, "press")
        with Path(f"{self.machines[name].root}{MIC}").open("ab") as file:
            file.write(Resampler(SPOKEN_HZ, CARD_HZ).process(pcm).tobytes())
        blocks = self.captured(name) + (len(pcm) / SPOKEN_HZ + 0.3) * 50
        until(lambda: self.captured(name) > blocks, 20)
        start = speaker.stat().st_size // 2 * 2
        self.press(name, "release")
        until(lambda: [turn["role"] for turn in self.turns(name)[turns:]][-1:] == ["assistant"], 120)
        until(lambda: self.ctl(name, "status")["state"] == "ready", 60)
        return hear(np.frombuffer(speaker.read_bytes()[start:], np.int16), CARD_HZ)

    def press(self, name: str, verb: str) -> None:
        """Press or release a device's button through pressel-fleet run."""
        status, out, err = self.fleet("run", "--limit", name, "--", "pressel", "ctl", verb)
        assert status == 0, out + err

    def turns(self, name: str) -> list[dict[str, str]]:
        """What was said, oldest first."""
        turns: list[dict[str, str]] = self.ctl(name, "transcript")["turns"]
        return turns

    def captured(self, name: str) -> int:
        """How many blocks of 20 ms a device has captured."""
        frames: int = self.ctl(name, "status")["counters"]["frames_captured"]
        return frames

    def ctl(self, name: str, verb: str) -> dict[str, Any]:
        """Ask a device's daemon, past the desk: it is asked often."""
        machine = self.machines[name]
        return request(machine.root / "var/lib/pressel/control.sock", {"cmd": verb}, 5)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    if why := nspawn.missing():
        pytest.skip(why)
    try:
        root = rootfs.debian_root(("python3-pyaudio",))
    except rootfs.Unavailable as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "secrets").mkdir()
    key = sshd.make_key(folder / "key")
    with ExitStack() as cleanup:
        companion = cleanup.enter_context(Companion(folder / "companion"))
        machines, ports = {}, {}
        for name in NAMES:
            ports[name] = free_port()
            machines[name] = cleanup.enter_context(
                _machine(root, folder / "roots" / name, name, ports[name], key)
            )
        ports["attic"] = free_port()  # nobody is there
        made = Desk(folder, companion, machines, ports)
        made.hush()
        yield made


def test_a_fleet_goes_from_nothing_to_talking_is_updated_and_rolled_back(desk: Desk) -> None:
    for version in ("9.1", "9.2", "9.3"):
        _bundle(version, desk.folder / "dist")
    _first_install(desk)
    _talks(desk)
    _update(desk)
    _roll_back(desk)


def _first_install(desk: Desk) -> None:
    """One cannot be reached and one does not pass its gate; that mended, the others are done already."""
    secrets = desk.folder / "secrets"
    desk.write("9.1")
    status, out, err = desk.fleet("apply")
    assert status == 2
    assert "hall: claim" in err
    assert "study: claim" in err
    assert "nothing was changed" in err
    for name in ("hall", "kitchen"):
        desk.claim(name)
    secrets.joinpath("study.token").write_text("pressel_not-the-right-one\n")
    desk.write("9.1", tokens={"study": "study.token", "attic": "study.token"})
    status, devices = desk.report("apply")
    assert status == 1
    assert {name: device["result"] for name, device in devices.items()} == {
        "hall": "changed",
        "kitchen": "changed",
        "study": "failed",
        "attic": "unreachable",
    }
    assert "the companion" in devices["study"]["detail"]
    assert "connection refused" in devices["attic"]["detail"]
    assert desk.report("status", "--limit", "study")[1]["study"]["connected"] is False

    right = json.loads(_companion(desk, "token", "new", "study", "--json"))["token"]
    secrets.joinpath("study.token").write_text(f"{right}\n")
    status, devices = desk.report("apply", "--limit", ",".join(NAMES))
    assert status == 0, devices
    assert {name: device["result"] for name, device in devices.items()} == {
        "hall": "unchanged",
        "kitchen": "unchanged",
        "study": "changed",
    }
    # What was handed over is gone, from the desk's side of the device as from the claim's place.
    for name in ("hall", "kitchen"):
        assert not list(desk.machines[name].root.glob("var/cache/pressel-fleet/*[!z]"))
        assert not (desk.machines[name].root / "var/lib/pressel/claim.json").exists()
    for word in (right, json.loads((secrets / "hall.claim").read_text())["claim"]):
        assert word not in err + out + json.dumps(devices)


def _talks(desk: Desk) -> None:
    for name in NAMES:
        assert "peter" in desk.talk(name, "my name is peter")


def _update(desk: Desk) -> None:
    desk.hush()
    desk.write("9.2", tokens={"study": "study.token", "attic": "study.token"})
    there = ("--limit", ",".join(NAMES))
    status, out, _ = desk.fleet("plan", *there)
    assert status == 0
    assert out.count("update 9.1 to 9.2") == 3
    status, devices = desk.report("apply", *there)
    assert status == 0, devices
    assert {device["version"] for device in devices.values()} == {"9.2"}
    status, out, _ = desk.fleet("apply", *there)
    assert status == 0
    assert "nothing to change on 3 devices" in out
    status, devices = desk.report("status", *there)
    assert status == 0
    assert [devices[name]["connected_as"] for name in NAMES] == list(NAMES)
    assert {device["version"] for device in devices.values()} == {"9.2"}
    assert "peter" in desk.talk("kitchen", "what is my name")


def _roll_back(desk: Desk) -> None:
    """The third release comes with settings that no device can run: the canary goes back, the others wait."""
    deaf = json.loads(json.dumps(_CONFIG))
    deaf["audio"]["input"]["device"] = "/srv/no-such-microphone.wav"
    desk.hush()
    desk.write("9.3", deaf, tokens={"study": "study.token", "attic": "study.token"})
    status, devices = desk.report("apply", "--limit", ",".join(NAMES))
    assert status == 1
    assert {name: device["result"] for name, device in devices.items()} == {
        "hall": "rolled back",
        "kitchen": "not started",
        "study": "not started",
    }
    assert "9.2" in devices["hall"]["detail"]
    status, devices = desk.report("status", "--limit", ",".join(NAMES))
    assert status == 0, devices
    assert {device["version"] for device in devices.values()} == {"9.2"}
    assert "peter" in desk.talk("hall", "what is my name")


def _machine(root: Path, to: Path, name: str, port: int, key: Path) -> nspawn.Container:
    made = rootfs.copy(root, to)
    (made / "etc/hostname").write_text(f"{name}\n")
    (made / "etc/hosts").write_text(f"127.0.0.1 localhost {name}\n")
    (made / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")  # it stands for the serial number
    sshd.prepare(made, port, key)
    return nspawn.Container(made, name)


def _bundle(version: str, out: Path) -> None:
    command = [str(ROOT / "script/bundle"), "--arch", "x86_64", "--version", version, "--out", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


def _companion(desk: Desk, *words: str) -> str:
    command = [sys.executable, "-m", "companion", *words, "--config", str(desk.companion.config)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_inline(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)
