"""What the user has told in this conversation, read again from the turns each time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from companion.local.items import Turn

_NAME = re.compile(r"\b(?:my name is|my name's|i am called|i'm called|call me) (?P<name>[a-z][a-z' -]*)")
_MINE = re.compile(r"\bmy (?P<what>[a-z' ]+?) (?P<verb>is|are) (?P<value>.+)")
_NOTE = re.compile(r"(?<!do you )\bremember (?:that )?(?P<note>(?!what\b).+)")
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


class Name(NamedTuple):
    """What the user is called."""

    name: str


class Mine(NamedTuple):
    """What is the user's: "my favorite color" "is" "blue"."""

    what: str
    verb: str
    value: str

    def said(self) -> str:
        """Return the fact as the other side says it."""
        return f"your {self.what} {self.verb} {turned(self.value)}"


class Note(NamedTuple):
    """What the user asked to remember."""

    text: str

    def said(self) -> str:
        """Return the note as the other side says it."""
        return turned(self.text)


Fact = Name | Mine | Note


class Facts(NamedTuple):
    """All that was told, newest last."""

    name: str | None = None
    mine: tuple[Mine, ...] = ()
    notes: tuple[Note, ...] = ()


def spelled(text: str) -> str:
    """Return the text in lower case, without marks, as the recogniser's dictionary spells it."""
    words = re.sub(r"[^a-z0-9' +*/-]", " ", text.lower()).split()
    return " ".join(_SPELLED.get(word, word) for word in words)


def told(text: str) -> Fact | None:
    """Return the fact that a sentence tells, or None."""
    words = spelled(text)
    note = _NOTE.search(words)
    if note:
        return Note(note["note"])
    named = name_in(words)
    if named:
        return Name(named)
    mine = _MINE.search(words)
    if mine and mine["what"] != "name" and not _QUESTION.search(words[: mine.start()]):
        return Mine(mine["what"], mine["verb"], mine["value"])
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
    facts = Facts()
    for turn in turns:
        if turn.role == "user":
            facts = _with(Facts() if forgets(turn.text) else facts, told(turn.text))
    return facts


def forgets(text: str) -> bool:
    """Tell whether the user asks to forget."""
    return bool(_FORGET.search(spelled(text)))


def turned(text: str) -> str:
    """Return the user's words as the other side says them: "my key" becomes "your key"."""
    return " ".join(_TURNED.get(word, word) for word in text.split())


def _with(facts: Facts, fact: Fact | None) -> Facts:
    match fact:
        case Name(name):
            return facts._replace(name=name)
        case Note():
            return facts._replace(notes=(*facts.notes, fact))
        case Mine():
            others = tuple(known for known in facts.mine if known.what != fact.what)
            return facts._replace(mine=(*others, fact))
    return facts
