"""Sessions open, fail and go."""

from __future__ import annotations

from device.core import actions as a
from device.core import events as e
from device.core.moves import State
from device.core.sessions import Turn
from tests.device.core.stories import STORED, kinds, opened, pass_time, talk, to_speaking


def test_a_turn_that_ended_before_the_session_opened_is_sent_whole() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    assert c.handle(e.Released(1.0), 1.0) == [a.EndTurn(1.0)]
    assert c.handle(e.Released(1.0), 1.0) == []
    assert kinds(opened(c, now=2.5)) == ["Tell", "Remember", "AttachTurn"]
    assert c.state is State.AWAITING


def test_a_failed_attempt_waits_and_tries_again_without_end() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    assert c.handle(e.Lost(1, "no network"), 0.1) == [
        a.Hangup(1),
        a.Tell("warning", "no network; next attempt in 0.5 s"),
    ]
    assert c.state is State.RETRYING
    assert c.deadline == 0.6
    assert c.handle(e.Elapsed(), 0.5) == []
    assert kinds(c.handle(e.Elapsed(), 0.6)) == ["Connect"]
    for hour in range(1, 100):
        c.handle(e.Lost(c.attempt, "no network"), hour * 3600.0)
        assert c.state is State.RETRYING
        assert "Connect" in kinds(pass_time(c, hour * 3600.0 + 30.0))


def test_attempts_that_fail_are_followed_by_more_patient_ones_until_one_opens() -> None:
    c = talk()
    orders = c.handle(e.Pressed(0.0), 0.0)
    limits = []
    for n in range(1, 8):
        limits += [order.limit_s for order in orders if isinstance(order, a.Connect)]
        c.handle(e.Lost(n, "no answer"), n * 10.0)
        orders = c.handle(e.Pressed(n * 10.0 + 0.01), n * 10.0 + 0.01)
    assert limits == [2.0, 2.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    opened(c, now=81.0)
    orders = c.handle(e.Lost(8, "gone"), 100.0)
    assert orders[-1] == a.Connect(9, "sess_1", (), 2.0)


def test_a_time_that_the_server_names_is_obeyed_even_by_a_press_which_is_told() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    c.handle(e.Lost(1, "busy", retry_after_s=7.0), 0.0)
    assert c.deadline == 7.0
    told = c.handle(e.Pressed(1.0), 1.0)
    assert told == [a.Tell("warning", "the server asked for patience; next attempt in 6 s")]
    assert kinds(c.handle(e.Elapsed(), 7.0)) == ["Connect"]


def test_a_time_that_is_named_is_at_most_an_hour() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    c.handle(e.Lost(1, "busy", retry_after_s=1e9), 0.0)
    pass_time(c, 15.0)
    assert c.deadline == 3600.0


def test_a_fatal_failure_gives_up_with_its_reason() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    told = c.handle(e.Lost(1, "401: check the token", fatal=True), 0.1)
    assert told[-1] == a.Tell("error", "401: check the token")
    assert c.state is State.IDLE


def test_a_session_that_ends_with_a_time_to_come_again_is_not_dialled_sooner() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    told = c.handle(e.Lost(1, "1013", retry_after_s=1.0), 2.0)
    assert kinds(told)[-2:] == ["DetachTurn", "Tell"]
    assert (c.state, c.deadline) == (State.RETRYING, 3.0)
    assert kinds(c.handle(e.Elapsed(), 3.0)) == ["Connect"]


def test_a_session_lost_while_the_user_speaks_is_replaced_and_the_turn_sent_again() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    assert kinds(c.handle(e.Lost(1, "1006"), 2.0)) == ["Hangup", "Tell", "DetachTurn", "Connect"]
    assert opened(c)[-1] == a.AttachTurn(2)
    assert c.state is State.LISTENING


def test_nothing_is_said_twice_to_a_session_that_has_it() -> None:
    for rung, transcribed, last in (
        ("live", False, "RequestReply"),
        ("seeded", True, "RequestReply"),
        ("seeded", False, "AttachTurn"),
        ("fresh", True, "AttachTurn"),
    ):
        c = talk()
        c.handle(e.Pressed(0.0), 0.0)
        opened(c)
        c.handle(e.Released(2.0), 2.0)
        c.handle(e.TurnAccepted(1, "u1"), 2.1)
        if transcribed:
            c.handle(e.UserSaid(1, "u1", "hello"), 2.2)
        c.handle(e.Lost(1, "1006"), 2.3)
        assert kinds(opened(c, rung))[-1] == last, (rung, transcribed)


def test_nothing_of_a_reply_that_is_forgotten_while_it_sounds_is_kept() -> None:
    c = talk()
    to_speaking(c)
    assert kinds(c.handle(e.Forgotten(), 3.0)) == ["Forget", "Interrupt", "Hangup", "Tell"]
    assert c.handle(e.ReplyCut("r1", 500, 1000), 3.0) == []
    assert c.turns == ()


def test_a_fresh_session_is_not_credited_with_old_turns() -> None:
    c = talk(STORED)
    c.handle(e.Pressed(0.0), 0.0)
    opened(c, "fresh")
    assert c.turns == ()


def test_what_the_server_remembers_takes_the_place_of_the_device_s_own() -> None:
    c = talk(STORED)
    c.handle(e.Pressed(0.0), 0.0)
    opened(c, "live")
    told = c.handle(e.Restored(1, (Turn("user", "a"), Turn("assistant", "b"))), 1.0)
    assert kinds(told) == ["Tell", "Remember"]
    assert c.turns == (Turn("user", "a"), Turn("assistant", "b"))


def test_a_server_that_opens_and_falls_is_asked_at_once_and_then_with_pauses() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    opened(c, now=1.0)
    assert kinds(c.handle(e.Lost(1, "1011"), 1.1))[-1] == "Connect"
    opened(c, now=1.2)
    told = c.handle(e.Lost(2, "1011"), 1.3)
    assert kinds(told) == ["Hangup", "DetachTurn", "Tell"]
    assert c.deadline == 1.8
    assert kinds(c.handle(e.Elapsed(), 1.8)) == ["Connect"]
    opened(c, now=2.0)
    assert c.handle(e.Lost(3, "1011"), 2.1)[-1] == a.Tell("warning", "1011; next attempt in 1.0 s")


def test_a_session_that_was_good_for_a_while_is_replaced_at_once() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    opened(c, now=1.0)
    c.handle(e.Lost(1, "1011"), 1.1)
    opened(c, now=1.2)
    assert kinds(c.handle(e.Lost(2, "1011"), 60.0))[-1] == "Connect"


def test_a_turn_that_the_server_took_and_could_not_confirm_is_not_said_twice() -> None:
    c = talk(STORED)
    c.handle(e.Pressed(0.0), 0.0)
    c.handle(e.TurnHeld(1, "u_old", "hello"), 0.5)  # restored before the turn
    opened(c, "live", now=1.0)
    c.handle(e.SpeechStarted("local"), 1.5)
    c.handle(e.Released(2.0), 2.0)
    c.handle(e.Lost(1, "1006"), 2.2)
    c.handle(e.TurnHeld(2, "u_old", "hello"), 2.3)
    c.handle(e.TurnHeld(2, "u_new", "what time is it"), 2.3)
    told = opened(c, "live", now=2.4)
    assert kinds(told) == ["Tell", "Remember", "Quote", "Remember", "CloseTurn", "RequestReply"]
    assert c.turns[-1] == Turn("user", "what time is it")


def test_a_turn_that_never_reached_the_server_is_sent_again() -> None:
    c = talk(STORED)
    c.handle(e.Pressed(0.0), 0.0)
    c.handle(e.TurnHeld(1, "u_old", "hello"), 0.5)
    opened(c, "live", now=1.0)
    c.handle(e.SpeechStarted("local"), 1.5)
    c.handle(e.Released(2.0), 2.0)
    c.handle(e.Lost(1, "1006"), 2.2)
    c.handle(e.TurnHeld(2, "u_old", "hello"), 2.3)
    assert kinds(opened(c, "live", now=2.4))[-1] == "AttachTurn"


def test_a_turn_that_no_session_was_given_yet_is_none_of_those_restored() -> None:
    c = talk(STORED)
    c.handle(e.Pressed(0.0), 0.0)
    c.handle(e.SpeechStarted("local"), 0.1)
    c.handle(e.Released(0.6), 0.6)  # while connecting, after a restart
    c.handle(e.TurnHeld(1, "u_old", "hello"), 0.7)
    assert kinds(opened(c, "live", now=1.0))[-1] == "AttachTurn"


def test_a_turn_that_was_confirmed_is_looked_for_by_its_name() -> None:
    for kept, then in (
        ("u_new", "RequestReply"),
        ("u_old", "AttachTurn"),
    ):  # or the server died before it saved
        c = talk(STORED)
        c.handle(e.Pressed(0.0), 0.0)
        c.handle(e.TurnHeld(1, "u_old", "hello"), 0.5)
        opened(c, "live", now=1.0)
        c.handle(e.SpeechStarted("local"), 1.5)
        c.handle(e.Released(2.0), 2.0)
        c.handle(e.TurnAccepted(1, "u_new"), 2.1)
        c.handle(e.Lost(1, "1006"), 2.2)
        c.handle(e.TurnHeld(2, kept), 2.3)
        assert kinds(opened(c, "live", now=2.4))[-1] == then


def test_what_is_known_of_the_server_s_turns_is_bounded() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    for n in range(300):
        c.handle(e.TurnHeld(1, f"u{n}"), 0.5)
    assert len(c._talk.restored) == 100
    opened(c)
    for n in range(300):
        c.handle(e.TurnHeld(1, f"v{n}"), 1.5)
    assert not c._talk.record.knows_held("v99")
    assert c._talk.record.knows_held("v100")


def test_a_refusal_while_it_speaks_is_an_error_and_ends_an_open_talk() -> None:
    c = talk(mode="open_mic", turn_end="server")
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    c.handle(e.ReplyStarted(1, "r1"), 2.0)
    c.handle(e.ReplySounded("r1"), 2.1)
    told = c.handle(e.Lost(1, "4001 account closed", fatal=True), 3.0)
    assert a.Tell("error", "lost the session while speaking: 4001 account closed") in told
    c.handle(e.ReplyHeard("r1"), 4.0)
    assert c.state is State.IDLE


def test_a_time_that_is_named_at_rest_or_while_it_speaks_is_obeyed_by_the_next_press() -> None:
    for rests in (True, False):
        c = talk()
        to_speaking(c)
        if rests:
            c.handle(e.ReplyHeard("r1"), 3.0)
        c.handle(e.Lost(1, "1013", retry_after_s=30.0), 4.0)
        c.handle(e.Pressed(5.0), 5.0)
        assert c.state is State.RETRYING
        assert kinds(pass_time(c, 34.0))[-1] == "Connect" or c.deadline is not None
