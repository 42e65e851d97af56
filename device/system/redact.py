"""Takes secrets and control characters out of text that a log, a report or a terminal is to show."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

REMOVED = "[removed]"
_LEAST_SECRET = 6  # characters; a shorter one would be found in every other word
# A name's ending: what stands before it in its word is kept anyway, and bounds keep the search linear.
_NAMED = r"(?:token(?!s(?:\b|_))|secret|passw|api[_-]?key|psk|credential|authorization|cookie)[\w-]{0,40}"
_NAME = re.compile(rf"(?i){_NAMED}$")
_IS = r"""\\?["']?\s*[=:]\s*"""
_QUOTED = r"""(?P<quote>\\?["'])(?:(?!(?P=quote))(?:\\.|[^\n])){3,}"""  # to its own quote, or the line's end
_BARE = r"""[^\s",;&{}]{3,}"""
_PATTERNS = (
    # What every secret of these services looks like, wherever it stands.
    (re.compile(r"\beyJ[\w-]{16,}(?:\.[\w-]*){0,2}"), REMOVED),  # a JWT, RFC 7519
    (re.compile(r"\b(?:sk|ek|pk|rk|gho|ghp|hf|pressel)[_-][\w-]{8,}"), REMOVED),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"), rf"\1 {REMOVED}"),  # RFC 9110, 11.4
    # Headers, to the end of the line.
    (
        re.compile(
            r"(?i)((?:authorization|cookie)\s*[=:]\s*+)(?!(?:bearer|basic)?\s*\[removed\]|\\?[\"'])[^\n]{3,}"
        ),
        rf"\1{REMOVED}",
    ),
    # What is said to be one.
    (re.compile(rf"(?i)({_NAMED}{_IS})(?:{_QUOTED})"), rf"\1\g<quote>{REMOVED}"),
    (re.compile(rf"(?i)({_NAMED}{_IS})(?!\[removed\]|(?:bearer|basic)\s|\\?[\"']){_BARE}"), rf"\1{REMOVED}"),
    # RFC 3986: what stands before the host, to the last @, and the query.
    (re.compile(r"(://)[^/?#\s\"]{1,500}@"), rf"\1{REMOVED}@"),
    (re.compile(r"(://)[^/?#\s\"@:]{0,100}:(?!\d+(?:[/?#]|\b))[^\s\"]{1,500}@"), rf"\1{REMOVED}@"),
    (re.compile(r"[\w.%+-]{1,100}:[^\s/]{1,200}@(?=[\w\[])"), f"{REMOVED}@"),  # the scheme was forgotten
    (re.compile(r"(://[^\s?#\"']{1,500})\?[^\s\"'#]+"), rf"\1?{REMOVED}"),
)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return text without the named secrets and without what looks like one."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _LEAST_SECRET:
            for form in {secret, quote(secret, safe="")}:
                text = text.replace(form, REMOVED)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def redact_all(value: Any, secrets: Iterable[str] = ()) -> Any:
    """Return a JSON value of which every string, keys too, is redacted, and what a key says is a secret."""
    return _redacted(value, tuple(secrets), named=False)


def _redacted(value: Any, known: tuple[str, ...], *, named: bool) -> Any:
    if isinstance(value, dict):
        return {
            redact(str(key), known): _redacted(inner, known, named=bool(_NAME.search(str(key))))
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_redacted(inner, known, named=named) for inner in value]
    if named and isinstance(value, str | int | float) and not isinstance(value, bool):
        return REMOVED
    return redact(value, known) if isinstance(value, str) else value


def visible(text: str, limit: int = 2000) -> str:
    """Return one line in which control characters are spelled out, so that a terminal obeys none of them."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    if cut.isprintable():
        return cut
    return "".join(char if char.isprintable() else _spelled(char) for char in cut)


def _spelled(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
