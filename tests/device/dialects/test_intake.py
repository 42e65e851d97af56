"""What a server says, made safe: names used twice, words that steer a terminal, amounts without end."""

from __future__ import annotations

import pytest

from device.core import events as e
from device.core.sessions import Turn
from device.dialects.dialect import ReplyAudio
from device.dialects.intake import Intake


def started(intake: Intake, theirs: str) -> str:
    """Have a reply begin and return its name."""
    event = intake.fact(e.ReplyStarted(2, theirs), 0.0)
    assert isinstance(event, e.ReplyStarted)
    return event.reply_id


def test_a_reply_keeps_its_name_from_its_first_sound_to_its_end() -> None:
    intake = Intake(2)
    assert intake.sound(ReplyAudio("r", "i", b"\0\0")) == ReplyAudio("2.1", "i", b"\0\0")
    assert started(intake, "r") == "2.1"
    assert intake.fact(e.ReplyText(2, "r", "hello"), 0.0) == e.ReplyText(2, "2.1", "hello")
    assert intake.fact(e.ReplyEnded(2, "r", audio=True), 0.0) == e.ReplyEnded(2, "2.1", audio=True)
    assert intake.theirs("2.1") == "r"


def test_an_id_that_is_used_again_is_another_reply() -> None:
    intake = Intake(2)
    assert [started(intake, "r"), started(intake, "r")] == ["2.1", "2.2"]
    assert intake.sound(ReplyAudio("r", "i", b"")).reply_id == "2.2"
    assert intake.theirs("2.1") == ""


def test_the_same_id_in_two_sessions_is_two_replies() -> None:
    assert started(Intake(1), "r") != started(Intake(2), "r")


def test_names_are_forgotten_in_the_end() -> None:
    intake = Intake(1)
    for n in range(100_000):
        intake.fact(e.ReplyText(1, f"r{n}", "x"), 0.0)
    assert len(intake._names) == 64
    assert intake.theirs("1.100000") == "r99999"


def test_words_are_safe_to_show() -> None:
    assert Intake(1).fact(e.UserSaid(1, "i", "\x1b[2Jgone"), 0.0) == e.UserSaid(1, "i", " [2Jgone")
    text = Intake(1).fact(e.ReplyText(1, "r", "x" * 1_000_000), 0.0)
    assert isinstance(text, e.ReplyText)
    assert len(text.text) == 10_000


def test_what_is_restored_is_bounded() -> None:
    turns = tuple(Turn("user", f"\x1b{n}") for n in range(1000))
    event = Intake(1).fact(e.Restored(1, turns), 0.0)
    assert isinstance(event, e.Restored)
    assert len(event.turns) == 100
    assert event.turns[-1] == Turn("user", " 999")


def test_lines_are_bounded() -> None:
    intake = Intake(1)
    assert intake.fact(e.Troubled(1, "a\nb"), 0.0) == e.Troubled(1, "a b")
    lost = intake.fact(e.Lost(1, "x" * 9999), 0.0)
    assert isinstance(lost, e.Lost)
    assert len(lost.reason) == 501
    ended = intake.fact(e.ReplyEnded(1, "r", audio=False, trouble="a\nb"), 0.0)
    assert isinstance(ended, e.ReplyEnded)
    assert ended.trouble == "a b"


def test_tool_calls_are_bounded() -> None:
    calls = tuple(e.ToolCall(f"c{n}", "\x1bname") for n in range(1000))
    event = Intake(1).fact(e.ReplyEnded(1, "r", audio=False, tool_calls=calls), 0.0)
    assert isinstance(event, e.ReplyEnded)
    assert event.tool_calls == tuple(e.ToolCall(f"c{n}", " name") for n in range(8))


@pytest.mark.parametrize(("told", "believed"), [(50.0, None), (-1e300, None), (101.0, 101.0), (None, None)])
def test_an_end_that_has_passed_is_no_end(told: float | None, believed: float | None) -> None:
    event = Intake(1).fact(e.Opened(1, "s\n1", "p", "fresh", told), 100.0)
    assert event == e.Opened(1, "s 1", "p", "fresh", believed)


def test_other_facts_pass_as_they_are() -> None:
    assert Intake(1).fact(e.TurnAccepted(1, "i"), 0.0) == e.TurnAccepted(1, "i")
