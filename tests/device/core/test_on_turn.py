"""The user speaks, and the server hears."""

from __future__ import annotations

from device.core import actions as a
from device.core import events as e
from device.core.moves import State
from tests.device.core.stories import kinds, opened, talk, to_speaking


def test_a_short_press_without_speech_says_nothing_to_the_server() -> None:
    c = talk()
    to_speaking(c)
    assert kinds(c.handle(e.Pressed(3.0), 3.0)) == ["Interrupt", "BeginTurn", "AttachTurn"]
    assert c.handle(e.Released(3.1), 3.1) == [a.DiscardTurn()]
    assert c.state is State.READY


def test_a_short_press_with_speech_counts() -> None:
    c = talk()
    to_speaking(c)
    c.handle(e.Pressed(3.0), 3.0)
    c.handle(e.SpeechStarted("local"), 3.1)
    assert c.handle(e.Released(3.2), 3.2) == [a.EndTurn(3.2)]


def test_an_open_talk_is_half_duplex_with_a_tail() -> None:
    c = talk(mode="open_mic", turn_end="server")
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    c.handle(e.SpeechStarted("server"), 1.2)
    c.handle(e.SpeechEnded("server"), 2.0)
    assert c.state is State.AWAITING
    c.handle(e.ReplyStarted(1, "r1"), 2.1)
    assert c.handle(e.ReplySounded("r1"), 2.2) == [a.CloseTurn()]
    assert c.handle(e.SpeechStarted("server"), 2.5) == []
    c.handle(e.ReplyEnded(1, "r1", audio=True), 3.0)
    assert c.handle(e.ReplyHeard("r1"), 5.0)[-2:] == [a.BeginTurn(5.0, -250, "open talk"), a.AttachTurn(1)]


def test_with_echo_cancelled_the_user_speaks_over_the_reply() -> None:
    c = talk(mode="open_mic", turn_end="server", half_duplex=False)
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    c.handle(e.ReplyStarted(1, "r1"), 2.1)
    assert c.handle(e.ReplySounded("r1"), 2.2) == []
    assert c.handle(e.SpeechStarted("local"), 2.4) == []
    told = c.handle(e.SpeechStarted("server"), 2.5)
    assert told == [a.Interrupt(1), a.AdvanceTurn(2.5, 1500)]  # what was answered is not sent again
    assert c.state is State.LISTENING


def test_the_device_s_own_ear_ends_a_turn_in_an_open_talk() -> None:
    c = talk(mode="open_mic", turn_end="client")
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    assert c.handle(e.SpeechEnded("local"), 1.1) == []
    c.handle(e.SpeechStarted("local"), 1.2)
    assert c.handle(e.SpeechEnded("server"), 2.0) == []
    assert c.handle(e.SpeechEnded("local"), 2.0) == [a.EndTurn(2.0)]
    assert c.state is State.AWAITING


def test_a_user_who_speaks_over_a_reply_is_listened_to_where_the_server_has_ears() -> None:
    c = talk(mode="open_mic", turn_end="server", half_duplex=False)
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    c.handle(e.ReplyStarted(1, "r1"), 2.2)
    c.handle(e.ReplySounded("r1"), 2.3)
    assert kinds(c.handle(e.Withdrawn(1), 3.0)) == ["Interrupt"]
    assert c.state is State.LISTENING


def test_a_turn_that_the_server_s_ear_has_taken_is_not_said_twice() -> None:
    for rung, transcribed, last in (
        ("live", False, "RequestReply"),
        ("seeded", True, "RequestReply"),
        ("seeded", False, "AttachTurn"),
    ):
        c = talk(mode="open_mic", turn_end="server")
        c.handle(e.Pressed(0.0), 0.0)
        opened(c)
        c.handle(e.SpeechStarted("server"), 1.2)
        c.handle(e.SpeechEnded("server"), 2.0)
        c.handle(e.TurnAccepted(1, "u1"), 2.1)
        if transcribed:
            c.handle(e.UserSaid(1, "u1", "hello"), 2.2)
        c.handle(e.Lost(1, "1006"), 2.3)
        assert kinds(opened(c, rung, now=2.5))[-1] == last, (rung, transcribed)


def test_what_is_said_after_the_server_has_taken_a_turn_is_sent() -> None:
    c = talk(mode="open_mic", turn_end="server")
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    c.handle(e.SpeechStarted("server"), 1.2)
    c.handle(e.SpeechEnded("server"), 2.0)
    c.handle(e.TurnAccepted(1, "u1"), 2.1)
    c.handle(e.SpeechStarted("server"), 2.2)
    assert c.state is State.LISTENING
    c.handle(e.Lost(1, "1006"), 2.3)
    assert opened(c, "live", now=2.5)[-1] == a.AttachTurn(2)


def test_with_echo_cancelled_each_turn_of_an_open_uplink_begins_anew() -> None:
    c = talk(mode="open_mic", turn_end="server", half_duplex=False)
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    c.handle(e.SpeechStarted("server"), 1.2)
    c.handle(e.SpeechEnded("server"), 2.0)
    c.handle(e.ReplyStarted(1, "r1"), 2.1)
    c.handle(e.ReplySounded("r1"), 2.2)
    c.handle(e.ReplyEnded(1, "r1", audio=True), 3.0)
    assert c.handle(e.ReplyHeard("r1"), 4.0)[-1] == a.AdvanceTurn(4.0, 500)
