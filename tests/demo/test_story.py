"""Spans and lines out of a journal."""

from __future__ import annotations

from demo.story import Span, tell
from tests.demo import scenes


def test_states_presses_and_the_dead_daemon_become_spans() -> None:
    story = tell(scenes.events())
    assert story.states[0] == Span(10.0, 11.01, "idle")
    assert [span.name for span in story.states[-2:]] == ["speaking", "ready"]
    assert [(span.start, span.end) for span in story.presses] == [
        (11.0, 13.0),
        (17.0, 19.0),
        (23.5, 25.0),
        (28.5, 30.5),
    ]
    assert story.dead == [Span(27.0, 27.9, "no daemon")]
    assert story.restarted_at() == 27.9


def test_no_state_lasts_over_the_kill() -> None:
    for span in tell(scenes.events()).states:
        assert not (span.start < 27.5 < span.end), span


def test_lines_stand_where_they_were_heard() -> None:
    lines = tell(scenes.events()).lines
    assert [(line.role, line.start) for line in lines[:2]] == [("user", 11.1), ("assistant", 13.5)]


def test_a_reply_that_was_killed_keeps_the_words_that_had_time_to_sound() -> None:
    events = [
        {"event": "state", "t": 1.0, "state": "speaking", "from": "awaiting"},
        {
            "event": "transcript",
            "t": 1.0,
            "role": "assistant",
            "text": "one two three four five",
            "final": False,
        },
        {"event": "kill", "t": 1.6},
    ]
    assert [line.text for line in tell(events).lines] == ["one two …"]


def test_an_empty_journal_is_an_empty_story() -> None:
    story = tell([])
    assert (story.states, story.lines, story.end, story.restarted_at()) == ([], [], 0.0, None)
