"""The system calls of a safe write, one by one, so that a test can cut the power at any of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Disk:
    """Files of mode 0600 in one folder. Every call raises OSError."""

    def create(self, path: Path) -> int:
        """Open an empty file and return its descriptor."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    def extend(self, path: Path) -> int:
        """Open a file to be continued at its end and return its descriptor."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, fd: int, data: bytes) -> int:
        """Write some of the data and return how many bytes."""
        return os.write(fd, data)

    def sync(self, fd: int) -> None:
        """Return once the file, or the folder's list of names, is on the medium."""
        os.fsync(fd)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name, replacing what has it."""
        old.replace(new)

    def remove(self, path: Path) -> None:
        """Remove a file that may not be there."""
        path.unlink(missing_ok=True)


def write_file(disk: Disk, path: Path, data: bytes) -> None:
    """Write a whole file and wait until it is on the medium."""
    fd = disk.create(path)
    try:
        while data:
            data = data[disk.write(fd, data) :]
        disk.sync(fd)
    finally:
        os.close(fd)


def sync_folder(disk: Disk, folder: Path) -> None:
    """Wait until the folder's renames are on the medium."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        disk.sync(fd)
    finally:
        os.close(fd)
