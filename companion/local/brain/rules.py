"""A small honest brain without a model: key words in, plain sentences out, and no pretence."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

from companion.local.brain import arithmetic
from companion.local.brain.facts import Mine, Name, Note, forgets, gather, spelled, told
from companion.local.brain.story import STORY

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from companion.local.brain.facts import Fact, Facts
    from companion.local.items import Turn

HELP = (
    "I am a small voice on this machine, without a language model.",
    "I can tell the time and the date, do sums, and tell a story.",
    "I can keep your name and what you ask me to remember, and say things again.",
)


def _has(pattern: str) -> Callable[[str], bool]:
    found = re.compile(rf"\b(?:{pattern})\b")
    return lambda words: bool(found.search(words))


_AGAIN = _has(r"again|repeat")
_STORY = _has(r"story|stories|tale")
_ON = _has(r"go on|carry on|continue|keep going")
_RECALL = _has(
    r"(?:did|have) i (?:\w+ ){0,2}?(?:tell|told|ask|asked|say|said)|do you (?:remember|know about)|about me"
)
_WHO = _has(r"who am i|do you know me")
_TIME = _has(r"time|clock")
_DATE = _has(r"date|today|(?:what|which|tell).*(?:day|month|year)|day to day")
_HELP = _has(r"help|can you do|do for me|who are you|what are you")
_HELLO = _has(r"hello|hi|hey|good morning|good evening")
_THANKS = _has(r"thank you|thanks")
_BYE = _has(r"goodbye|good bye|bye|good night")
_STOP = _has(r"stop|quiet|enough|never mind")


class Rules:
    """A Brain by key words. `clock` gives the local time."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now().astimezone()) -> None:
        self._clock = clock

    async def reply(self, turns: Sequence[Turn], instructions: str) -> AsyncGenerator[str]:  # noqa: ARG002 - the port
        for sentence in answer(turns, self._clock()):
            yield sentence

    async def close(self) -> None:
        """Hold nothing."""


def answer(turns: Sequence[Turn], now: datetime) -> tuple[str, ...]:
    """Return the sentences that answer the newest turn of the user."""
    if not turns or turns[-1].role != "user":
        return ("I did not hear anything.", "Say help, and I tell what I can do.")
    text = turns[-1].text
    words = spelled(text)
    return (
        _remembers(text, words, turns)
        or _sums(words)
        or _tells(words, turns)
        or _clocks(words, now)
        or _repeats(words, turns)
        or _manners(words, gather(turns).name)
        or ("I did not understand.", f"I heard: {text}.", "Say help, and I tell what I can do.")
    )


def _remembers(text: str, words: str, turns: Sequence[Turn]) -> tuple[str, ...]:
    if forgets(text):
        return ("I have forgotten what you told me.",)
    return _takes(told(text)) or _recalls(words, gather(turns))


def _takes(fact: Fact | None) -> tuple[str, ...]:
    match fact:
        case Name(name):
            return (f"Hello, {name}.", "Nice to meet you.")
        case Mine() | Note():
            return (f"I will remember that {fact.said()}.",)
    return ()


def _recalls(words: str, facts: Facts) -> tuple[str, ...]:
    if _RECALL(words):
        return _all(facts)
    if "my name" in words or _WHO(words):
        return (f"Your name is {facts.name}.",) if facts.name else ("You have not told me your name.",)
    return _owned(words, facts)


def _owned(words: str, facts: Facts) -> tuple[str, ...]:
    asked = re.search(r"\bmy (?P<what>[a-z' ]+)$", words)
    for fact in reversed(facts.mine):
        if f"my {fact.what}" in words:
            return (_sentence(fact.said()),)
    return (f"You have not told me your {asked['what']}.",) if asked else ()


def _all(facts: Facts) -> tuple[str, ...]:
    said = [f"Your name is {facts.name}."] if facts.name else []
    said += [_sentence(fact.said()) for fact in facts.mine]
    said += [f"You asked me to remember that {note.said()}." for note in facts.notes]
    return tuple(said) or ("You have not told me anything to remember.",)


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _sums(words: str) -> tuple[str, ...]:
    found = arithmetic.answer(words)
    return (found,) if found else ()


def _tells(words: str, turns: Sequence[Turn]) -> tuple[str, ...]:
    if _ON(words):
        return _rest_of_story(_last_reply(turns)) or ("I had nothing more to say.",)
    return STORY if _STORY(words) else ()


def _repeats(words: str, turns: Sequence[Turn]) -> tuple[str, ...]:
    if not _AGAIN(words):
        return ()
    last = _last_reply(turns)
    return (last,) if last else ("I have not said anything yet.",)


def _last_reply(turns: Sequence[Turn]) -> str:
    return next((turn.text for turn in reversed(turns) if turn.role == "assistant"), "")


def _rest_of_story(heard: str) -> tuple[str, ...]:
    """Return the story from the sentence in which it was interrupted."""
    for place, sentence in enumerate(STORY):
        if sentence not in heard:
            begun = STORY[place - 1] in heard if place else bool(heard) and STORY[0].startswith(heard)
            return STORY[place:] if begun else ()
    return ()


def _clocks(words: str, now: datetime) -> tuple[str, ...]:
    if _TIME(words):
        return (f"It is {now.hour % 12 or 12}:{now:%M} {'am' if now.hour < 12 else 'pm'}.",)
    if _DATE(words):
        return (f"Today is {now:%A}, {now:%B} {now.day}, {now.year}.",)
    return ()


def _manners(words: str, name: str | None) -> tuple[str, ...]:
    to = f", {name}" if name else ""
    if _HELP(words):
        return HELP
    if _THANKS(words):
        return (f"You are welcome{to}.",)
    if _BYE(words):
        return (f"Goodbye{to}.",)
    if _STOP(words):
        return ("All right.",)
    return (f"Hello{to}.", "What can I do for you?") if _HELLO(words) else ()
