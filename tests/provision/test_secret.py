"""Secrets: read late, from where they are kept, and in no message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provision.errors import SecretError
from provision.secret import Secret

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_read_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")
    assert Secret("x: token", tmp_path, file="token").read() == "abc"


def test_a_command_runs_in_the_inventorys_folder_without_a_shell(tmp_path: Path) -> None:
    (tmp_path / "a b").write_text("secret $HOME\n")
    assert Secret("x: token", tmp_path, command=["cat", "a b"]).read() == "secret $HOME"


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ({"file": "none"}, "x: token: the file .*/none is missing"),
        ({"file": "."}, "cannot be read: Is a directory"),
        ({"file": "empty"}, "gives nothing"),
        ({"file": "binary"}, "is not text"),
        ({"file": "long"}, "is longer than 64 KB"),
        ({"command": ["sh", "-c", "echo hush; exit 3"]}, "x: token: the command sh ended with status 3"),
        ({"command": ["no-such-program"]}, "the command no-such-program cannot be run: No such file"),
        ({"command": ["true"]}, "the command true gives nothing"),
        ({"command": ["printf", "\\377"]}, "prints what is not text"),
    ],
)
def test_what_cannot_be_read_is_named_and_not_quoted(
    tmp_path: Path, source: dict[str, str | list[str]], complaint: str
) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "long").write_text("x" * 70_000)
    with pytest.raises(SecretError, match=complaint) as raised:
        Secret("x: token", tmp_path, **source).read()  # type: ignore[arg-type]  # one of the two keywords
    assert "hush" not in str(raised.value)


def test_its_repr_names_the_place_alone(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc123")
    secret = Secret("x: token", tmp_path, file="token")
    assert secret.exists()
    assert secret.read() not in repr(secret)
    assert str(tmp_path / "token") in repr(secret)
    assert not Secret("x: token", tmp_path, file="none").exists()
