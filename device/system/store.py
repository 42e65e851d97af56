"""The state file: what is remembered of each conversation, on disk, whole after any power cut."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from device.core.sessions import Book
from device.errors import StateError
from device.system.disk import Disk, sync_folder, write_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 8 * 1024 * 1024
_RETRY_S = 10.0  # after a write that failed
_NO_ROOM = (errno.EROFS, errno.ENOSPC, errno.EDQUOT)


class Store:
    """One folder, one daemon: `sessions.json`, the generation before it as `sessions.json.1`, and the lock.

    Raises StateError when the folder cannot be made or another daemon has it. Later trouble (a full card, a
    read-only one) is told once to `on_trouble`; the daemon goes on in memory, the store tries again every
    10 s, and tells `on_recovered` when all is on disk; both from any thread. Fields that a newer Pressel has
    added to the file are kept as they are.
    """

    def __init__(
        self,
        folder: Path,
        on_trouble: Callable[[str], None] = log.error,
        disk: Disk | None = None,
        *,
        on_recovered: Callable[[str], None] = log.info,
    ) -> None:
        self._folder = folder
        self._on_trouble, self._on_recovered = on_trouble, on_recovered
        self._disk = disk or Disk()
        self._current = folder / "sessions.json"
        self._previous = folder / "sessions.json.1"
        self._lock_fd = _claim(folder)
        self._writing = threading.Lock()
        self._changed = threading.Condition()
        self._latest: Book | None = None
        self._forgetting = False
        self._pending = self._held = False
        self._closed = False
        self._in_trouble = False
        self._written = b""  # what sessions.json holds
        self._foreign: dict[str, msgspec.Raw] = {}  # fields of it that only a newer Pressel knows
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    def load(self) -> tuple[Book, str | None]:
        """Return what is remembered, and a notice if a file that could not be used was set aside."""
        notices = []
        for path in (self._current, self._previous):
            try:
                data = _read(path)
                book, foreign = _decode(data)
            except FileNotFoundError:
                continue
            except (OSError, ValueError, RecursionError, msgspec.MsgspecError) as error:
                notices.append(self._set_aside(path, error))
                continue
            self._written = data if path == self._current else b""
            self._latest, self._foreign = book, foreign
            return book, "; ".join([*notices, "the state before it is used"]) if notices else None
        return Book(), "; ".join([*notices, "nothing is remembered"]) if notices else None

    def save(self, book: Book) -> bool:
        """Write now, if anything has changed; tell whether the book is on disk."""
        self._ask(book)
        return self._write_latest()

    def save_soon(self, book: Book) -> None:
        """Have the book written by another thread; of several in a row the last one counts."""
        self._ask(book)
        with self._changed:
            self._pending = True
            self._changed.notify()

    def hold(self) -> None:
        """Leave what comes now to `close`, which writes it at once: a slow card may not have time for two."""
        with self._changed:
            self._held = True

    def close(self) -> None:
        """Write what is left and let the folder go; safe to call twice."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify()
        self._thread.join()
        if self._lock_fd is not None:
            os.close(self._lock_fd)

    def _ask(self, book: Book) -> None:
        with self._changed:
            before = self._latest.sessions if self._latest else {}
            self._forgetting |= not before.keys() <= book.sessions.keys()
            self._latest = book

    def _run(self) -> None:
        closed = False
        while not closed:
            with self._changed:
                patience_s = _RETRY_S if self._in_trouble else None
                self._changed.wait_for(lambda: self._closed or (self._pending and not self._held), patience_s)
                self._pending, closed = False, self._closed
            self._write_latest()

    def _write_latest(self) -> bool:
        with self._writing:
            with self._changed:
                book, forgetting = self._latest, self._forgetting
                self._forgetting = False
            if book is None:
                return True
            if forgetting:
                self._foreign = {}  # whatever it says, it may be words
            data = _encode(book, self._foreign)
            if data == self._written:
                self._recover()
                return True
            try:
                self._claim_again()
                self._replace(data, forgetting)
            except (OSError, StateError) as error:
                with self._changed:
                    self._forgetting |= forgetting
                self._trouble(error)
                return False
            self._written = data
            self._recover()
            return True

    def _claim_again(self) -> None:
        """Make the folder and its lock anew when they were removed; StateError when another daemon has it."""
        mine = self._lock_fd
        if mine is not None and os.fstat(mine).st_nlink == 0:
            self._lock_fd = _claim(self._folder)
            os.close(mine)
            log.warning("%s had been removed; it is there again", self._folder)

    def _replace(self, data: bytes, forgetting: bool) -> None:
        """Put the new generation in place; a crash anywhere leaves the old one or the new one to `load`.

        What the user wants forgotten is not kept in an older generation either.
        """
        fresh = self._current.with_suffix(".json.tmp")
        try:
            write_file(self._disk, fresh, data)
        except OSError:
            with suppress(OSError):
                self._disk.remove(fresh)
            raise
        if self._current.exists():
            self._disk.rename(self._current, self._previous)
        self._disk.rename(fresh, self._current)
        if forgetting:
            for old in (self._previous, *self._folder.glob("sessions.json*.bad-*")):
                self._disk.remove(old)
        sync_folder(self._disk, self._folder)

    def _set_aside(self, path: Path, error: Exception) -> str:
        number = 1
        while (aside := path.with_name(f"{path.name}.bad-{number}")).exists():
            number += 1
        why = error.strerror if isinstance(error, OSError) else str(error)
        try:
            path.rename(aside)
        except OSError:
            return f"{path} cannot be used ({why})"
        return f"{path} cannot be used ({why}): kept as {aside.name}"

    def _trouble(self, error: OSError | StateError) -> None:
        if not self._in_trouble:
            self._in_trouble = True
            why = error.strerror if isinstance(error, OSError) else str(error)
            self._on_trouble(
                f"{self._folder} cannot be written ({why}): free or repair it;"
                " until then a restart forgets this conversation"
            )

    def _recover(self) -> None:
        if self._in_trouble:
            self._in_trouble = False
            self._on_recovered(f"{self._folder}: all that is remembered is on disk again")


def _claim(folder: Path) -> int | None:
    """Make the folder and lock it; None where the medium has no room for a lock file."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = _open_lock(folder / "lock")
    except OSError as error:
        if error.errno in _NO_ROOM and folder.is_dir():
            log.warning("%s cannot be locked: %s", folder, error.strerror)
            return None
        raise StateError(
            f"the state folder {folder} cannot be used ({error.strerror}): chown it or set state.dir"
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = _owner_of(fd)
        os.close(fd)
        raise StateError(
            f"another pressel (pid {owner}) uses the state folder {folder}: stop it, or set state.dir"
        ) from error
    try:
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
    except OSError as error:  # the lock holds all the same
        log.warning("%s: the lock cannot name this process: %s", folder, error.strerror)
    return fd


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS or not path.exists():
            raise
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # it can be locked all the same


def _owner_of(fd: int) -> str:
    with suppress(OSError):
        return os.read(fd, 20).decode("ascii", "replace").strip() or "unknown"
    return "unknown"


def _read(path: Path) -> bytes:
    """Return what a plain file holds; anything else (a pipe would block for ever) is a ValueError."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123 # a path cannot do this
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a plain file")
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"it is larger than {MAX_FILE_BYTES} bytes")
    return data


class _Head(msgspec.Struct):
    version: int


def _decode(data: bytes) -> tuple[Book, dict[str, msgspec.Raw]]:
    version = msgspec.json.decode(data, type=_Head).version
    if version != Book().version:
        raise ValueError(f"it is of version {version} and this pressel knows {Book().version}")
    fields = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    foreign = {name: value.copy() for name, value in fields.items() if name not in Book.__struct_fields__}
    return msgspec.json.decode(data, type=Book), foreign


def _encode(book: Book, foreign: dict[str, msgspec.Raw]) -> bytes:
    return msgspec.json.encode({**msgspec.structs.asdict(book), **foreign} if foreign else book)
