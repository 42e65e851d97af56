"""Sums as people say them and as the recogniser writes them."""

from __future__ import annotations

import pytest

from companion.local.brain.arithmetic import answer


@pytest.mark.parametrize(
    ("said", "reply"),
    [
        ("what is twelve times seven", "12 times 7 is 84."),
        ("with twenty five plus seventeen", "25 plus 17 is 42."),
        ("forty two divided by sex", "42 divided by 6 is 7."),
        ("one hundred minus thirty", "100 minus 30 is 70."),
        ("two plus three times four", "2 plus 3 times 4 is 14."),
        ("ten minus two minus three", "10 minus 2 minus 3 is 5."),
        ("one hundred and five plus two thousand three hundred", "105 plus 2300 is 2405."),
        ("to plus to", "2 plus 2 is 4."),
        ("three minus five", "3 minus 5 is minus 2."),
        ("ten divided by four", "10 divided by 4 is 2.5."),
        ("ten divided by three", "10 divided by 3 is about 3.33."),
        ("minus ten divided by three", None),
        ("12 * 7", "12 times 7 is 84."),
        ("six multiplied by seven", "6 times 7 is 42."),
        ("two million times three", "2000000 times 3 is 6000000."),
        ("seven divided by zero", "Nothing can be divided by zero."),
        ("twenty five", None),
        ("many times over", None),
        ("what time is it", None),
        ("five plus", None),
    ],
)
def test_a_sum_is_read_and_done(said: str, reply: str | None) -> None:
    assert answer(said) == reply
