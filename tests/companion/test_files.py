"""Small files: whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from companion.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path


def test_the_file_is_replaced_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    path.chmod(0o644)
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "full").touch()
    with pytest.raises(OSError, match="directory"):
        write_atomic(tmp_path / "x", b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["x"]
