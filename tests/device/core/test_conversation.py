"""Stories told to the conversation: what it orders, in which sequence."""

from __future__ import annotations

from itertools import pairwise

from device.core import actions as a
from device.core import events as e
from device.core.budget import Amount, Budget, Limits
from device.core.conversation import Conversation
from device.core.moves import State
from device.core.patience import Patience
from device.core.rules import Rules
from device.core.sessions import Session, Turn

STORED = Session("sess_old", "local", (Turn("user", "hello"),))


def talk(stored: Session | None = None, budget: Budget | None = None, **rules: object) -> Conversation:
    made = Rules(**rules)  # type: ignore[arg-type] # plain keywords
    return Conversation(made, Patience(lambda: 0.5, first_s=1.0), stored, budget)


def opened(
    c: Conversation, rung: str = "fresh", now: float = 1.0, ends_at: float | None = None
) -> list[a.Action]:
    return c.handle(e.Opened(c.attempt, "sess_1", "local", rung, ends_at), now)  # type: ignore[arg-type] # a rung


def kinds(actions: list[a.Action]) -> list[str]:
    """Name the orders; the bill is looked at elsewhere."""
    return [type(action).__name__ for action in actions if not isinstance(action, a.Spend)]


def pass_time(c: Conversation, until: float) -> list[a.Action]:
    """Keep every deadline up to a time."""
    told: list[a.Action] = []
    while c.deadline is not None and c.deadline <= until:
        told += c.handle(e.Elapsed(), c.deadline)
    return told


def to_speaking(c: Conversation) -> None:
    """One turn by the button, up to the sound of reply r1."""
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    c.handle(e.SpeechStarted("local"), 1.5)
    c.handle(e.Released(2.0), 2.0)
    c.handle(e.TurnAccepted(c.attempt, "u1"), 2.1)
    c.handle(e.ReplyStarted(c.attempt, "r1"), 2.2)
    c.handle(e.ReplyText(c.attempt, "r1", "once upon a time there was"), 2.2)
    c.handle(e.ReplySounded("r1"), 2.3)
    assert c.state is State.SPEAKING


def test_a_press_keeps_audio_from_before_it_and_connects() -> None:
    c = talk(STORED)
    assert c.handle(e.Pressed(5.0), 5.0) == [
        a.BeginTurn(5.0, 500),
        a.Connect(1, "sess_old", (Turn("user", "hello"),)),
    ]
    assert c.state is State.CONNECTING


def test_a_turn_that_ended_before_the_session_opened_is_sent_whole() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    assert c.handle(e.Released(1.0), 1.0) == [a.EndTurn(1.0)]
    assert c.handle(e.Released(1.0), 1.0) == []
    assert kinds(opened(c, now=2.5)) == ["Tell", "Remember", "AttachTurn"]
    assert c.state is State.AWAITING


def test_a_second_press_before_the_session_opened_goes_on_with_the_turn() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    c.handle(e.Released(1.0), 1.0)
    assert c.handle(e.Pressed(1.2), 1.2) == [a.ReopenTurn()]
    opened(c)
    assert c.state is State.LISTENING


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


def test_an_interrupted_reply_is_remembered_as_far_as_it_was_heard() -> None:
    c = talk()
    to_speaking(c)
    c.handle(e.UserSaid(c.attempt, "u1", "tell me a story"), 2.5)
    c.handle(e.Pressed(3.0), 3.0)
    told = c.handle(e.ReplyCut("r1", 500, 1000), 3.0)
    assert told[0] == a.Quote("assistant", "once upon a…")
    assert c.turns == (Turn("user", "tell me a story"), Turn("assistant", "once upon a…"))


def test_the_preroll_holds_nothing_of_the_device_s_own_voice() -> None:
    c = talk()
    to_speaking(c)
    c.handle(e.ReplyEnded(c.attempt, "r1", audio=True), 3.0)
    c.handle(e.ReplyHeard("r1"), 10.0)
    assert c.handle(e.Pressed(10.35), 10.35)[0] == a.BeginTurn(10.35, 99)


def test_facts_of_an_older_attempt_change_nothing() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    c.handle(e.Lost(1, "no network"), 0.1)
    c.handle(e.Elapsed(), 1.0)
    assert c.attempt == 2
    assert c.handle(e.Lost(1, "an old socket"), 1.1) == []
    assert c.state is State.CONNECTING


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


def test_each_attempt_has_more_patience_than_the_last_until_one_opens() -> None:
    c = talk()
    orders = c.handle(e.Pressed(0.0), 0.0)
    limits = []
    for n in range(1, 6):
        limits += [order.limit_s for order in orders if isinstance(order, a.Connect)]
        c.handle(e.Lost(n, "no answer"), n * 10.0)
        orders = c.handle(e.Pressed(n * 10.0 + 0.01), n * 10.0 + 0.01)
    assert limits == [3.0, 6.0, 12.0, 15.0, 15.0]
    opened(c, now=61.0)
    orders = c.handle(e.Lost(6, "gone"), 100.0)
    assert orders[-1] == a.Connect(7, "sess_1", (), 3.0)


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


def test_a_press_while_it_is_offline_begins_a_new_turn_at_once() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    c.handle(e.Lost(1, "no network"), 0.1)
    pass_time(c, 0.6)
    pass_time(c, 15.0)
    assert kinds(c.handle(e.Pressed(16.0), 16.0)) == ["BeginTurn"]
    c.handle(e.Lost(2, "no network"), 16.1)
    assert kinds(c.handle(e.Pressed(16.2), 16.2)) == ["Connect"]
    assert opened(c, now=17.0)[-1] == a.AttachTurn(3)
    assert c.state is State.LISTENING


def test_a_wake_and_a_written_word_take_up_a_talk_that_was_given_up() -> None:
    for event in (e.Woken(16.0), e.Typed("hello")):
        c = talk()
        c.handle(e.Pressed(0.0), 0.0)
        pass_time(c, 15.0)
        c.handle(event, 16.0)
        assert c.handle(e.Woken(16.1), 16.1) == []
        opened(c, now=17.0)
        assert c.state in (State.LISTENING, State.AWAITING)


def test_a_turn_that_outlasts_its_time_before_a_session_is_open_ends() -> None:
    c = talk(longest_turn_ms=5_000)
    c.handle(e.Pressed(0.0), 0.0)
    assert pass_time(c, 5.0)[0] == a.EndTurn(5.0)
    pass_time(c, 15.0)
    c.handle(e.Pressed(16.0), 16.0)
    c.handle(e.CardLost("microphone", "unplugged"), 17.0)
    assert pass_time(c, 40.0) == []


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


def test_an_open_talk_ends_by_a_tap_by_silence_and_by_a_long_press_over_a_reply() -> None:
    c = talk(mode="open_mic", turn_end="server")
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    assert c.handle(e.Held(), 1.0) == []
    assert c.handle(e.Pressed(2.0), 2.0) == [a.DiscardTurn()]
    c.handle(e.Pressed(3.0), 3.0)
    assert kinds(pass_time(c, 17.9)) == []
    assert kinds(pass_time(c, 18.0)) == ["DiscardTurn"]
    assert c.state is State.READY
    c.handle(e.Pressed(20.0), 20.0)
    c.handle(e.ReplyStarted(1, "r1"), 21.0)
    c.handle(e.ReplySounded("r1"), 21.1)
    c.handle(e.Pressed(22.0), 22.0)
    assert c.handle(e.Held(), 23.0) == [a.DiscardTurn()]


def test_a_wake_in_push_to_talk_is_one_turn_by_voice() -> None:
    c = talk()
    c.handle(e.Woken(0.0), 0.0)
    opened(c)
    c.handle(e.SpeechStarted("local"), 1.2)
    assert c.handle(e.SpeechEnded("local"), 2.0) == [a.EndTurn(2.0)]


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


def test_a_press_without_a_card_gives_the_reason() -> None:
    c = talk()
    assert "the speaker is missing: unplugged" in str(c.handle(e.CardLost("speaker", "unplugged"), 0.0))
    told = c.handle(e.Pressed(1.0), 1.0)
    assert told == [a.Chime("refused"), a.Tell("error", "the speaker is missing: unplugged")]
    assert a.Chime("back") in c.handle(e.CardBack("speaker"), 2.0)
    c.handle(e.Pressed(3.0), 3.0)
    assert c.state is State.CONNECTING


def test_a_microphone_that_goes_ends_the_turn_not_the_reply() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    told = c.handle(e.CardLost("microphone", "unplugged"), 2.0)
    assert kinds(told) == ["DiscardTurn", "Chime", "Tell"]
    assert c.state is State.READY
    c = talk()
    to_speaking(c)
    assert kinds(c.handle(e.CardLost("microphone", "unplugged"), 3.0)) == ["Tell"]
    assert kinds(c.handle(e.CardLost("speaker", "unplugged"), 3.0)) == ["Tell"]
    assert c.state is State.SPEAKING  # what has not sounded waits for the speaker
    assert kinds(c.handle(e.CardBack("speaker"), 3.1)) == ["Tell"]


def test_an_open_talk_rests_when_a_card_has_gone() -> None:
    c = talk(mode="open_mic")
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    c.handle(e.ReplyStarted(1, "r1"), 2.0)
    c.handle(e.ReplySounded("r1"), 2.1)
    c.handle(e.CardLost("microphone", "unplugged"), 3.0)
    c.handle(e.ReplyHeard("r1"), 4.0)
    assert c.state is State.READY


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


def test_a_muted_device_says_why_it_does_not_listen() -> None:
    c = talk()
    c.handle(e.MuteSet(on=True), 0.0)
    assert c.muted
    assert "unmute" in str(c.handle(e.Pressed(1.0), 1.0))
    c.handle(e.MuteSet(on=False), 2.0)
    c.handle(e.Pressed(3.0), 3.0)
    assert c.state is State.CONNECTING
    assert kinds(c.handle(e.MuteSet(on=True), 4.0)) == ["DiscardTurn", "Hangup"]


def test_forgetting_takes_the_memory_and_the_session() -> None:
    c = talk(STORED)
    assert kinds(c.handle(e.Forgotten(), 0.0)) == ["Forget", "Tell"]
    assert c.turns == ()
    assert c.handle(e.Pressed(1.0), 1.0)[-1] == a.Connect(1, None, ())


def test_nothing_of_a_reply_that_is_forgotten_while_it_sounds_is_kept() -> None:
    c = talk()
    to_speaking(c)
    assert kinds(c.handle(e.Forgotten(), 3.0)) == ["Forget", "Interrupt", "Hangup", "Tell"]
    assert c.handle(e.ReplyCut("r1", 500, 1000), 3.0) == []
    assert c.turns == ()


def test_an_end_in_a_reply_silences_it_hangs_up_and_keeps_what_was_heard() -> None:
    c = talk()
    to_speaking(c)
    assert kinds(c.handle(e.Stopped(), 3.0)) == ["Interrupt", "Hangup"]
    assert c.state is State.IDLE
    kept = c.handle(e.ReplyCut("r1", 500, 1000), 3.0)[-1]
    assert isinstance(kept, a.Remember)
    assert (kept.turns[-1], kept.heard_ms) == (Turn("assistant", "once upon a…"), 500)


def test_an_end_in_a_turn_discards_it_and_at_rest_there_is_nothing_to_do() -> None:
    c = talk()
    assert c.handle(e.Stopped(), 0.0) == []
    c.handle(e.Pressed(1.0), 1.0)
    assert kinds(c.handle(e.Stopped(), 1.5)) == ["DiscardTurn", "Hangup"]


def test_a_fresh_session_is_not_credited_with_old_turns() -> None:
    c = talk(STORED)
    c.handle(e.Pressed(0.0), 0.0)
    opened(c, "fresh")
    assert c.turns == ()


def test_a_reply_that_starts_while_the_button_is_held_is_refused() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    assert c.handle(e.ReplyStarted(1, "late"), 1.5) == [a.RefuseReply(1, "late")]
    assert c.handle(e.ReplyEnded(1, "late", audio=False), 1.6) == []


def test_a_button_takes_over_a_turn_that_the_wake_line_began() -> None:
    c = talk()
    c.handle(e.Woken(0.0), 0.0)
    opened(c)
    assert c.handle(e.Pressed(1.0), 1.0) == []
    assert c.handle(e.Released(2.0), 2.0) == [a.EndTurn(2.0)]


def test_written_words_open_a_session_and_ask_for_the_reply() -> None:
    c = talk(STORED)
    assert c.handle(e.Typed("what time is it"), 1.0) == [a.Connect(1, "sess_old", STORED.turns)]
    assert c.handle(e.Pressed(1.1), 1.1) == []
    assert kinds(c.handle(e.Typed("again"), 1.2)) == ["Tell"]
    orders = opened(c, "live")
    assert a.Quote("user", "what time is it") in orders
    assert orders[-1] == a.Say(1, "what time is it")
    assert c.state is State.AWAITING


def test_written_words_that_were_sent_are_not_sent_twice() -> None:
    c = talk()
    c.handle(e.Typed("hello"), 1.0)
    opened(c)
    assert kinds(c.handle(e.Lost(1, "cut"), 2.0))[-1] == "Connect"
    assert opened(c, "seeded")[-1] == a.RequestReply(2)
    c.handle(e.Lost(2, "cut"), 30.0)
    assert opened(c, "fresh")[-1] == a.Say(3, "hello")


def test_written_words_silence_the_reply_that_sounds() -> None:
    c = talk()
    to_speaking(c)
    assert c.handle(e.Typed("stop"), 3.0)[0] == a.Interrupt(1)
    assert c.state is State.AWAITING


def test_writing_leaves_the_microphone_of_an_open_talk_shut() -> None:
    c = talk(mode="open_mic")
    c.handle(e.Typed("hello"), 1.0)
    opened(c)
    c.handle(e.ReplyStarted(1, "r1"), 2.0)
    c.handle(e.ReplySounded("r1"), 2.1)
    c.handle(e.ReplyEnded(1, "r1", audio=True), 2.2)
    c.handle(e.ReplyHeard("r1"), 3.0)
    assert c.state is State.READY


def test_written_words_take_the_place_of_a_turn_in_the_making() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    assert kinds(c.handle(e.Typed("hello"), 2.0)) == ["DiscardTurn", "Quote", "Remember", "Say"]


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


def test_a_user_who_speaks_over_a_reply_is_listened_to_where_the_server_has_ears() -> None:
    c = talk(mode="open_mic", turn_end="server", half_duplex=False)
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    c.handle(e.ReplyStarted(1, "r1"), 2.2)
    c.handle(e.ReplySounded("r1"), 2.3)
    assert kinds(c.handle(e.Withdrawn(1), 3.0)) == ["Interrupt"]
    assert c.state is State.LISTENING


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


def test_written_words_are_not_written_twice_either() -> None:
    c = talk(STORED)
    c.handle(e.Typed("hello"), 0.0)
    opened(c, "live", now=1.0)
    c.handle(e.Lost(1, "1006"), 1.1)
    c.handle(e.TurnHeld(2, "u1"), 1.2)
    assert kinds(opened(c, "live", now=1.3))[-1] == "RequestReply"
    c.handle(e.ReplyStarted(2, "r1"), 1.4)
    c.handle(e.ReplyEnded(2, "r1", audio=False), 1.5)
    c.handle(e.Typed("hello again"), 2.0)
    c.handle(e.Lost(2, "1006"), 2.1)
    c.handle(e.TurnHeld(3, "u1"), 2.2)
    assert kinds(opened(c, "live", now=2.3))[-1] == "Say"


def test_of_replies_without_number_the_last_are_refused() -> None:
    c = talk()
    to_speaking(c)
    told = [c.handle(e.ReplyStarted(1, f"more{n}"), 2.4)[0] for n in range(10)]
    assert [type(action).__name__ for action in told] == ["AdmitReply"] * 7 + ["RefuseReply"] * 3


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


def test_a_second_wake_while_it_connects_goes_on_with_the_turn() -> None:
    c = talk()
    c.handle(e.Woken(0.0), 0.0)
    c.handle(e.SpeechStarted("local"), 0.5)
    c.handle(e.SpeechEnded("local"), 1.0)
    assert c.handle(e.Woken(1.5), 1.5) == [a.ReopenTurn()]
    c.handle(e.SpeechStarted("local"), 1.6)
    assert c.handle(e.SpeechEnded("local"), 2.0) == [a.EndTurn(2.0)]


def test_a_reply_that_was_to_follow_a_tool_and_cannot_is_told() -> None:
    c = talk()
    to_speaking(c)
    c.handle(e.ReplyEnded(1, "r1", audio=True, tool_calls=(e.ToolCall("c1", "lights"),)), 3.0)
    c.handle(e.Lost(1, "1006"), 3.1)
    assert a.Chime("lost") in c.handle(e.ReplyHeard("r1"), 4.0)
    assert c.state is State.IDLE


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


def test_an_open_talk_that_is_called_off_with_words_in_hand_says_so() -> None:
    c = talk(mode="open_mic")
    c.handle(e.Pressed(0.0), 0.0)
    assert kinds(c.handle(e.Pressed(1.0), 1.0)) == ["DiscardTurn", "Hangup"]
    c.handle(e.Pressed(2.0), 2.0)
    c.handle(e.SpeechStarted("local"), 2.5)
    assert kinds(c.handle(e.Pressed(3.0), 3.0)) == ["DiscardTurn", "Hangup", "Chime", "Tell"]


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


def test_the_button_that_takes_over_a_wake_turn_ends_its_silence_limit() -> None:
    c = talk()
    c.handle(e.Woken(0.0), 0.0)
    opened(c)
    c.handle(e.Pressed(2.0), 2.0)
    assert c.state is State.LISTENING
    assert kinds(pass_time(c, 60.0)) == []
