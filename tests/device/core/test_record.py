"""What is known of a conversation, across sessions."""

from __future__ import annotations

from device.core import actions as a
from device.core.record import Record
from device.core.sessions import Session, Turn

STORED = Session("sess_1", "local", (Turn("user", "hello"),), heard_ms=300)


def test_what_was_stored_is_the_beginning() -> None:
    record = Record(STORED, 20)
    assert (record.session_id, record.turns) == ("sess_1", STORED.turns)
    assert record.kept() == a.Remember("sess_1", "local", STORED.turns, 300)
    assert Record(None, 20).kept() == a.Remember("", "", (), 0)


def test_a_fresh_session_knows_nothing_of_what_was_said_before() -> None:
    record = Record(STORED, 20)
    record.open("sess_2", "speko", "seeded")
    assert record.turns == STORED.turns
    record.open("sess_3", "speko", "fresh")
    assert record.kept() == a.Remember("sess_3", "speko", (), 300)


def test_words_are_shown_and_kept_and_blank_ones_only_kept() -> None:
    record = Record(None, 20)
    record.place("u1", "user")
    assert not record.has("u1")
    assert record.note("u1", "user", "hi") == [a.Quote("user", "hi"), record.kept()]
    assert record.has("u1")
    assert record.note("u2", "user", " ") == [record.kept()]
    record.restore(STORED.turns)
    assert record.turns == STORED.turns
