"""Power and plug, with a program of the test's own in QEMU's place."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.rootfs import Unavailable
from rig.vpi.agent import GuestError
from rig.vpi.kernel import Kernel
from rig.vpi.machine import Machine
from rig.vpi.processor import PROCESSORS

_KERNEL = Kernel(
    PROCESSORS["amd64"], "6.1", Path("/nowhere/vmlinuz"), Path("/nowhere/initrd"), Path("/nowhere/modules")
)


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder / "qemu-system-x86_64"


def _does(qemu: Path, script: str) -> None:
    qemu.write_text(f"#!/bin/sh\n{script}\n")
    qemu.chmod(0o755)


def _machine(folder: Path) -> Machine:
    return Machine(folder / "pi", folder / "disk", _KERNEL, forward=8790)


def test_it_is_on_until_the_plug_is_pulled_and_others_see_it(qemu: Path, tmp_path: Path) -> None:
    _does(qemu, "exec sleep 60")
    one, other = _machine(tmp_path), _machine(tmp_path)
    assert not one.on
    one.power_on()
    assert one.on
    assert other.on
    with pytest.raises(GuestError, match="is on already"):
        other.power_on()
    other.cut()
    assert not one.on
    one.cut()


def test_one_that_ends_says_why(qemu: Path, tmp_path: Path) -> None:
    _does(qemu, "echo 'no such disk' >&2; exit 1")
    machine = _machine(tmp_path)
    with pytest.raises(GuestError, match="QEMU ended: no such disk"):
        machine.boot()
    machine.cut()


def test_without_qemu_there_is_no_virtual_pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="qemu-system-x86_64 is not installed"):
        _machine(tmp_path).power_on()


def test_the_guest_reaches_the_companion_and_nothing_else(qemu: Path, tmp_path: Path) -> None:
    _does(qemu, 'echo "$@" >&2; exec sleep 60')
    machine = _machine(tmp_path)
    machine.power_on()
    try:
        log = tmp_path / "pi/qemu.log"
        while not (said := log.read_text()):
            assert machine.on
        assert "user,id=net0,restrict=on,guestfwd=tcp:10.0.2.100:8790-cmd:socat - TCP:127.0.0.1:8790 " in said
        assert "hostfwd" not in said
    finally:
        machine.cut()
