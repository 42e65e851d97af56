"""The words of `run` become a shell's line."""

from __future__ import annotations

import pytest

from provision.fleet.run import command_line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["echo", "a b", "$HOME"], "echo 'a b' '$HOME'"),
        (["journalctl -u pressel | tail"], "journalctl -u pressel | tail"),
    ],
)
def test_several_words_are_quoted_and_one_is_a_line(words: list[str], line: str) -> None:
    assert command_line(words) == line
