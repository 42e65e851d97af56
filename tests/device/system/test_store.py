"""The state file: atomic, kept twice, locked, and never fatal when it is broken."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from device.core.sessions import Book, Session, Turn
from device.errors import StateError
from device.system.disk import Disk
from device.system.store import MAX_FILE_BYTES, Store
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[3]
_NOBODY = 65534


def book(number: int) -> Book:
    turns = (Turn("user", "my name is Ada " * 50), Turn("assistant", "hello"))
    return Book(sessions={"default/push_to_talk": Session("s", "local", turns)}, volume=number)


def reload(folder: Path) -> tuple[Book, str | None]:
    store = Store(folder)
    try:
        return store.load()
    finally:
        store.close()


def write(folder: Path, *books: Book) -> None:
    store = Store(folder)
    store.load()
    for one in books:
        assert store.save(one)
    store.close()


class PowerCut(BaseException):
    """The card loses power; not an OSError, which a store may survive."""


class CutDisk(Disk):
    """Real files until the power is cut at the n-th call; what was not synced by then is torn in half."""

    def __init__(self, survive: int) -> None:
        self.left = survive
        self._unsynced: dict[Path, int] = {}
        self._names: dict[int, Path] = {}

    def _spend(self) -> None:
        if self.left == 0:
            for path in self._unsynced:
                os.truncate(path, path.stat().st_size // 2)
            raise PowerCut
        self.left -= 1

    def create(self, path: Path) -> int:
        self._spend()
        fd = super().create(path)
        self._names[fd] = path
        self._unsynced[path] = fd
        return fd

    def write(self, fd: int, data: bytes) -> int:
        half = super().write(fd, data[: len(data) // 2 + 1])
        self._spend()
        return half

    def sync(self, fd: int) -> None:
        self._spend()
        super().sync(fd)
        self._unsynced.pop(self._names.get(fd, Path()), None)

    def rename(self, old: Path, new: Path) -> None:
        self._spend()
        super().rename(old, new)
        if old in self._unsynced:
            self._unsynced[new] = self._unsynced.pop(old)

    def remove(self, path: Path) -> None:
        self._spend()
        super().remove(path)


class FullDisk(Disk):
    """A card without room, until it is freed."""

    def __init__(self) -> None:
        self.full = True

    def write(self, fd: int, data: bytes) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(fd, data)


class SlowDisk(Disk):
    """A card whose writes wait for `go`."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()
        self.renames: list[str] = []

    def create(self, path: Path) -> int:
        self.entered.set()
        assert self.go.wait(10)
        return super().create(path)

    def rename(self, old: Path, new: Path) -> None:
        self.renames.append(new.name)
        super().rename(old, new)


def test_a_book_comes_back_and_only_the_owner_can_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "state"
    write(folder, book(1))
    assert reload(folder) == (book(1), None)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        "sessions.json": 0o600,
        "lock": 0o600,
    }


def test_a_new_folder_holds_an_empty_book(tmp_path: Path) -> None:
    assert reload(tmp_path) == (Book(), None)


def test_the_generation_before_is_kept(tmp_path: Path) -> None:
    write(tmp_path, book(1), book(2), book(3))
    assert msgspec.json.decode((tmp_path / "sessions.json.1").read_bytes(), type=Book) == book(2)
    (tmp_path / "sessions.json").unlink()
    assert reload(tmp_path) == (book(2), None)


def test_what_has_not_changed_is_not_written(tmp_path: Path) -> None:
    write(tmp_path, book(1))
    before = (tmp_path / "sessions.json").stat().st_ino
    write(tmp_path, book(1), book(1))
    assert (tmp_path / "sessions.json").stat().st_ino == before
    assert not (tmp_path / "sessions.json.1").exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "truncated"),
        (msgspec.json.encode(book(2))[:-40], "truncated"),
        (b"\x00" * 4096, "malformed"),
        (b"\xff\xfe", "malformed"),
        (b'{"hello":"world"}', "missing required field `version`"),
        (b"[]", "Expected `object`"),
        (b'{"version":2,"sessions":{}}', "it is of version 2 and this pressel knows 1"),
        (b'{"version":1,"sessions":{"a/b":7}}', "Expected `object`"),
        (b" " * (MAX_FILE_BYTES + 1), "it is larger than 8388608 bytes"),
        (b" " * 100_000_000, "it is larger than 8388608 bytes"),
        (b'{"version":1,"volume":NaN}', "malformed"),
        (b'{"version":1,"sessions":{"a/b":{"session_id":"s","provider":"p","updated_at":1e999}}}', "range"),
        (b'{"version":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "recursion"),
        (b'{"version":1}{"version":1}', "malformed"),
        (b"\xef\xbb\xbf" + msgspec.json.encode(book(2)), "malformed"),
    ],
)
def test_a_broken_file_is_set_aside_and_the_one_before_it_used(
    tmp_path: Path, content: bytes, why: str
) -> None:
    write(tmp_path, book(1), book(2))
    (tmp_path / "sessions.json").write_bytes(content)
    found, notice = reload(tmp_path)
    assert found == book(1)
    assert notice is not None
    assert why in notice
    assert notice.endswith("kept as sessions.json.bad-1; the state before it is used")
    assert (tmp_path / "sessions.json.bad-1").read_bytes() == content
    assert reload(tmp_path) == (book(1), None)


def test_a_key_that_is_there_twice_counts_as_it_was_last(tmp_path: Path) -> None:
    (tmp_path / "sessions.json").write_bytes(b'{"version":1,"volume":3,"volume":5}')
    assert reload(tmp_path) == (Book(volume=5), None)


@pytest.mark.parametrize("name", ["sessions.json", "sessions.json.1", "lock"])
def test_a_pipe_in_the_folder_holds_nobody_up(tmp_path: Path, name: str) -> None:
    write(tmp_path, book(1))
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    code = (
        f"import sys; sys.path.insert(0, '{ROOT}')\nfrom pathlib import Path\n"
        f"from device.system.store import Store\nfrom device.core.sessions import Book\n"
        f"store = Store(Path('{tmp_path}')); print(store.load()[1]); print(store.save(Book(volume=9)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], timeout=20, capture_output=True, text=True, check=True
    )
    notice, saved = done.stdout.splitlines()
    assert ("it is not a plain file" in notice) == (name == "sessions.json")
    assert saved == "True"
    assert reload(tmp_path)[0] == Book(volume=9)


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can become somebody else")
def test_a_file_that_may_not_be_read_is_set_aside(tmp_path: Path) -> None:
    write(tmp_path, book(1), book(2))
    (tmp_path / "sessions.json").chmod(0)
    for path in (tmp_path, *tmp_path.iterdir()):
        os.chown(path, _NOBODY, _NOBODY)
    for parent in list(tmp_path.parents)[:-2]:
        parent.chmod(0o711)
    os.seteuid(_NOBODY)
    try:
        found, notice = reload(tmp_path)
    finally:
        os.seteuid(0)
    assert found == book(1)
    assert "(Permission denied): kept as sessions.json.bad-1" in (notice or "")


def test_two_broken_files_are_both_kept_and_the_daemon_starts_afresh(tmp_path: Path) -> None:
    (tmp_path / "sessions.json.bad-1").write_text("older")
    (tmp_path / "sessions.json").write_text("torn")
    (tmp_path / "sessions.json.1").write_text("torn too")
    found, notice = reload(tmp_path)
    assert found == Book()
    assert notice is not None
    assert notice.endswith("nothing is remembered")
    assert (tmp_path / "sessions.json.bad-1").read_text() == "older"
    assert (tmp_path / "sessions.json.bad-2").read_text() == "torn"
    assert (tmp_path / "sessions.json.1.bad-1").read_text() == "torn too"
    write(tmp_path, book(5))
    assert reload(tmp_path) == (book(5), None)


def test_a_folder_where_the_file_belongs(tmp_path: Path) -> None:
    (tmp_path / "sessions.json").mkdir()
    found, notice = reload(tmp_path)
    assert (found, notice is not None) == (Book(), True)
    write(tmp_path, book(1))
    assert reload(tmp_path) == (book(1), None)


def test_a_second_daemon_is_told_who_has_the_folder(tmp_path: Path) -> None:
    first = Store(tmp_path)
    with pytest.raises(
        StateError, match=rf"another pressel \(pid {os.getpid()}\) uses the state folder"
    ) as told:
        Store(tmp_path)
    assert "\n" not in str(told.value)
    first.close()
    Store(tmp_path).close()


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_folder_that_cannot_be(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"cannot be used .* set state\.dir"):
        Store(tmp_path / where)


def test_a_full_card_is_told_once_and_made_up_for_when_there_is_room(tmp_path: Path) -> None:
    write(tmp_path, book(1))
    told: list[str] = []
    disk = FullDisk()
    store = Store(tmp_path, told.append, disk)
    store.load()
    assert not store.save(book(2))
    assert not store.save(book(3))
    assert len(told) == 1
    assert "No space left on device" in told[0]
    assert not (tmp_path / "sessions.json.tmp").exists()
    disk.full = False
    assert store.save(book(4))
    disk.full = True
    assert not store.save(book(5))
    assert len(told) == 2
    disk.full = False
    store.close()  # tries once more
    assert reload(tmp_path) == (book(5), None)


def test_that_all_is_on_disk_again_is_told_once_after_each_trouble(tmp_path: Path) -> None:
    told, well = list[str](), list[str]()
    disk = FullDisk()
    store = Store(tmp_path, told.append, disk, on_recovered=well.append)
    assert not store.save(book(1))
    disk.full = False
    assert well == []
    assert store.save(book(1))
    assert store.save(book(2))
    assert well == [f"{tmp_path}: all that is remembered is on disk again"]
    disk.full = True
    assert not store.save(book(3))
    assert store.save(book(2)), "the change was taken back: nothing is missing on disk"
    assert (len(told), len(well)) == (2, 2)
    store.close()


def test_save_soon_does_not_wait_and_the_last_one_counts(tmp_path: Path) -> None:
    disk = SlowDisk()
    store = Store(tmp_path, disk=disk)
    store.save_soon(book(1))
    assert disk.entered.wait(10)
    for number in range(2, 500):
        store.save_soon(book(number))
    disk.go.set()
    store.close()
    assert reload(tmp_path) == (book(499), None)
    assert disk.renames == ["sessions.json", "sessions.json.1", "sessions.json"]


def test_what_comes_while_it_is_held_is_one_write_at_the_end(tmp_path: Path) -> None:
    disk = SlowDisk()
    disk.go.set()
    store = Store(tmp_path, disk=disk)
    store.hold()
    for number in range(3):
        store.save_soon(book(number))
    assert not disk.entered.wait(0.2)
    store.close()
    assert reload(tmp_path) == (book(2), None)
    assert disk.renames == ["sessions.json"]


def test_a_write_that_failed_is_tried_again_before_anything_else_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.system.store._RETRY_S", 0.02)
    disk = FullDisk()
    told: list[str] = []
    store = Store(tmp_path, told.append, disk)
    store.save_soon(book(1))
    until(lambda: told)
    disk.full = False
    until((tmp_path / "sessions.json").exists)
    store.close()
    assert reload(tmp_path) == (book(1), None)


def test_a_folder_that_is_removed_is_made_and_claimed_again(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    write(folder, book(1))
    store = Store(folder)
    store.load()
    shutil.rmtree(folder)
    assert store.save(book(2))
    with pytest.raises(StateError, match="another pressel"):
        Store(folder)
    store.close()
    assert reload(folder) == (book(2), None)


def test_a_removed_folder_that_another_daemon_has_taken_is_left_to_it(tmp_path: Path) -> None:
    folder, told = tmp_path / "state", list[str]()
    store = Store(folder, told.append)
    shutil.rmtree(folder)
    other = Store(folder)
    assert not store.save(book(1))
    assert "another pressel" in told[0]
    assert other.save(book(2))
    store.close()
    other.close()
    assert reload(folder) == (book(2), None)


@pytest.mark.parametrize("file", ["older", "newer"])
def test_fields_of_other_versions(tmp_path: Path, file: str) -> None:
    fields = {"older": {}, "newer": {"wings": {"left": [1, 2.5, None]}}}[file]
    session = {"session_id": "s", "provider": "local"}
    (tmp_path / "sessions.json").write_bytes(
        msgspec.json.encode({"version": 1, "sessions": {"a/b": session}, **fields})
    )
    store = Store(tmp_path)
    found, notice = store.load()
    assert notice is None
    assert found == Book(sessions={"a/b": Session("s", "local")})
    assert store.save(msgspec.structs.replace(found, volume=7))
    store.close()
    kept = msgspec.json.decode((tmp_path / "sessions.json").read_bytes())
    assert {name: kept.get(name) for name in fields} == fields
    assert reload(tmp_path)[0].volume == 7


def test_what_is_forgotten_is_forgotten_in_fields_of_a_newer_version_too(tmp_path: Path) -> None:
    text = b'{"version":1,"sessions":{"a/b":{"session_id":"s","provider":"p"}},"diary":"my name is Ada"}'
    (tmp_path / "sessions.json").write_bytes(text)
    store = Store(tmp_path)
    store.load()
    assert store.save(Book())
    store.close()
    assert not [path for path in tmp_path.iterdir() if b"Ada" in path.read_bytes()]


def test_a_saved_book_is_never_overtaken_by_an_older_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(100):
        store.save_soon(book(2 * number))
        assert store.save(book(2 * number + 1))
        on_disk = msgspec.json.decode((tmp_path / "sessions.json").read_bytes(), type=Book)
        assert on_disk == book(2 * number + 1)
    store.close()
    assert reload(tmp_path) == (book(199), None)


def test_forgotten_words_are_in_no_older_generation(tmp_path: Path) -> None:
    write(tmp_path, book(1), book(2))
    (tmp_path / "sessions.json.bad-1").write_bytes(msgspec.json.encode(book(3)))
    store = Store(tmp_path)
    store.load()
    store.save_soon(Book(volume=2))
    store.save_soon(Book(sessions={"default/push_to_talk": Session("new", "local")}))
    store.close()
    assert not [path for path in tmp_path.iterdir() if b"Ada" in path.read_bytes()]
    assert reload(tmp_path)[0].sessions["default/push_to_talk"].session_id == "new"


def test_what_is_forgotten_on_a_full_card_is_forgotten_when_there_is_room(tmp_path: Path) -> None:
    write(tmp_path, book(1), book(2))
    disk = FullDisk()
    store = Store(tmp_path, lambda _: None, disk)
    store.load()
    assert not store.save(Book())
    disk.full = False
    assert store.save(Book(volume=1))
    store.close()
    assert not [path for path in tmp_path.iterdir() if b"Ada" in path.read_bytes()]


def test_a_save_that_failed_between_its_renames_is_made_up_for(tmp_path: Path) -> None:
    class Stumbling(Disk):
        renames = 0

        def rename(self, old: Path, new: Path) -> None:
            self.renames += 1
            if self.renames == 2:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            super().rename(old, new)

    write(tmp_path, book(1))
    store = Store(tmp_path, lambda _: None, Stumbling())
    store.load()
    assert not store.save(book(2))
    assert store.save(book(3))
    store.close()
    assert reload(tmp_path) == (book(3), None)


@pytest.mark.parametrize("change", [lambda: book(2), Book], ids=["a new turn", "forget"])
def test_a_power_cut_at_any_call_leaves_the_old_or_the_new(
    tmp_path: Path, change: Callable[[], Book]
) -> None:
    outcomes = []
    for calls in range(50):
        folder = tmp_path / str(calls)
        write(folder, book(0), book(1))
        disk = CutDisk(calls)
        store = Store(folder, disk=disk)
        store.load()
        try:
            done = store.save(change())
        except PowerCut:
            done = False
        os.close(store._lock_fd or -1)  # what the death of the process does
        found, notice = reload(folder)
        assert notice is None
        assert found in (book(1), change())
        outcomes.append(found == change())
        if done:
            break
    assert done
    assert outcomes[0] is False
    assert outcomes == sorted(outcomes), "once it is new it stays new"
    assert len(outcomes) > 6


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from device.core.sessions import Book
from device.system.store import Store
store = Store(Path(sys.argv[2]))
number = store.load()[0].volume or 0
while True:
    number += 1
    assert store.save(Book(volume=number))
    print(number, flush=True)
"""


def test_sigkill_at_any_moment_loses_nothing_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(7)  # noqa: S311  # repeatable on purpose
    known = 0
    for _ in range(12):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(ROOT), str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for _ in range(chance.randint(1, 60)):
            known = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        known = max([known, *map(int, writer.stdout.read().split())])
        writer.wait()
        writer.stdout.close()
        found, notice = reload(tmp_path)
        assert notice is None
        assert found.volume in (known, known + 1)
