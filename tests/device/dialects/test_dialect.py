"""Text from outside on one line."""

from device.dialects.dialect import printable


def test_text_from_outside_is_made_one_short_line() -> None:
    assert printable("a\x1b[31m\nb") == "a [31m b"
    assert printable("x" * 300, 10) == "x" * 10 + "…"
