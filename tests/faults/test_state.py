"""What is kept on disk: killed at each system call, full, read-only, taken away, and by two at once."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from device.core.sessions import Book, Session, Turn
from device.system.store import Store
from rig.gpio import chip
from rig.realtime import RATE
from tests.faults.scene import BUTTON, GPIO, Scene, scene, supervised
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
_ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
_WITH_BUTTON = pytest.mark.skipif(chip.missing() is not None, reason=str(chip.missing()))
_WRITER = """
import os, signal, sys
from pathlib import Path
from device.core.sessions import Book, Session, Turn
from device.system.store import Store
store = Store(Path(sys.argv[1]))
assert store.load()[0].volume == 1
new = Book() if sys.argv[2] == "forget" else Book(
    sessions={"a/b": Session("s", "p", (Turn("user", "my name is Ada"),))}, volume=2)
os.kill(os.getpid(), signal.SIGSTOP)
saved = store.save(new)
os._exit(0 if saved else 1)
"""


def _book(number: int) -> Book:
    return Book(sessions={"a/b": Session("s", "p", (Turn("user", "my name is Ada"),))}, volume=number)


def _no_tracer() -> str | None:
    if shutil.which("strace") is None:
        return "no strace: apt-get install strace"
    done = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    return f"processes may not be traced here: {done.stderr.strip()[:80]}" if done.returncode else None


def _traced(folder: Path, change: str, *options: str) -> tuple[int, list[str]]:
    """Save in a child under strace; returns its status and the names of the calls, from the save on."""
    trace = folder.with_suffix(".trace")
    child = subprocess.Popen([sys.executable, "-c", _WRITER, str(folder), change], cwd=ROOT)
    try:
        until(lambda: _state_of(child.pid) == "T", 20)  # it has loaded, and stopped itself
        command = ["strace", "-qq", "-o", str(trace), *options, "-p", str(child.pid)]
        with subprocess.Popen(command) as tracer:
            until(lambda: _state_of(child.pid) == "t", 20)
            child.send_signal(signal.SIGCONT)
            status = child.wait(20)
            tracer.wait(20)
    finally:
        child.kill()
    return status, re.findall(r"^(\w+)\(", trace.read_text(), re.MULTILINE)


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


@pytest.mark.skipif(_no_tracer() is not None, reason=str(_no_tracer()))
@pytest.mark.parametrize("change", ["turn", "forget"])
def test_sigkill_at_each_system_call_of_a_save_leaves_the_old_or_the_new(tmp_path: Path, change: str) -> None:
    new = _book(2) if change == "turn" else Book()
    _prepare(tmp_path / "whole")
    status, calls = _traced(tmp_path / "whole", change)
    assert status == 0
    assert {"openat", "write", "fsync", "rename", "close"} <= set(calls)
    outcomes, seen = [], Counter[str]()
    for number, call in enumerate(calls):
        seen[call] += 1
        folder = tmp_path / str(number)
        _prepare(folder)
        status, _ = _traced(folder, change, "-e", f"inject={call}:signal=KILL:when={seen[call]}")
        assert status == -signal.SIGKILL
        found, notice = _load(folder)
        assert notice is None
        assert found in (_book(1), new), f"killed at call {number}, {call}"
        outcomes.append(found == new)
    assert outcomes[0] is False
    assert outcomes[-1] is True
    assert outcomes == sorted(outcomes), "once it is new it stays new"


def _prepare(folder: Path) -> None:
    store = Store(folder)
    store.load()
    for number in range(2):
        assert store.save(_book(number))
    store.close()


def _load(folder: Path) -> tuple[Book, str | None]:
    store = Store(folder)
    try:
        return store.load()
    finally:
        store.close()


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """A medium of 256 kB on the folder, which can be filled and made read-only."""
    folder.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _fill(folder: Path) -> Path:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


@_ROOT_ONLY
@pytest.mark.parametrize("when", ["at the start", "later"])
def test_a_full_disk_is_told_and_made_up_for_when_there_is_room(tmp_path: Path, when: str) -> None:
    with _small_disk(tmp_path / "device" / "device-state") as state, scene(tmp_path, start=False) as one:
        filler = _fill(state) if when == "at the start" else None
        one.device.start()
        with one.device.watch(20) as events:
            filler = filler or _fill(state)
            assert one.answered()
            line = next(event["text"] for event in events if "cannot be written" in event.get("text", ""))
        assert line.endswith("until then a restart forgets this conversation")
        assert one.answered()
        assert not (state / "sessions.json").exists()
        assert one.status()["fault"] == line, "a session that opens does not mend the disk"
        with one.device.watch(20) as events:
            filler.unlink()
            until((state / "sessions.json").exists, 20)  # without anything new to be kept
            next(event for event in events if "is on disk again" in event.get("text", ""))
        until(lambda: one.status()["fault"] is None)
        one.device.kill()
        one.device.start()
        assert one.answered()
        assert one.status()["session"]["rung"] == "seeded"


@_ROOT_ONLY
@_WITH_BUTTON
def test_a_disk_that_becomes_read_only_costs_the_memory_and_nothing_else(tmp_path: Path) -> None:
    with (
        _small_disk(tmp_path / "copy") as copy,
        chip.FakeChip(tmp_path) as fake,
        supervised(tmp_path, more=GPIO, env=fake.env) as one,
        one.device.watch(20) as events,
    ):
        assert one.answered()
        with _read_only(one.device.state, copy):
            _press(one, fake)
            next(event for event in events if "Read-only file system" in event.get("text", ""))
            os.kill(one.pid, signal.SIGKILL)
            one.life(1)  # on a medium that takes no socket
            until(lambda: "pressel ctl works again" in one.said())
            _press(one, fake)
            assert one.supervisor
            assert one.supervisor.stop() == 0


@contextmanager
def _read_only(folder: Path, copy: Path) -> Iterator[None]:
    """Put a copy that cannot be written in the folder's place: what is open for writing forbids a remount."""
    for path in folder.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    _mount("-o", "remount,ro", str(copy))
    _mount("--bind", str(copy), str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@_WITH_BUTTON
def test_a_state_folder_that_is_taken_away_is_made_anew(tmp_path: Path) -> None:
    with chip.FakeChip(tmp_path) as fake, supervised(tmp_path, more=GPIO, env=fake.env) as one:
        assert one.answered()
        while one.device.state.exists():  # the device may be writing in it
            shutil.rmtree(one.device.state, ignore_errors=True)  # and the control socket with it
        _press(one, fake)
        until((one.device.state / "sessions.json").exists, 20)
        os.kill(one.pid, signal.SIGKILL)
        one.life(1)
        assert one.answered()
        assert one.status()["session"]["rung"] == "seeded"


def _press(one: Scene, fake: chip.FakeChip) -> None:
    """Hold the button until sound has come to the server, and wait for the answer."""
    one.server.forget()
    fake.press(BUTTON)
    until(lambda: one.server.heard().size > RATE // 2, 20)
    fake.release(BUTTON)
    until(lambda: one.server.first_delta, 20)


def test_two_daemons_do_not_share_a_folder(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        second = subprocess.run(one.device.command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert f"another pressel (pid {one.pid}) uses the state folder" in second.stderr
        assert one.answered()
