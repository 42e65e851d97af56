"""The button, the wake line, commands and cards."""

from __future__ import annotations

from device.core import actions as a
from device.core import events as e
from device.core.moves import State
from device.core.sessions import Turn
from tests.device.core.stories import STORED, kinds, opened, pass_time, talk, to_speaking


def test_a_press_keeps_audio_from_before_it_and_connects() -> None:
    c = talk(STORED)
    assert c.handle(e.Pressed(5.0), 5.0) == [
        a.BeginTurn(5.0, 500),
        a.Connect(1, "sess_old", (Turn("user", "hello"),)),
    ]
    assert c.state is State.CONNECTING


def test_a_second_press_before_the_session_opened_goes_on_with_the_turn() -> None:
    c = talk()
    c.handle(e.Pressed(0.0), 0.0)
    c.handle(e.Released(1.0), 1.0)
    assert c.handle(e.Pressed(1.2), 1.2) == [a.ReopenTurn()]
    opened(c)
    assert c.state is State.LISTENING


def test_the_preroll_holds_nothing_of_the_device_s_own_voice() -> None:
    c = talk()
    to_speaking(c)
    c.handle(e.ReplyEnded(c.attempt, "r1", audio=True), 3.0)
    c.handle(e.ReplyHeard("r1"), 10.0)
    assert c.handle(e.Pressed(10.35), 10.35)[0] == a.BeginTurn(10.35, 99)


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


def test_a_second_wake_while_it_connects_goes_on_with_the_turn() -> None:
    c = talk()
    c.handle(e.Woken(0.0), 0.0)
    c.handle(e.SpeechStarted("local"), 0.5)
    c.handle(e.SpeechEnded("local"), 1.0)
    assert c.handle(e.Woken(1.5), 1.5) == [a.ReopenTurn()]
    c.handle(e.SpeechStarted("local"), 1.6)
    assert c.handle(e.SpeechEnded("local"), 2.0) == [a.EndTurn(2.0)]


def test_an_open_talk_that_is_called_off_with_words_in_hand_says_so() -> None:
    c = talk(mode="open_mic")
    c.handle(e.Pressed(0.0), 0.0)
    assert kinds(c.handle(e.Pressed(1.0), 1.0)) == ["DiscardTurn", "Hangup"]
    c.handle(e.Pressed(2.0), 2.0)
    c.handle(e.SpeechStarted("local"), 2.5)
    assert kinds(c.handle(e.Pressed(3.0), 3.0)) == ["DiscardTurn", "Hangup", "Chime", "Tell"]


def test_the_button_that_takes_over_a_wake_turn_ends_its_silence_limit() -> None:
    c = talk()
    c.handle(e.Woken(0.0), 0.0)
    opened(c)
    c.handle(e.Pressed(2.0), 2.0)
    assert c.state is State.LISTENING
    assert kinds(pass_time(c, 60.0)) == []
