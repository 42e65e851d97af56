"""Unmute's protocol, message by message."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from device.core import events as e
from device.core.grant import Auth, Encoding, Grant
from device.core.sessions import Turn
from device.dialects.dialect import Decoded, ReplyAudio, Send
from device.dialects.unmute import _MOST_PIECES, UnmuteDialect
from device.errors import ProtocolError

OPUS = Encoding("ogg_opus", 24000)
TERSE = {"type": "constant", "text": "You are terse.", "language": "en"}
SEED = {"character": "You are terse.", "scenario": ""}
CREATED = {"type": "response.created", "response": {"status": "in_progress"}}
DONE = {"type": "response.audio.done"}
BY_VAD = {"type": "unmute.interrupted_by_vad"}


def grant(**session: Any) -> Grant:
    given = {"instructions": TERSE, "voice": "v.wav", "allow_recording": False, **session}
    return Grant(
        "unmute", "ws://x/v1/realtime", Auth(), ("realtime",), input=OPUS, output=OPUS, session=given
    )


def frame(message: Any) -> str:
    return json.dumps(message)


def word(text: str) -> str:
    return frame({"type": "response.text.delta", "delta": text})


def heard(text: str) -> str:
    kind = "conversation.item.input_audio_transcription.delta"
    return frame({"type": kind, "delta": text, "start_time": 1.0})


def sound(data: bytes = b"OggS") -> str:
    return frame({"type": "response.audio.delta", "delta": base64.b64encode(data).decode()})


def fault(kind: str, message: str = "Invalid message", details: Any = None) -> str:
    return frame({"type": "error", "error": {"type": kind, "message": message, "details": details}})


def opened(**session: Any) -> UnmuteDialect:
    dialect = UnmuteDialect(1, grant(**session), (), 0.0)
    dialect.opening()
    dialect.decode(frame({"type": "session.updated", "session": {}}))
    return dialect


def play(dialect: UnmuteDialect, *frames: Any) -> list[Decoded]:
    texts = (one if isinstance(one, str) else frame(one) for one in frames)
    return [found for text in texts for found in dialect.decode(text)]


def sent(decoded: list[Decoded]) -> dict[str, Any]:
    (one,) = decoded
    assert isinstance(one, Send)
    message: dict[str, Any] = json.loads(one.frame)
    return message


def test_the_client_speaks_first_and_the_session_is_open_when_it_is_updated() -> None:
    dialect = UnmuteDialect(3, grant(fallback_instructions=SEED), (), 0.0)
    assert dialect.continuous
    assert dialect.input == OPUS
    session = {"instructions": TERSE, "voice": "v.wav", "allow_recording": False}
    assert sent(dialect.opening()) == {"type": "session.update", "session": session}
    updated = {"type": "session.updated", "session": session}
    assert play(dialect, updated, updated) == [e.Opened(3, "unmute", "unmute", "fresh")]


def test_consent_to_recording_is_never_left_out() -> None:
    dialect = UnmuteDialect(1, Grant("unmute", "ws://x"), (), 0.0)
    assert sent(dialect.opening())["session"] == {"allow_recording": False}


def test_sound_goes_up_as_base64_pages() -> None:
    message = json.loads(opened().audio(b"OggS\x00\x02"))
    assert message == {"type": "input_audio_buffer.append", "audio": "T2dnUwAC"}


def test_refused_instructions_are_sent_in_the_other_shape_once() -> None:
    dialect = UnmuteDialect(1, grant(fallback_instructions=SEED), (), 0.0)
    dialect.opening()
    details = [{"loc": ["session.update", "session", "instructions"], "msg": "Unable to extract tag"}]
    again = sent(play(dialect, fault("invalid_request_error", details=details)))
    assert again["session"] == {"instructions": SEED, "voice": "v.wav", "allow_recording": False}
    line = "Invalid message: session.update.session.instructions: Unable to extract tag"
    lost = e.Lost(1, f"the provider reports {line}", fatal=True)
    assert play(dialect, fault("invalid_request_error", "the second")) == [lost]


def test_a_session_that_is_refused_without_another_shape_is_over() -> None:
    dialect = UnmuteDialect(1, grant(), (), 0.0)
    refused = play(dialect, fault("invalid_request_error"))
    assert refused == [e.Lost(1, "the provider reports Invalid message", fatal=True)]


def test_a_conversation() -> None:
    dialect = opened()
    started, stopped = (
        {"type": f"input_audio_buffer.speech_{what}", "event_id": "x"} for what in ("started", "stopped")
    )
    assert play(dialect, started) == [e.SpeechStarted("server")]
    assert play(dialect, heard(""), heard("my"), heard("name")) == []
    assert dialect.end_turn() == []
    assert play(dialect, stopped, heard("is")) == [e.SpeechEnded("server")]
    assert play(dialect, CREATED) == [
        e.TurnAccepted(1, "turn-1.1"),
        e.UserSaid(1, "turn-1.1", "my name is"),
        e.ReplyStarted(1, "reply-1"),
    ]
    early = {"type": "unmute.response.text.delta.ready", "delta": "Hello"}
    whole = {"type": "response.text.done", "text": "Hello there."}
    assert play(dialect, early, word("Hello"), sound(), word("there."), whole, sound(b"more")) == [
        e.ReplyText(1, "reply-1", "Hello"),
        ReplyAudio("reply-1", "reply-1", b"OggS"),
        e.ReplyText(1, "reply-1", " there."),
        ReplyAudio("reply-1", "reply-1", b"more"),
    ]
    assert play(dialect, DONE, DONE) == [e.ReplyEnded(1, "reply-1", audio=True)]


def test_words_of_the_user_withdraw_the_reply() -> None:
    dialect = opened()
    assert play(dialect, BY_VAD) == []
    play(dialect, CREATED, sound())
    assert play(dialect, BY_VAD) == [e.Withdrawn(1), e.ReplyEnded(1, "reply-1", audio=True)]
    assert play(dialect, CREATED) == [e.ReplyStarted(1, "reply-2")]


def test_the_words_of_an_interrupted_reply_are_nobodys() -> None:
    dialect = opened()
    play(dialect, CREATED, word("Once"), sound())
    dialect.interrupt("reply-1", 300)
    assert play(dialect, word("upon"), sound(), BY_VAD) == [
        ReplyAudio("reply-1", "reply-1", b"OggS"),
        e.Withdrawn(1),
        e.ReplyEnded(1, "reply-1", audio=True),
    ]


def test_a_reply_that_never_ended_ends_with_the_next() -> None:
    dialect = opened()
    play(dialect, CREATED)
    assert play(dialect, CREATED) == [
        e.ReplyEnded(1, "reply-1", audio=False),
        e.ReplyStarted(1, "reply-2"),
    ]


def test_sound_before_its_announcement_belongs_to_the_same_reply() -> None:
    dialect = opened()
    assert play(dialect, word("Hello"), sound(), CREATED, DONE) == [
        e.ReplyStarted(1, "reply-1"),
        e.ReplyText(1, "reply-1", "Hello"),
        ReplyAudio("reply-1", "reply-1", b"OggS"),
        e.ReplyEnded(1, "reply-1", audio=True),
    ]


def test_an_answer_that_came_before_the_release_is_heard_after_it() -> None:
    dialect = opened()
    play(dialect, heard("hello"), CREATED, sound(b"1"))
    assert dialect.refuse_reply("reply-1") == []
    assert play(dialect, word("Hi."), sound(b"2"), DONE) == []
    dialect.end_turn()
    assert play(dialect, {"type": "unmute.additional_outputs"}) == [
        e.ReplyStarted(1, "reply-1-kept"),
        ReplyAudio("reply-1-kept", "reply-1", b"1"),
        e.ReplyText(1, "reply-1-kept", "Hi."),
        ReplyAudio("reply-1-kept", "reply-1-kept", b"2"),
        e.ReplyEnded(1, "reply-1-kept", audio=True),
    ]
    assert play(dialect, {"type": "unmute.additional_outputs"}) == []


def test_an_early_answer_that_still_sounds_goes_on_after_the_release() -> None:
    dialect = opened()
    play(dialect, heard("hello"), CREATED)
    dialect.refuse_reply("reply-1")
    play(dialect, sound(b"1"))
    dialect.end_turn()
    assert play(dialect, sound(b"2"), word("Hi."), sound(b"3"), DONE) == [
        e.ReplyStarted(1, "reply-1-kept"),
        ReplyAudio("reply-1-kept", "reply-1-kept", b"1"),
        ReplyAudio("reply-1-kept", "reply-1-kept", b"2"),
        e.ReplyText(1, "reply-1-kept", "Hi."),
        ReplyAudio("reply-1-kept", "reply-1-kept", b"3"),
        e.ReplyEnded(1, "reply-1-kept", audio=True),
    ]


@pytest.mark.parametrize("then", ["words", "discard", "interrupt", "vad", "another"])
def test_an_early_answer_is_dropped_when_the_talk_has_gone_on(then: str) -> None:
    dialect = opened()
    play(dialect, heard("hello"), CREATED, sound())
    dialect.refuse_reply("reply-1")
    match then:
        case "words":
            play(dialect, heard("and"))
        case "discard":
            dialect.discard_turn()
        case "interrupt":
            assert dialect.interrupt("reply-1", 10) == []
        case "vad":
            play(dialect, BY_VAD)
        case _:
            play(dialect, CREATED)
    dialect.end_turn()
    told = play(dialect, sound(), DONE)
    assert not any(isinstance(one, e.ReplyStarted) and one.reply_id == "reply-1-kept" for one in told)


def test_an_early_answer_without_end_is_given_up() -> None:
    dialect = opened()
    play(dialect, heard("hello"), CREATED)
    dialect.refuse_reply("reply-1")
    assert play(dialect, *[sound()] * _MOST_PIECES) == []
    assert len(play(dialect, *[sound()] * 2)) == 2  # of a reply that is refused
    dialect.end_turn()
    assert not any(isinstance(one, e.ReplyStarted) for one in play(dialect, sound()))


def test_an_opening_is_refused_for_good_while_the_button_is_held() -> None:
    dialect = opened()
    play(dialect, CREATED)
    dialect.refuse_reply("reply-1")
    dialect.refuse_reply("no such reply")
    dialect.end_turn()
    assert play(dialect, sound(), word("Hello."), DONE) == [
        ReplyAudio("reply-1", "reply-1", b"OggS"),
        e.ReplyEnded(1, "reply-1", audio=True),
    ]


def test_an_opening_after_the_turn_waits_whether_the_turn_is_answered() -> None:
    dialect = opened()
    dialect.end_turn()
    assert play(dialect, CREATED, sound(b"opening"), heard("hello")) == []
    told = play(dialect, BY_VAD, CREATED)
    assert e.Withdrawn(1) in told
    assert told[-1] == e.ReplyStarted(1, "reply-2")


def test_an_opening_after_a_turn_that_nobody_understood_is_heard_whole() -> None:
    dialect = opened()
    dialect.end_turn()
    assert play(dialect, CREATED, sound()) == []
    assert play(dialect, DONE) == [
        e.ReplyStarted(1, "reply-1"),
        ReplyAudio("reply-1", "reply-1", b"OggS"),
        e.ReplyEnded(1, "reply-1", audio=True),
    ]


def test_a_turn_that_was_taken_back_awaits_nothing() -> None:
    dialect = opened()
    dialect.end_turn()
    assert dialect.discard_turn() == []
    assert play(dialect, CREATED) == [e.ReplyStarted(1, "reply-1")]


def test_a_prompt_after_a_turn_that_nobody_understood_is_heard_at_once() -> None:
    dialect = opened()
    play(dialect, CREATED, DONE)
    dialect.end_turn()
    assert play(dialect, CREATED) == [e.ReplyStarted(1, "reply-2")]


def test_errors_by_kind() -> None:
    dialect = opened()
    assert play(dialect, fault("warning", "Looking for the resources")) == [
        e.Troubled(1, "the provider reports Looking for the resources")
    ]
    assert play(dialect, fault("invalid_request_error", details=[{"loc": "x"}])) == [
        e.Troubled(1, "the provider reports Invalid message: : ")
    ]
    busy = "Too many people are connected to service 'tts'. Please try again later."
    assert play(dialect, fault("fatal", busy)) == [e.Lost(1, f"the provider reports {busy}")]
    assert play(dialect, {"type": "error", "error": {}}) == [
        e.Troubled(1, "the provider reports an error without words")
    ]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ({"type": None, "message": None, "details": None}, "an error without words"),
        ({"type": "warning", "message": 503}, "503"),
        ({"message": "no", "details": "the voice is gone"}, "no: the voice is gone"),
        ({"message": "no", "details": ["the voice is gone", 5]}, "no: the voice is gone"),
        ({"message": "no", "details": {"loc": ["a", 0, []], "msg": None}}, "no: a.0.: "),
        ({"message": "no", "details": []}, "no"),
        ({"message": {"no": "words"}, "type": ["warning"]}, "an error without words"),
    ],
)
def test_an_error_of_any_shape_is_told(error: Any, line: str) -> None:
    told = play(opened(), {"type": "error", "error": error})
    assert told == [e.Troubled(1, f"the provider reports {line}")]


def test_before_it_is_open_only_its_state_counts() -> None:
    dialect = UnmuteDialect(1, grant(), (), 0.0)
    assert play(dialect, CREATED, sound(), word("x"), DONE, {"type": "unmute.future"}) == []
    warned = play(dialect, fault("warning", "slow"))
    assert warned == [e.Troubled(1, "the provider reports slow")]


def test_no_words_can_be_written() -> None:
    told = opened().say("hello")
    assert told[0] == e.Troubled(1, "unmute takes no written words")
    assert [type(one) for one in told[1:]] == [e.ReplyStarted, e.ReplyEnded]


@pytest.mark.parametrize(
    "bad",
    [
        b"binary",
        "{",
        "[]",
        "{}",
        '{"type": 1}',
        '{"type": "response.audio.delta", "delta": "x"}',
        '{"type": "response.text.delta"}',
        '{"type": "error", "error": 1}',
    ],
)
def test_what_makes_no_sense_is_one_line(bad: str | bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        opened().decode(bad)
    assert "\n" not in str(caught.value)


SAID = (Turn("user", "my name is peter"), Turn("assistant", "Nice to meet you, Peter."))
CONSTANT = {"instructions": {"type": "constant", "text": "Be kind.", "language": "en"}}


def again(turns: tuple[Turn, ...] = SAID, resume: Any = "seeded", **session: Any) -> UnmuteDialect:
    grant = Grant("unmute", "ws://x", resume=resume, session=session or CONSTANT)
    return UnmuteDialect(3, grant, turns, 0.0)


def told(dialect: UnmuteDialect) -> Any:
    [update] = dialect.opening()
    assert isinstance(update, Send)
    return json.loads(update.frame)["session"].get("instructions")


def test_what_was_said_is_retold_in_the_instructions_of_the_next_session() -> None:
    dialect = again()
    assert told(dialect) == {
        "type": "constant",
        "language": "en",
        "text": "Be kind.\nThe conversation so far, which you go on with:\n"
        "User: my name is peter\nYou: Nice to meet you, Peter.",
    }
    [opened] = dialect.decode('{"type":"session.updated"}')
    assert opened == e.Opened(3, "unmute", "unmute", "seeded")


def test_only_the_end_of_a_long_conversation_is_retold() -> None:
    text = told(again(tuple(Turn("user", f"{n} " + "x" * 999) for n in range(20))))["text"]
    assert text.count("User: ") == 4
    assert "User: 19 x" in text


@pytest.mark.parametrize(
    "dialect",
    [
        again(()),
        again(resume="fresh"),
        again(instructions={"type": "smalltalk"}),
        again(instructions="words"),
        again(voice="v"),
    ],
)
def test_where_nothing_can_be_retold_the_session_is_fresh(dialect: UnmuteDialect) -> None:
    assert "peter" not in json.dumps(told(dialect))
    [opened] = dialect.decode('{"type":"session.updated"}')
    assert isinstance(opened, e.Opened)
    assert opened.rung == "fresh"


def test_the_other_shape_of_instructions_retells_nothing() -> None:
    dialect = again(instructions=CONSTANT["instructions"], fallback_instructions={"character": "kind"})
    dialect.decode('{"type":"error","error":{"type":"invalid_request_error","message":"no"}}')
    [opened] = dialect.decode('{"type":"session.updated"}')
    assert isinstance(opened, e.Opened)
    assert opened.rung == "fresh"


def test_words_and_sound_without_end_are_bounded() -> None:
    dialect = opened()
    for _ in range(3000):
        dialect.decode(heard("w" * 1000))
    assert len(dialect._heard) == 2000
    assert set(map(len, dialect._heard)) == {200}
    for _ in range(12):
        dialect.decode(sound(bytes(1 << 20)))
    assert dialect._reply
    assert dialect._reply.size == 8 << 20


def test_the_end_of_the_session_is_known_when_the_grant_tells_it() -> None:
    dialect = UnmuteDialect(1, msgspec.structs.replace(grant(), session_ends_at=1000.0), (), -900.0)
    [told] = dialect.decode(frame({"type": "session.updated"}))
    assert isinstance(told, e.Opened)
    assert told.ends_at == 100.0
