"""The privacy ledger on real files: nothing missing after a kill, a full disk, a turn of generations."""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from device.system.disk import Disk
from device.system.ledger import FILES, Ledger, generations, read_now
from device.system.ledger_reader import Account, read_ledger
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Sound:
    """A flow."""

    def __init__(self, why: str = "button", seconds: float = 1.5) -> None:
        self.why, self.where = why, "api.example:443"
        self.began_at = time.time()
        self.seconds = seconds

    @property
    def bytes(self) -> int:
        return int(self.seconds * 48_000)


class FullDisk(Disk):
    """Takes half a line, then nothing, until there is room."""

    full = True

    def write(self, fd: int, data: bytes) -> int:
        if self.full:
            super().write(fd, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(fd, data)


@contextmanager
def ledger(
    folder: Path, troubles: list[str] | None = None, disk: Disk | None = None, file_bytes: int = 1 << 20
) -> Iterator[Ledger]:
    one = Ledger(
        folder, "default", (troubles if troubles is not None else []).append, disk=disk, file_bytes=file_bytes
    )
    one.start()
    try:
        yield one
    finally:
        one.close()


def read(folder: Path) -> Account:
    return read_ledger(folder, running=False)


def test_an_interval_is_told_whole_and_for_the_owner_alone(tmp_path: Path) -> None:
    sound = Sound("wake")
    with ledger(tmp_path) as one:
        one.began(sound)
        one.ended(sound)
    [interval] = read(tmp_path).intervals
    assert (interval.why, interval.endpoint, interval.host) == ("wake", "default", "api.example:443")
    assert (interval.seconds, interval.bytes, interval.how) == (1.5, 72_000, "whole")
    assert interval.ended is not None
    assert abs(interval.begun.timestamp() - sound.began_at) < 0.002
    for name in ("ledger.jsonl", "ledger.now"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_what_is_under_way_is_on_disk_before_it_ends(tmp_path: Path) -> None:
    sound = Sound(seconds=0.02)
    with ledger(tmp_path) as one:
        one.began(sound)
        until((tmp_path / "ledger.jsonl").exists)
        sound.seconds = 3.0
        until(lambda: (read_now(tmp_path / "ledger.now") or {}).get("seconds") == 3.0)
        [interval] = until(lambda: read_ledger(tmp_path, running=True).intervals)
        assert (interval.how, interval.seconds) == ("under way", 3.0)
        [killed] = read(tmp_path).intervals  # what a reader sees when the daemon is no more
        assert (killed.how, killed.seconds) == ("cut off", 3.0)


def test_the_next_start_closes_what_a_kill_cut_off(tmp_path: Path) -> None:
    with ledger(tmp_path) as one:
        one.began(Sound(seconds=2.0))
        now = until(lambda: (tmp_path / "ledger.now").exists() and (tmp_path / "ledger.now").read_bytes())
        begun = until(
            lambda: (tmp_path / "ledger.jsonl").exists() and (tmp_path / "ledger.jsonl").read_bytes()
        )
    (tmp_path / "ledger.now").write_bytes(now)
    (tmp_path / "ledger.jsonl").write_bytes(begun)
    with ledger(tmp_path) as one:
        second = Sound()
        one.began(second)
        one.ended(second)
    first, other = read(tmp_path).intervals
    assert (first.how, first.seconds, first.bytes) == ("cut off", 2.0, 96_000)
    assert other.how == "whole"


def test_a_kill_after_the_last_line_counts_nothing_twice(tmp_path: Path) -> None:
    sound = Sound()
    with ledger(tmp_path) as one:
        one.began(sound)
        now = until(lambda: (tmp_path / "ledger.now").exists() and (tmp_path / "ledger.now").read_bytes())
        one.ended(sound)
    (tmp_path / "ledger.now").write_bytes(now)
    with ledger(tmp_path):
        pass
    [interval] = read(tmp_path).intervals
    assert (interval.how, interval.seconds) == ("whole", 1.5)


def test_closing_ends_what_is_under_way(tmp_path: Path) -> None:
    with ledger(tmp_path) as one:
        one.began(Sound())
    assert [interval.how for interval in read(tmp_path).intervals] == ["whole"]


def test_a_full_disk_is_told_once_and_its_lines_follow_when_there_is_room(tmp_path: Path) -> None:
    disk, troubles = FullDisk(), list[str]()
    with ledger(tmp_path, troubles, disk) as one:
        for _ in range(3):
            sound = Sound()
            one.began(sound)
            one.ended(sound)
        until(lambda: troubles)
        one.note("a fence: what came before has been tried")
        until(one._facts.empty)
        disk.full = False
        one.note("recording is on")
    assert len(troubles) == 1
    assert "No space left" in troubles[0]
    account = read(tmp_path)
    assert [interval.how for interval in account.intervals] == ["whole"] * 3
    assert [note.note for note in account.notes][-1] == "recording is on"
    assert account.broken > 0


def test_a_torn_line_of_a_power_cut_spoils_no_other(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_bytes(b'{"id": "a", "beg')
    with ledger(tmp_path) as one:
        one.note("after it")
    account = read(tmp_path)
    assert account.broken == 1
    assert [note.note for note in account.notes] == ["after it"]


def test_the_files_take_turns_and_are_bounded(tmp_path: Path) -> None:
    with ledger(tmp_path, file_bytes=2000) as one:
        for _ in range(60):
            sound = Sound()
            one.began(sound)
            one.ended(sound)
    files = [path for path in generations(tmp_path / "ledger.jsonl") if path.exists()]
    assert len(files) == FILES
    assert all(path.stat().st_size < 2300 for path in files)
    intervals = read(tmp_path).intervals
    assert 10 < len(intervals) < 60
    assert {interval.how for interval in intervals} == {"whole"}
