"""Sums in spoken words: "what is twelve times seven", as a recogniser writes it down."""

from __future__ import annotations

import operator
import re
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *(
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ),
)
_TENS = {
    word: 20 + 10 * n
    for n, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"])
}
_SMALL = {word: n for n, word in enumerate(_ONES)}
_LARGE = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
# What the recogniser writes for numbers; believed only where a sum needs a number.
_SOUNDS_LIKE = {"to": 2, "too": 2, "for": 4, "sex": 6, "sics": 6, "ate": 8, "won": 1, "tree": 3, "nein": 9}
_OPERATORS: dict[str, tuple[str, int, Callable[[Fraction, Fraction], Fraction]]] = {
    "plus": ("plus", 1, operator.add),
    "minus": ("minus", 1, operator.sub),
    "less": ("minus", 1, operator.sub),
    "times": ("times", 2, operator.mul),
    "divided": ("divided by", 2, operator.truediv),
    "over": ("divided by", 2, operator.truediv),
}
_TOKEN = re.compile(r"\d+|[a-z]+|[+*/-]")
_SIGNS = {"+": "plus", "-": "minus", "*": "times", "/": "divided", "multiplied": "times"}

Token = Fraction | str


def answer(text: str) -> str | None:
    """Return the sum and its result as a sentence, or None when the text holds no sum."""
    terms = _sum(text)
    if terms is None:
        return None
    said = " ".join(_OPERATORS[term][0] if isinstance(term, str) else _spell(term) for term in terms)
    try:
        value = _evaluate(terms)
    except ZeroDivisionError:
        return "Nothing can be divided by zero."
    about = "is" if value.denominator == 1 or (value * 100).denominator == 1 else "is about"
    return f"{said} {about} {_spell(value)}."


def _sum(text: str) -> list[Token] | None:
    """Return number, operator, number, …: the longest sum around the first operator."""
    words = [_SIGNS.get(word, word) for word in _TOKEN.findall(text.lower()) if word != "by"]
    first = next((n for n, word in enumerate(words) if word in _OPERATORS), None)
    if first is None:
        return None
    left = _number_before(words, first)
    terms: list[Token] = [] if left is None else [left]
    at = first
    while terms and at < len(words) and words[at] in _OPERATORS:
        value, after = _number_at(words, at + 1)
        if value is None:
            break
        terms += [words[at], value]
        at = after
    return terms if len(terms) >= 3 else None


def _number_before(words: list[str], end: int) -> Fraction | None:
    for start in range(max(0, end - 8), end):
        value, after = _number_at(words, start)
        if value is not None and after == end:
            return value
    return None


def _number_at(words: list[str], start: int) -> tuple[Fraction | None, int]:
    """Return the number that begins at `start` and where it ends; None where there is none."""
    total = group = 0
    at = start
    while at < len(words):
        word = words[at]
        if word in _LARGE and at > start:
            group = max(group, 1) * _LARGE[word]
            if _LARGE[word] > 100:
                total, group = total + group, 0
        elif word == "and" and at > start and words[at - 1] in _LARGE:
            pass
        elif _value(word) is not None and _joins(words, start, at):
            group += _value(word) or 0
        else:
            break
        at += 1
    if at == start and start < len(words) and words[start] in _SOUNDS_LIKE:
        return Fraction(_SOUNDS_LIKE[words[start]]), start + 1
    return (Fraction(total + group), at) if at > start else (None, start)


def _value(word: str) -> int | None:
    return int(word) if word.isdigit() else _SMALL.get(word, _TENS.get(word))


def _joins(words: list[str], start: int, at: int) -> bool:
    """Tell whether a small number continues the one before: "twenty five" does, "five twenty" does not."""
    if at == start or words[at - 1] in _LARGE or words[at - 1] == "and":
        return True
    return words[at - 1] in _TENS and 0 < (_SMALL.get(words[at]) or 0) < 10


def _evaluate(terms: list[Token]) -> Fraction:
    rest = list(terms)
    for rank in (2, 1):
        at = 1
        while at < len(rest):
            _, its_rank, apply = _OPERATORS[str(rest[at])]
            if its_rank != rank:
                at += 2
                continue
            left, right = rest[at - 1], rest[at + 1]
            assert isinstance(left, Fraction)  # noqa: S101 - numbers and operators alternate
            assert isinstance(right, Fraction)  # noqa: S101
            rest[at - 1 : at + 2] = [apply(left, right)]
    result = rest[0]
    assert isinstance(result, Fraction)  # noqa: S101
    return result


def _spell(value: Fraction) -> str:
    if value.denominator == 1:
        return f"minus {-value.numerator}" if value < 0 else str(value.numerator)
    text = f"{abs(float(value)):.2f}".rstrip("0")
    return f"minus {text}" if value < 0 else text
