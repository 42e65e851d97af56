"""The small brain: what it answers, what it keeps, and that it says when it does not understand."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from companion.local.brain.rules import HELP, Rules, answer
from companion.local.brain.story import STORY
from companion.local.items import Turn

NOW = datetime(2026, 3, 9, 16, 5, tzinfo=UTC)


def talk(*said: str) -> str:
    """Say the sentences one after the other; returns the last answer."""
    turns: list[Turn] = []
    reply = ""
    for text in said:
        turns.append(Turn("user", text))
        reply = " ".join(answer(turns, NOW))
        turns.append(Turn("assistant", reply))
    return reply


@pytest.mark.parametrize(
    ("said", "reply"),
    [
        (["what time is it"], "It is 4:05 pm."),
        (["what is the day to day"], "Today is Monday, March 9, 2026."),
        (["what day is it"], "Today is Monday, March 9, 2026."),
        (["what is twelve times seven"], "12 times 7 is 84."),
        (["my name is peter"], "Hello, Peter. Nice to meet you."),
        (["my name is peter", "what is my name"], "Your name is Peter."),
        (["my name is peter", "what if my name"], "Your name is Peter."),
        (["my name is peter", "do you remember my name"], "Your name is Peter."),
        (["my name is peter", "my name is mary ann and i am well", "who am i"], "Your name is Mary Ann."),
        (["what is my name"], "You have not told me your name."),
        (["my name is peter", "forget everything", "what is my name"], "You have not told me your name."),
        (["My favourite colour is blue.", "what is my favorite color"], "Your favorite color is blue."),
        (["my sister is anna", "my sister is emma", "who is my sister"], "Your sister is emma."),
        (["what is my favorite color"], "You have not told me your favorite color."),
        (
            ["remember that my key is under the mat", "we did i ask you to remember"],
            "You asked me to remember that your key is under the mat.",
        ),
        (["my name is peter", "what do you remember about me"], "Your name is Peter."),
        (["what did i tell you"], "You have not told me anything to remember."),
        (["what time is it", "say that again"], "It is 4:05 pm."),
        (["say that again"], "I have not said anything yet."),
        (["tell me a story"], " ".join(STORY)),
        (["continue"], "I had nothing more to say."),
        (["help me please"], " ".join(HELP)),
        (["my name is peter", "thank you"], "You are welcome, Peter."),
        (["hello there"], "Hello. What can I do for you?"),
        (["good bye"], "Goodbye."),
        (["stop"], "All right."),
    ],
)
def test_key_words_are_answered(said: list[str], reply: str) -> None:
    assert talk(*said) == reply


def test_what_is_not_understood_is_said_back() -> None:
    assert talk("purple monkey stance").startswith("I did not understand. I heard: purple monkey stance.")


def test_a_turn_without_words_is_admitted() -> None:
    assert answer([], NOW)[0] == "I did not hear anything."
    assert answer([Turn("user", "hello"), Turn("assistant", "Hello.")], NOW)[0] == "I did not hear anything."


def test_the_story_goes_on_where_it_was_cut() -> None:
    heard = f"{STORY[0]} {STORY[1]} Every evening"
    turns = [Turn("user", "tell me a story"), Turn("assistant", heard), Turn("user", "go on")]
    assert answer(turns, NOW) == STORY[2:]
    cut_early = [Turn("assistant", STORY[0][:12]), Turn("user", "go on")]
    assert answer(cut_early, NOW) == STORY


def test_seeded_turns_count_like_spoken_ones() -> None:
    seeded = [Turn("user", "My name is Peter."), Turn("assistant", "Hello."), Turn("user", "what is my name")]
    assert answer(seeded, NOW) == ("Your name is Peter.",)


def test_what_the_assistant_says_is_no_fact() -> None:
    turns = [Turn("assistant", "my name is robot"), Turn("user", "what is my name")]
    assert answer(turns, NOW) == ("You have not told me your name.",)


def test_the_port_yields_sentence_by_sentence() -> None:
    async def collect() -> list[str]:
        brain = Rules(lambda: NOW)
        said = [sentence async for sentence in brain.reply([Turn("user", "hello")], "")]
        await brain.close()
        return said

    assert asyncio.run(collect()) == ["Hello.", "What can I do for you?"]
