"""The director's own faults: one plain line and exit status 1."""

from __future__ import annotations

import io
import signal
from typing import TYPE_CHECKING

import pytest

from demo.director import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_person_needs_a_keyboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(out=tmp_path, wav=False, mic=True, as_json=False) == 1
    assert capsys.readouterr().err == "demo: --mic needs a keyboard: run it in a terminal\n"


def test_a_folder_that_cannot_be_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(out=tmp_path / "file" / "out", wav=True, mic=False, as_json=False) == 1
    error = capsys.readouterr().err
    assert error.startswith("demo: ")
    assert error.count("\n") == 1
    assert str(tmp_path / "file") in error


def test_an_old_picture_does_not_pass_for_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "timeline.png").touch()
    (tmp_path / "notes.txt").touch()
    monkeypatch.setattr("sys.stdin", io.StringIO())
    main(out=tmp_path, wav=False, mic=True, as_json=False)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
