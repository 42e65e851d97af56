"""The recogniser port, held by pocketsphinx: words as they come, in any pieces, turn after turn."""

from __future__ import annotations

import pytest

from companion.local.audio import ToEar
from companion.local.recogniser import Sphinx, Sphinxes
from tests.companion.talk import silence, speech


@pytest.fixture(scope="module")
def sphinx() -> Sphinx:
    return Sphinx()


def ear(text: str) -> bytes:
    return ToEar()(speech(text))


@pytest.mark.parametrize("size", [64, 3200, 1_000_000])
def test_the_pieces_do_not_matter(sphinx: Sphinx, size: int) -> None:
    sphinx.forget_speaker()
    pcm = ear("what is twelve times seven")
    for at in range(0, len(pcm), size):
        sphinx.feed(pcm[at : at + size])
    assert sphinx.finish().endswith("twelve times seven")


def test_a_turn_without_words_is_empty(sphinx: Sphinx) -> None:
    assert sphinx.finish() == ""
    sphinx.feed(b"")
    assert sphinx.finish() == ""
    sphinx.feed(ToEar()(silence(1000)))
    assert sphinx.finish() == ""


def test_a_reset_forgets_the_turn(sphinx: Sphinx) -> None:
    sphinx.feed(ear("my name is peter"))
    sphinx.reset()
    sphinx.reset()
    sphinx.feed(ear("what time is it"))
    assert sphinx.finish() == "what time is it"


def test_a_decoder_is_lent_again() -> None:
    pool = Sphinxes()
    one = pool.take()
    one.feed(ear("my name is peter"))
    pool.give_back(one)
    assert pool.take() is one
    assert one.finish() == ""
