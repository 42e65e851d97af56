"""A boot partition of Raspberry Pi OS as a folder: which image it is, and its files changed one by one."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from provision.errors import MediaError

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["cloud-init", "bookworm"]
Content = bytes | Path | None  # a file's bytes; a file to copy; None: no such file

CLOUD_INIT_FILES = ("meta-data", "network-config", "user-data")
FIRSTBOOT = "init=/usr/lib/raspberrypi-sys-mods/firstboot"  # in cmdline.txt until Bookworm's first start
_32_BIT_KERNELS = ("kernel.img", "kernel7.img", "kernel7l.img")
_CHUNK = 1 << 20
_SPARE = 1 << 20  # left free: directories grow, too


@dataclass(frozen=True)
class Change:
    """A file that must change. `path` is relative to the partition; `old` is None where there is no file."""

    path: str
    old: bytes | None
    new: Content

    @property
    def size(self) -> int:
        """How many bytes are to be written."""
        if isinstance(self.new, Path):
            return self.new.stat().st_size
        return len(self.new or b"")


def recognise(folder: Path) -> Kind:
    """Return how the image on this partition takes its settings.

    Raises MediaError where it is no boot partition, of a 32-bit system, or an image that takes none.
    """
    missing = [name for name in ("config.txt", "cmdline.txt") if not (folder / name).is_file()]
    missing += [pattern for pattern in ("kernel*.img", "bcm27*.dtb") if not any(folder.glob(pattern))]
    if missing:
        raise MediaError(
            f"{folder} is no boot partition of Raspberry Pi OS ({', '.join(missing)} missing): flash a card, "
            'and name the folder where its small partition, "bootfs", is mounted'
        )
    if found := [name for name in _32_BIT_KERNELS if (folder / name).exists()]:
        raise MediaError(
            f"{folder} is of a 32-bit system ({found[0]}): flash the 64-bit image of Raspberry Pi OS Lite"
        )
    if all((folder / name).is_file() for name in CLOUD_INIT_FILES):
        return "cloud-init"
    if FIRSTBOOT in read_text(folder / "cmdline.txt").split():
        return "bookworm"
    raise MediaError(
        f"{folder}: this image takes no settings at its first start, or has been started before: "
        "flash it anew with a current Raspberry Pi OS Lite (64-bit)"
    )


def read_text(path: Path) -> str:
    """Return a file's text as it is, line ends and foreign bytes too; "" where there is none."""
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return ""


def to_bytes(text: str) -> bytes:
    """The way back of `read_text`."""
    return text.encode("utf-8", "surrogateescape")


def changes(folder: Path, wanted: dict[str, Content]) -> list[Change]:
    """Return what differs from `wanted`, in its order. A large file's old content is left out of a change."""
    found = []
    for path, new in wanted.items():
        there = folder / path
        if isinstance(new, Path):
            if not _same(there, new):
                found.append(Change(path, None, new))
        else:
            old = there.read_bytes() if there.is_file() and new is not None else None
            if old != new or (new is None and there.exists()):
                found.append(Change(path, old, new))
    return found


def check_space(folder: Path, todo: list[Change]) -> None:
    """Raise MediaError where the changes do not fit. A file is replaced when the new one is whole."""
    freed = sum((folder / change.path).stat().st_size for change in todo if change.new is None)
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize + freed
    needed = sum(change.size for change in todo)
    if todo and needed + _SPARE > free:
        raise MediaError(
            f"{folder}: {free / 1e6:.0f} MB are free and {(needed + _SPARE) / 1e6:.0f} MB are needed: "
            "delete what is yours there, or flash the card anew"
        )


def apply(folder: Path, change: Change, wrote: Callable[[int], None] = lambda _: None) -> None:
    """Make one change: the old file is there until the new one is whole on the card. `wrote` gets bytes.

    Raises MediaError where the card cannot be written.
    """
    path = folder / change.path
    half = path.with_name(f".{path.name}.new")
    try:
        if change.new is None:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(exist_ok=True)
            _write(half, change.new, wrote)
            half.replace(path)
        _sync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):  # neither, where the card is locked or gone
            half.unlink(missing_ok=True)
        mend = (
            "move the card's lock, or remount it for writing"
            if error.errno == errno.EROFS
            else "see whether the card is full or worn"
        )
        raise MediaError(f"{path} cannot be written: {error.strerror}; {mend}, then run this again") from None


def _write(path: Path, content: bytes | Path, wrote: Callable[[int], None]) -> None:
    with path.open("wb") as out:
        if isinstance(content, bytes):
            out.write(content)
            wrote(len(content))
        else:
            with content.open("rb") as source:
                while chunk := source.read(_CHUNK):
                    out.write(chunk)
                    _flush(out)  # else the bar shows the memory's speed, and the card's comes after
                    wrote(len(chunk))
        _flush(out)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _same(one: Path, other: Path) -> bool:
    if not one.is_file() or one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        digests = [hashlib.file_digest(file, "sha256").digest() for file in (first, second)]
    return digests[0] == digests[1]
