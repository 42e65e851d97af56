"""Replies begin, sound, end and are cut."""

from __future__ import annotations

from device.core import actions as a
from device.core import events as e
from device.core.moves import State
from device.core.sessions import Turn
from tests.device.core.stories import kinds, opened, talk, to_speaking


def test_an_interrupted_reply_is_remembered_as_far_as_it_was_heard() -> None:
    c = talk()
    to_speaking(c)
    c.handle(e.UserSaid(c.attempt, "u1", "tell me a story"), 2.5)
    c.handle(e.Pressed(3.0), 3.0)
    told = c.handle(e.ReplyCut("r1", 500, 1000), 3.0)
    assert told[0] == a.Quote("assistant", "once upon a…")
    assert c.turns == (Turn("user", "tell me a story"), Turn("assistant", "once upon a…"))


def test_a_reply_whose_session_broke_is_heard_as_far_as_it_came() -> None:
    c = talk()
    to_speaking(c)
    told = c.handle(e.Lost(1, "1006"), 3.0)
    assert told[-1] == a.FinishReply("r1")
    assert c.state is State.SPEAKING
    assert a.Chime("lost") in c.handle(e.ReplyHeard("r1"), 4.0)
    assert c.state is State.IDLE
    assert c.turns[-1] == Turn("assistant", "once upon a time there was")


def test_an_open_talk_reconnects_by_itself_after_such_a_reply() -> None:
    c = talk(mode="open_mic", turn_end="server")
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    c.handle(e.ReplyStarted(1, "r1"), 2.0)
    c.handle(e.ReplySounded("r1"), 2.1)
    c.handle(e.Lost(1, "1006"), 3.0)
    assert kinds(c.handle(e.ReplyHeard("r1"), 4.0))[-2:] == ["BeginTurn", "Connect"]


def test_tools_are_refused_and_the_reply_asked_for() -> None:
    c = talk()
    to_speaking(c)
    calls = (e.ToolCall("c1", "lights"),)
    told = c.handle(e.ReplyEnded(1, "r1", audio=True, tool_calls=calls), 3.0)
    assert told == [a.RefuseTool(1, "c1", "lights"), a.RequestReply(1), a.FinishReply("r1")]
    c.handle(e.ReplyHeard("r1"), 4.0)
    assert c.state is State.AWAITING
    c.handle(e.ReplyStarted(1, "r2"), 4.1)
    assert c.handle(e.ReplyEnded(1, "r2", audio=False, trouble="the reply is failed"), 4.2)[0] == a.Tell(
        "warning", "the reply is failed"
    )
    assert c.state is State.READY


def test_two_replies_in_a_row_are_one_speaking() -> None:
    c = talk()
    to_speaking(c)
    c.handle(e.ReplyStarted(1, "r2"), 2.5)
    c.handle(e.ReplySounded("r2"), 2.9)
    c.handle(e.ReplyHeard("r1"), 3.0)
    assert c.state is State.SPEAKING
    c.handle(e.ReplyHeard("r2"), 4.0)
    assert c.state is State.READY


def test_a_reply_that_starts_while_the_button_is_held_is_refused() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    assert c.handle(e.ReplyStarted(1, "late"), 1.5) == [a.RefuseReply(1, "late")]
    assert c.handle(e.ReplyEnded(1, "late", audio=False), 1.6) == []


def test_a_reply_that_the_server_takes_back_is_silenced_at_once() -> None:
    c = talk()
    to_speaking(c)
    assert kinds(c.handle(e.Withdrawn(1), 3.0)) == ["Interrupt"]
    assert c.state is State.READY
    assert c.handle(e.Withdrawn(1), 3.1) == []


def test_a_reply_taken_back_before_it_sounded_makes_room_for_the_next() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    c.handle(e.Released(2.0), 2.0)
    assert c.handle(e.Withdrawn(1), 2.1) == []
    c.handle(e.ReplyStarted(1, "r1"), 2.2)
    assert kinds(c.handle(e.Withdrawn(1), 2.3)) == ["Interrupt"]
    assert c.state is State.AWAITING


def test_of_replies_without_number_the_last_are_refused() -> None:
    c = talk()
    to_speaking(c)
    told = [c.handle(e.ReplyStarted(1, f"more{n}"), 2.4)[0] for n in range(10)]
    assert [type(action).__name__ for action in told] == ["AdmitReply"] * 7 + ["RefuseReply"] * 3


def test_a_reply_that_was_to_follow_a_tool_and_cannot_is_told() -> None:
    c = talk()
    to_speaking(c)
    c.handle(e.ReplyEnded(1, "r1", audio=True, tool_calls=(e.ToolCall("c1", "lights"),)), 3.0)
    c.handle(e.Lost(1, "1006"), 3.1)
    assert a.Chime("lost") in c.handle(e.ReplyHeard("r1"), 4.0)
    assert c.state is State.IDLE
