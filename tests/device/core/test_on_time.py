"""What comes by itself when its time has come."""

from __future__ import annotations

from itertools import pairwise

from device.core import actions as a
from device.core import events as e
from device.core.budget import Amount, Budget, Limits
from device.core.conversation import Conversation
from device.core.moves import State
from device.core.patience import Patience
from device.core.rules import Rules
from device.core.sessions import Turn
from tests.device.core.stories import kinds, opened, pass_time, talk, to_speaking


def test_what_was_said_waits_15_s_for_a_session_then_an_earcon_and_a_line_tell_so() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    c.handle(e.Lost(1, "no network"), 0.1)
    c.handle(e.Elapsed(), 0.6)
    c.handle(e.Released(2.0), 2.0)
    told = c.handle(e.Elapsed(), 15.0)
    assert kinds(told) == ["DiscardTurn", "Chime", "Tell"]
    assert told[1] == a.Chime("lost")
    assert c.state is State.CONNECTING
    assert c.handle(e.Released(16.0), 16.0) == []
    assert c.handle(e.SpeechStarted("local"), 16.0) == []
    assert c.handle(e.SpeechEnded("local"), 16.1) == []
    assert a.Chime("back") in opened(c, now=20.0)
    assert c.state is State.READY


def test_a_turn_that_outlasts_its_time_before_a_session_is_open_ends() -> None:
    c = talk(longest_turn_ms=5_000)
    c.handle(e.Pressed(0.0), 0.0)
    assert pass_time(c, 5.0)[0] == a.EndTurn(5.0)
    pass_time(c, 15.0)
    c.handle(e.Pressed(16.0), 16.0)
    c.handle(e.CardLost("microphone", "unplugged"), 17.0)
    assert pass_time(c, 40.0) == []


def test_a_reply_that_never_comes_is_given_up_in_one_line() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    c.handle(e.Released(2.0), 2.0)
    assert kinds(pass_time(c, 21.9)) == []
    assert "no reply within 20 s" in str(pass_time(c, 22.0))
    assert c.state is State.READY


def test_a_button_held_for_ever_ends_the_turn() -> None:
    c = talk(longest_turn_ms=10_000)
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    assert c.handle(e.Elapsed(), 10.0) == [a.EndTurn(10.0), a.Tell("info", "the turn is over after 10 s")]


def test_an_idle_session_is_hung_up() -> None:
    c = talk()
    to_speaking(c)
    c.handle(e.ReplyHeard("r1"), 4.0)
    assert kinds(pass_time(c, 63.9)) == []
    assert kinds(pass_time(c, 64.0)) == ["Hangup"]
    assert c.state is State.IDLE
    assert c.deadline is None


def test_a_session_near_its_end_is_left_in_a_silence_for_the_next_one() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    opened(c, ends_at=100.0)
    c.handle(e.Released(45.0), 45.0)
    c.handle(e.ReplyStarted(1, "r"), 46.0)
    c.handle(e.UserSaid(1, "u1", "hello"), 46.0)
    assert kinds(pass_time(c, 55.0)) == []  # the talk is not disturbed
    c.handle(e.ReplyEnded(1, "r", audio=False), 55.0)
    assert c.state is State.READY
    told = pass_time(c, 55.0)
    assert kinds(told) == ["Tell", "Hangup", "Connect"]
    assert told[-1] == a.Connect(2, "sess_1", (Turn("user", "hello"),))
    assert kinds(opened(c, "seeded", now=56.0, ends_at=4000.0)) == ["Tell", "Remember"]
    assert c.state is State.READY
    assert kinds(pass_time(c, 115.0)) == ["Hangup"]  # the silence goes on counting


def test_an_open_talk_changes_sessions_only_while_nobody_speaks() -> None:
    c = talk(mode="open_mic", turn_end="server")
    c.handle(e.Pressed(0.0), 0.0)
    opened(c, ends_at=21.0)
    c.handle(e.SpeechStarted("server"), 9.0)
    assert pass_time(c, 12.0) == []
    c.handle(e.SpeechEnded("server"), 12.0)
    c.handle(e.ReplyStarted(1, "r1"), 12.1)
    c.handle(e.ReplyEnded(1, "r1", audio=False), 12.2)
    assert kinds(pass_time(c, 12.3)) == ["Tell", "DiscardTurn", "Hangup", "BeginTurn", "Connect"]
    assert opened(c, now=13.0)[-1] == a.AttachTurn(2)


def test_a_session_of_some_seconds_is_not_worth_a_change() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    opened(c, ends_at=9.0)
    c.handle(e.Released(0.1), 1.1)
    assert kinds(pass_time(c, 30.0)) == []


def test_a_reply_that_does_not_end_is_cut_off() -> None:
    c = talk(longest_reply_ms=30_000)
    to_speaking(c)
    told = pass_time(c, 32.0)
    assert kinds(told) == ["Interrupt", "CloseTurn", "Tell"]
    assert "did not end within 30 s" in str(told)
    assert c.state is State.READY


def test_replies_without_a_sound_do_not_put_the_answer_off_for_ever() -> None:
    c = talk(longest_reply_ms=30_000)
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    c.handle(e.Released(2.0), 2.0)
    for second in range(3, 31, 4):
        c.handle(e.ReplyStarted(1, f"r{second}"), float(second))
    assert "did not end" in str(pass_time(c, 32.0))


def test_the_minutes_of_a_day_are_counted_kept_announced_and_refused() -> None:
    c = talk(budget=Budget(Limits(day_minutes=2), {}, "2026-11-21"), idle_hangup_ms=600_000)
    to_speaking(c)
    c.handle(e.ReplyHeard("r1"), 4.0)
    told = pass_time(c, 61.0)
    assert a.Spend({"2026-11-21": Amount(60.0, 0)}) in told
    assert kinds(told) == ["Chime", "Tell"]
    assert a.Chime("notice") in told
    told = pass_time(c, 121.0)
    assert kinds(told) == ["Hangup", "Chime", "Tell"]
    assert "2 min of this day" in str(told[-1])
    told = c.handle(e.Pressed(130.0), 130.0)
    assert told[0] == a.Chime("refused")
    assert kinds(c.handle(e.Typed("hello"), 130.0)) == ["Chime", "Tell"]
    c.handle(e.Dated("2026-11-22"), 140.0)
    c.handle(e.Pressed(141.0), 141.0)
    assert c.state is State.CONNECTING


def test_tokens_are_counted_and_the_talk_ends_after_the_reply_that_uses_the_last() -> None:
    c = talk(budget=Budget(Limits(day_tokens=100), {}, "2026-11-21"))
    to_speaking(c)
    told = c.handle(e.Used(1, 95), 2.5)
    assert told[0] == a.Chime("notice")
    assert told[-1] == a.Spend({"2026-11-21": Amount(0.0, 95)})
    c.handle(e.Used(1, 5), 2.6)
    c.handle(e.Dated("2026-11-21"), 2.7)
    assert c.state is State.SPEAKING
    c.handle(e.ReplyHeard("r1"), 4.0)
    assert "100 tokens of this day" in str(pass_time(c, 4.0))
    assert c.state is State.IDLE


def test_the_longest_talk_counts_over_sessions_and_a_press_begins_another() -> None:
    c = talk(longest_talk_ms=100_000, idle_hangup_ms=600_000)
    to_speaking(c)
    c.handle(e.Lost(1, "1006"), 3.0)
    c.handle(e.Pressed(4.0), 4.0)
    opened(c, now=5.0)
    c.handle(e.Released(4.1), 6.0)
    c.handle(e.ReplyStarted(2, "r"), 7.0)
    c.handle(e.ReplyEnded(2, "r", audio=False), 8.0)
    assert c.state is State.READY
    told = pass_time(c, 101.0)
    assert kinds(told) == ["Chime", "Tell", "Hangup", "Chime", "Tell"]
    assert told[-1] == a.Tell("warning", "the talk has reached its longest time; press to begin another")
    c.handle(e.Pressed(110.0), 110.0)
    assert c.state is State.CONNECTING


def test_words_that_are_kept_get_their_chances_before_they_are_given_up() -> None:
    c = Conversation(Rules(keep_turn_ms=15_000), Patience(lambda: 0.999))
    c.handle(e.Pressed(0.0), 0.0)
    c.handle(e.Released(1.0), 1.0)
    now, tries = 1.0, []
    while now < 15.0:
        c.handle(e.Lost(c.attempt, "refused"), now)
        assert c.deadline is not None
        now = c.deadline
        c.handle(e.Elapsed(), now)
        if c.state is State.CONNECTING and now < 15.0:
            tries.append(now)
    assert max(later - before for before, later in zip(tries, [*tries[1:], 15.0], strict=True)) < 6.0
    assert min(later - before for before, later in pairwise(tries)) > 0.2


def test_an_outage_longer_than_the_longest_talk_ends_the_talk_not_the_next_one() -> None:
    c = talk(longest_talk_ms=100_000)
    to_speaking(c)
    c.handle(e.ReplyHeard("r1"), 3.0)
    c.handle(e.Pressed(4.0), 4.0)
    c.handle(e.Lost(1, "gone"), 5.0)
    pass_time(c, 21.0)
    assert a.Chime("back") in opened(c, now=500.0)
    assert kinds(pass_time(c, 510.0)) == []


def test_the_longest_talk_goes_on_over_a_server_that_closes_between_turns() -> None:
    c = talk(longest_talk_ms=30_000)
    for turn in range(3):
        at = 10.0 * turn
        c.handle(e.Pressed(at), at)
        opened(c, now=at + 1)
        c.handle(e.Released(at + 2), at + 2)
        c.handle(e.ReplyStarted(c.attempt, "r"), at + 3)
        c.handle(e.ReplyEnded(c.attempt, "r", audio=False), at + 4)
        c.handle(e.Lost(c.attempt, "1000"), at + 5)
    c.handle(e.Pressed(29.0), 29.0)
    opened(c, now=29.5)
    c.handle(e.Released(30.0), 30.0)
    c.handle(e.ReplyStarted(c.attempt, "r"), 31.0)
    c.handle(e.ReplyEnded(c.attempt, "r", audio=False), 32.0)
    assert "longest time" in str(pass_time(c, 32.0))
    for at in (100.0, 300.0):  # after a rest it is another talk
        c.handle(e.Pressed(at), at)
        opened(c, now=at + 1)
        c.handle(e.Released(at + 1.5), at + 1.5)
        c.handle(e.ReplyStarted(c.attempt, "r"), at + 2)
        c.handle(e.ReplyEnded(c.attempt, "r", audio=False), at + 2)
        c.handle(e.Lost(c.attempt, "1000"), at + 3)
        assert c.state is State.IDLE


def test_a_change_of_sessions_that_nobody_waits_for_is_given_up_when_the_talk_is_idle() -> None:
    c = talk()
    to_speaking(c)
    c.handle(e.ReplyHeard("r1"), 3.0)
    c.handle(e.Pressed(3.1), 3.1)
    c.handle(e.Released(3.2), 3.2)
    c.handle(e.Lost(1, "gone"), 4.0)
    c.handle(e.Pressed(5.0), 5.0)
    opened(c, ends_at=25.0, now=5.0)
    c.handle(e.Released(6.0), 6.0)
    c.handle(e.ReplyStarted(2, "r"), 7.0)
    c.handle(e.ReplyEnded(2, "r", audio=False), 8.0)
    pass_time(c, 15.0)
    assert c.state is State.CONNECTING
    c.handle(e.Lost(3, "no network"), 16.0)
    while c.deadline is not None and c.deadline < 67.0:
        c.handle(e.Elapsed(), c.deadline)
        c.handle(e.Lost(c.attempt, "no network"), c.deadline or 67.0)
    pass_time(c, 68.0)
    assert c.state is State.IDLE


def test_a_limit_that_falls_due_in_a_reply_is_announced_in_it() -> None:
    c = talk(budget=Budget(Limits(day_minutes=2), {}, "2026-11-21"))
    assert c.affordable
    to_speaking(c)
    told = pass_time(c, 120.0)
    assert a.Chime("notice") in told
    assert sum(order.spent["2026-11-21"].seconds for order in told[-1:] if isinstance(order, a.Spend)) > 100
    c.handle(e.ReplyHeard("r1"), 125.0)
    assert a.Chime("refused") in pass_time(c, 125.0)
    assert not c.affordable


def test_a_clock_that_was_set_ends_the_wait_for_the_next_attempt() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    c.handle(e.Lost(1, "its certificate is not valid yet"), 0.1)
    assert c.state is State.RETRYING
    assert kinds(c.handle(e.ClockSet(), 0.2)) == ["Tell", "Connect"]
    assert c.state is State.CONNECTING
    assert c.handle(e.ClockSet(), 0.3) == []


def test_a_time_that_the_server_named_is_obeyed_by_a_clock_that_was_set_too() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    c.handle(e.Lost(1, "busy", retry_after_s=7.0), 0.0)
    assert c.handle(e.ClockSet(), 1.0) == []
    assert c.deadline == 7.0
