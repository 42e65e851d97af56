"""What the user has told in this conversation, read again from the turns each time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from companion.local.items import Turn

_NAME = re.compile(r"\b(?:my name is|my name's|i am called|i'm called|call me) (?P<name>[a-z][a-z' -]*)")
_MINE = re.compile(r"\bmy (?P<what>[a-z' ]+?) (?P<verb>is|are) (?P<value>.+)")
_NOTE = re.compile(r"\bremember (?:that )?(?P<note>(?!what\b).+)")
_FORGET = re.compile(r"\bforget (?:everything|it all|all)\b")
_QUESTION = re.compile(r"\b(?:what|what's|whats|who|where|when|which|how|do you know|can you tell)\b")
_NO_NAME = {
    "what",
    "not",
    "and",
    "please",
    "the",
    "a",
    "so",
    "but",
    "is",
    "it",
    "what's",
    "can",
    "do",
    "tell",
}
_SPELLED = {"favourite": "favorite", "colour": "color", "neighbour": "neighbor"}
_TURNED = {
    "my": "your",
    "mine": "yours",
    "i": "you",
    "me": "you",
    "am": "are",
    "i'm": "you're",
    "your": "my",
    "you": "I",
}


class Facts(NamedTuple):
    """`mine`: what is the user's, such as "favorite color" -> ("is", "blue"); `notes`: what to remember."""

    name: str | None
    mine: dict[str, tuple[str, str]]
    notes: list[str]


def spelled(text: str) -> str:
    """Return the text in lower case, without marks, as the recogniser's dictionary spells it."""
    words = re.sub(r"[^a-z0-9' +*/-]", " ", text.lower()).split()
    return " ".join(_SPELLED.get(word, word) for word in words)


def told(text: str) -> tuple[str, str] | None:
    """Return the kind and the text of the fact that a sentence tells, or None: ("name", "Peter")."""
    words = spelled(text)
    note = _NOTE.search(words)
    if note:
        return "note", note["note"]
    named = name_in(words)
    if named:
        return "name", named
    mine = _MINE.search(words)
    if mine and mine["what"] != "name" and not _QUESTION.search(words[: mine.start()]):
        return "mine", f"{mine['what']}|{mine['verb']}|{mine['value']}"
    return None


def name_in(words: str) -> str | None:
    """Return the name that the words give, at most two words of it."""
    found = _NAME.search(words)
    kept: list[str] = []
    for word in found["name"].split() if found else []:
        if word in _NO_NAME or len(kept) == 2:
            break
        kept.append(word.capitalize())
    return " ".join(kept) or None


def gather(turns: Sequence[Turn]) -> Facts:
    """Return all that was told since the user last said "forget everything"."""
    facts = Facts(None, {}, [])
    for turn in turns:
        if turn.role != "user":
            continue
        if _FORGET.search(spelled(turn.text)):
            facts = Facts(None, {}, [])
        facts = _with(facts, told(turn.text))
    return facts


def forgets(text: str) -> bool:
    """Tell whether the user asks to forget."""
    return bool(_FORGET.search(spelled(text)))


def turned(text: str) -> str:
    """Return the user's words as the other side says them: "my key" becomes "your key"."""
    return " ".join(_TURNED.get(word, word) for word in text.split())


def _with(facts: Facts, found: tuple[str, str] | None) -> Facts:
    match found:
        case ("name", name):
            return facts._replace(name=name)
        case ("note", note):
            return facts._replace(notes=[*facts.notes, note])
        case ("mine", packed):
            what, verb, value = packed.split("|")
            return facts._replace(mine={**facts.mine, what: (verb, value)})
    return facts
