"""The database as a file: whose it is, what is refused, what survives."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import OperationalError

from companion.access.tables import VERSION, open_database, why
from companion.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def test_it_is_for_the_owner_alone_with_all_that_sqlite_puts_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "state" / "companion.db"
    engine = open_database(path)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        modes = {one.name: one.stat().st_mode & 0o777 for one in path.parent.iterdir()}
    engine.dispose()
    assert modes["companion.db"] == 0o600
    assert "companion.db-wal" in modes
    assert set(modes.values()) == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_its_folder_may_have_any_name(tmp_path: Path) -> None:
    path = tmp_path / "a b?mode=memory#100%" / "companion.db"
    open_database(path).dispose()
    assert path.stat().st_size > 0
    assert [one.name for one in tmp_path.iterdir()] == ["a b?mode=memory#100%"]


def test_a_file_that_is_no_database_is_named_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "companion.db"
    path.write_text("these are my notes, do not overwrite them" * 100)
    with pytest.raises(
        ConfigError, match=r"companion\.db cannot be used: file is not a database; put a backup"
    ):
        open_database(path)
    assert path.read_text().startswith("these are my notes")


def test_a_database_of_a_newer_pressel_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "companion.db"
    with sqlite3.connect(path) as one:
        one.execute(f"PRAGMA user_version = {VERSION + 1}")
    one.close()
    with pytest.raises(ConfigError, match=rf"is of version {VERSION + 1}; this pressel knows {VERSION}"):
        open_database(path)


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "companion.db"
    with sqlite3.connect(path) as one:
        one.execute("CREATE TABLE photos (name TEXT)")
    one.close()
    with pytest.raises(ConfigError, match=r"companion\.db cannot be used: it is another program's"):
        open_database(path)
    with sqlite3.connect(path) as one:
        assert one.execute("SELECT name FROM sqlite_master").fetchall() == [("photos",)]
    one.close()


def test_a_backup_that_was_put_back_is_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "companion.db"
    open_database(path).dispose()
    path.chmod(0o644)
    open_database(path).dispose()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_is_told_with_its_mend(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "companion.db")
    with engine.begin() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(OperationalError) as caught:
            connection.exec_driver_sql("CREATE TABLE more AS SELECT zeroblob(100000)")
    engine.dispose()
    assert why(caught.value) == "database or disk is full; make room on the disk"


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot be used: (Not a directory|File exists)"):
        open_database(tmp_path / "file" / "companion.db")
