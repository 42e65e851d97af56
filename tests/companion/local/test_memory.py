"""Sessions on disk: kept, bounded, private, and forgotten in time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from companion.local.items import Item, Mark
from companion.local.memory import KEEP_ITEMS, Memory, Remembered

if TYPE_CHECKING:
    from pathlib import Path

ID = "sess_0123456789abcdef"


def session(items: int = 1) -> Remembered:
    marks = [Mark(900, "Hello.")]
    kept = [
        Item(id=f"item_{n}", role="assistant", kind="output_audio", text="Hi.", audio_ms=900.5, marks=marks)
        for n in range(items)
    ]
    return Remembered(ID, "kitchen", 5.0, kept)


def test_a_session_comes_back_as_it_was(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "sessions")
    assert memory.load(ID, "kitchen") is None
    memory.save(session())
    assert memory.load(ID, "kitchen") == session()
    [file] = (tmp_path / "sessions").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_another_device_does_not_get_it(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    memory.save(session())
    assert memory.load(ID, "hall") is None


@pytest.mark.parametrize(
    "name", ["", "../x", "sess_../../x", f"{ID}/..", "sess_short", f"{ID}\n", "sess_" + "x" * 99]
)
def test_a_name_that_is_no_session_reaches_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.json").write_text("{}")
    assert Memory(tmp_path / "sessions").load(name, "kitchen") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"session_id":1}', "\0\0"])
def test_a_torn_file_is_left_aside(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / f"{ID}.json"
    path.write_text(text)
    assert Memory(tmp_path).load(ID, "kitchen") is None
    assert ID in caplog.text
    assert path.read_text() == text


def test_only_the_newest_items_are_kept(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    memory.save(session(KEEP_ITEMS + 5))
    kept = memory.load(ID, "kitchen")
    assert kept
    assert len(kept.items) == KEEP_ITEMS
    assert kept.items[0].id == "item_5"


def test_old_sessions_are_forgotten(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    memory.save(session())
    os.utime(tmp_path / f"{ID}.json", (1000, 1000))
    assert memory.forget(before=999) == 0
    assert memory.forget(before=1001) == 1
    assert memory.load(ID, "kitchen") is None
