"""The safe write on the real file system."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from device.system.disk import Disk, sync_folder, write_file


class Stingy(Disk):
    """Takes three bytes a call, as a file system may, and notes the order of calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def write(self, fd: int, data: bytes) -> int:
        self.calls.append("write")
        return super().write(fd, data[:3])

    def sync(self, fd: int) -> None:
        self.calls.append("sync")
        super().sync(fd)


def test_short_writes_are_continued_and_then_synced(tmp_path: Path) -> None:
    disk = Stingy()
    write_file(disk, tmp_path / "a", b"12345678")
    assert (tmp_path / "a").read_bytes() == b"12345678"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert disk.calls == ["write"] * 3 + ["sync"]


def test_a_failed_write_leaks_no_descriptor(tmp_path: Path) -> None:
    class Broken(Disk):
        def sync(self, fd: int) -> None:
            raise OSError("no")

    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="no"):
        write_file(Broken(), tmp_path / "a", b"1")
    with pytest.raises(OSError, match="no"):
        sync_folder(Broken(), tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_removing_what_is_not_there_is_fine(tmp_path: Path) -> None:
    Disk().remove(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []
