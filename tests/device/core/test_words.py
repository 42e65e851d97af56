"""Words that steer a terminal, or are too many."""

import pytest

from device.core.words import safe


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("plain words, with é and 你好", "plain words, with é and 你好"),
        ("\x1b[2Jgone\r\n\x07", " [2Jgone   "),
        ("\u202edesrever", " desrever"),
        ("क्\u200dष", "क्\u200dष"),
        ("\udcff", " "),
        ("x" * 1_000_000, "x" * 10_000),
    ],
)
def test_words_are_safe_to_show(said: str, shown: str) -> None:
    assert safe(said) == shown
