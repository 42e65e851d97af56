"""Words from outside, made safe to keep and to show."""

from __future__ import annotations

_JOINERS = "\u200c\u200d"  # unprintable to Python, but letters need them; a terminal does not mind


def safe(text: str, limit: int = 10_000) -> str:
    """Return the first `limit` characters, with a space for each sign that does more than to be seen."""
    text = text[:limit]
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in _JOINERS else " " for char in text)
