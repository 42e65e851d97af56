"""The state folder: one daemon at a time, whole files or none, the generation before kept."""

from __future__ import annotations

import fcntl
import os
import threading
from typing import TYPE_CHECKING

import msgspec

from device.core.sessions import Book
from device.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_NAME = "sessions.json"


class Store:
    """Keeps the Book in `folder` (made 0700). `on_trouble(text)`: the disk refuses; told once, work goes on.

    Raises StateError when the folder cannot be used or another daemon has it.
    """

    def __init__(self, folder: Path, on_trouble: Callable[[str], None]) -> None:
        self._folder = folder
        self._on_trouble = on_trouble
        self._troubled = False
        self._saved: bytes | None = None
        self._lock = _take(folder)
        self._due: Book | None = None
        self._change = threading.Condition()
        self._closing = False
        self._writer = threading.Thread(target=self._write_due, name="store", daemon=True)
        self._writer.start()

    def load(self) -> tuple[Book, str | None]:
        """Return the newest book that can be read, and a line when a file was set aside for it."""
        notice = None
        for name in (_NAME, f"{_NAME}.1"):
            path = self._folder / name
            try:
                data = path.read_bytes()
                book = msgspec.json.decode(data, type=Book)
            except FileNotFoundError:
                continue
            except (OSError, msgspec.DecodeError, UnicodeError, RecursionError) as error:
                notice = f"{path} cannot be read ({error}); set aside as {self._set_aside(path)}"
                continue
            self._saved = data if name == _NAME else None
            return book, notice
        return Book(), notice

    def save(self, book: Book) -> None:
        """Write the book, unless it is what stands there. The old file stands until the new one is whole."""
        data = msgspec.json.encode(book)
        if data == self._saved:
            return
        path = self._folder / _NAME
        fresh = self._folder / f"{_NAME}.new"
        try:
            with open(fresh, "wb", opener=_private) as file:  # noqa: PTH123 # Path.open has no opener
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                _keep(path, self._folder / f"{_NAME}.1")
            fresh.replace(path)
            _sync(self._folder)
        except OSError as error:
            if not self._troubled:
                self._troubled = True
                self._on_trouble(f"the conversation cannot be kept in {self._folder}: {error.strerror}")
            return
        self._troubled = False
        self._saved = data

    def save_soon(self, book: Book) -> None:
        """Write in the store's own thread; the main loop never waits for an SD card. The latest book wins."""
        with self._change:
            self._due = book
            self._change.notify()

    def close(self) -> None:
        """Write what is due and let go of the folder; safe to call twice."""
        with self._change:
            self._closing = True
            self._change.notify()
        self._writer.join(5.0)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _write_due(self) -> None:
        while True:
            with self._change:
                while self._due is None and not self._closing:
                    self._change.wait()
                book, self._due = self._due, None
            if book is None:
                return
            self.save(book)

    def _set_aside(self, path: Path) -> str:
        number = 1
        while (aside := self._folder / f"{_NAME}.bad-{number}").exists():
            number += 1
        try:
            path.rename(aside)
        except OSError as error:
            return f"nothing: {error.strerror}"
        return aside.name


def _take(folder: Path) -> int:
    """Lock the folder for this process."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(f"the state folder {folder} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise StateError(
            f"another daemon (process {owner}) uses {folder}; stop it, or set another state.dir"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _keep(path: Path, old: Path) -> None:
    """Let the present file stand under the old name too, without a moment in which it has none."""
    link = old.with_suffix(".link")
    link.unlink(missing_ok=True)
    os.link(path, link)
    link.replace(old)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
