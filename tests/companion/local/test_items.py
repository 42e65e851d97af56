"""What is kept of a reply that was cut, and where items go."""

from __future__ import annotations

import pytest

from companion.local.events import WireError
from companion.local.items import Conversation, Item, Mark, Turn


def reply() -> Item:
    marks = [Mark(1000, "One two three four."), Mark(3000, "Five six seven eight nine.")]
    text = " ".join(mark.text for mark in marks)
    return Item(id="item_r", role="assistant", kind="output_audio", text=text, audio_ms=3000, marks=marks)


@pytest.mark.parametrize(
    ("heard_ms", "words"),
    [
        (0, ""),
        (500, "One two"),
        (999, "One two three"),
        (1000, "One two three four."),
        (1001, "One two three four."),
        (2000, "One two three four. Five six"),
        (3000, "One two three four. Five six seven eight nine."),
    ],
)
def test_only_the_words_that_were_heard_are_kept(heard_ms: int, words: str) -> None:
    item = reply()
    item.cut(heard_ms)
    assert (item.text, item.audio_ms) == (words, heard_ms)


def test_a_second_cut_cuts_what_is_left() -> None:
    item = reply()
    item.cut(2000)
    item.cut(500)
    assert item.text == "One two"


def test_what_has_no_words_is_no_turn() -> None:
    conversation = Conversation([reply(), Item(id="item_u", role="user", kind="input_audio")])
    assert conversation.turns() == [Turn("assistant", reply().text)]
    assert conversation.last_id == "item_u"
    with pytest.raises(WireError):
        conversation.find("item_x", "code")
