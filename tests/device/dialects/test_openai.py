"""The dialect against messages written from the vendor's reference."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from device.core import events as e
from device.core.grant import Encoding, Grant
from device.core.sessions import Turn
from device.dialects.dialect import Decoded, ReplyAudio, Send
from device.dialects.openai import OpenAIDialect
from device.errors import ProtocolError

GRANT = Grant("openai", "ws://x", provider="local", session={"voice": "marin"})
CREATED = {"type": "session.created", "session": {"id": "sess_1"}}
COMMITTED = {"type": "input_audio_buffer.committed", "item_id": "u1"}
UPDATED = {"type": "session.updated", "session": {"id": "sess_1", "expires_at": 1000.0}}


def dialect(grant: Grant = GRANT, turns: tuple[Turn, ...] = ()) -> OpenAIDialect:
    return OpenAIDialect(7, grant, turns, clock_offset_s=-900.0)


def say(d: OpenAIDialect, message: dict[str, Any]) -> list[Decoded]:
    return d.decode(json.dumps(message))


def sent(items: list[Decoded]) -> list[dict[str, Any]]:
    return [json.loads(item.frame) for item in items if isinstance(item, Send)]


def delta(reply: str, item: str, pcm: bytes) -> dict[str, Any]:
    audio = base64.b64encode(pcm).decode()
    return {"type": "response.output_audio.delta", "response_id": reply, "item_id": item, "delta": audio}


def started(d: OpenAIDialect, reply: str = "r1") -> None:
    assert say(d, {"type": "response.created", "response": {"id": reply}}) == [e.ReplyStarted(7, reply)]


def test_the_opening_sends_the_settings_and_ends_with_opened() -> None:
    d = dialect()
    assert sent(say(d, CREATED)) == [
        {
            "type": "session.update",
            "event_id": "pressel_update",
            "session": {"type": "realtime", "voice": "marin"},
        }
    ]
    assert say(d, UPDATED) == [e.Opened(7, "sess_1", "local", "fresh", 100.0)]
    assert say(d, UPDATED) == []


def test_an_end_that_only_the_grant_knows_counts_too() -> None:
    d = dialect(Grant("openai", "ws://x", session_ends_at=950.0, session_id="sess_g"))
    say(d, CREATED)
    opened = say(d, {"type": "session.updated", "session": {}})
    assert opened == [e.Opened(7, "sess_g", "", "fresh", 50.0)]
    d = dialect()
    say(d, CREATED)
    assert say(d, {"type": "session.updated", "session": {}}) == [e.Opened(7, "", "local", "fresh", None)]


@pytest.mark.parametrize(
    ("resume", "wanted", "turns", "rung"),
    [
        ("live", "sess_1", 1, "live"),
        ("live", "sess_other", 1, "seeded"),
        ("live", "sess_other", 0, "fresh"),
        ("seeded", None, 1, "seeded"),
        ("fresh", None, 1, "fresh"),
    ],
)
def test_no_better_rung_is_claimed_than_was_got(
    resume: Any, wanted: str | None, turns: int, rung: str
) -> None:
    d = dialect(Grant("openai", "ws://x", session_id=wanted, resume=resume), (Turn("user", "hi"),) * turns)
    seeds = len(say(d, CREATED)) - 1
    *cleared, opened = say(d, UPDATED)
    assert sent(cleared) == [{"type": "input_audio_buffer.clear"}] * (rung == "live")
    assert isinstance(opened, e.Opened)
    assert opened.rung == rung
    assert seeds == (turns if rung == "seeded" else 0)


def test_a_seeded_session_gets_the_turns_as_text_and_the_grant_s_history_first() -> None:
    grant = Grant("openai", "ws://x", resume="seeded", history=(Turn("assistant", "from the companion"),))
    assert sent(say(dialect(grant, (Turn("user", "own"),)), CREATED))[1:] == [
        {
            "type": "conversation.item.create",
            "item": {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "from the companion"}],
            },
        }
    ]
    own = sent(say(dialect(Grant("openai", "ws://x", resume="seeded"), (Turn("user", "own"),)), CREATED))[1]
    assert own["item"]["content"] == [{"type": "input_text", "text": "own"}]


def test_a_turn_is_audio_commit_and_the_wish_for_a_reply() -> None:
    d = dialect()
    frame = json.loads(d.audio(b"\x01\x02"))
    assert frame == {"type": "input_audio_buffer.append", "audio": base64.b64encode(b"\x01\x02").decode()}
    assert [m["type"] for m in sent(d.end_turn())] == ["input_audio_buffer.commit", "response.create"]
    assert sent(d.discard_turn()) == [{"type": "input_audio_buffer.clear"}]


def test_written_words_are_an_item_and_the_wish_for_a_reply() -> None:
    item, wish = sent(dialect().say("what time is it"))
    assert item["item"] == {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "what time is it"}],
    }
    assert wish == {"type": "response.create"}


@pytest.mark.parametrize(
    ("session", "asks"),
    [
        ({"audio": {"input": {"turn_detection": {"create_response": False}}}}, True),
        ({"audio": {"input": {"turn_detection": {"create_response": True}}}}, False),
        ({"audio": {"input": {"turn_detection": None}}}, False),
        ({"audio": 7}, False),
        ({}, False),
    ],
)
def test_where_the_server_only_ends_turns_the_device_asks_for_the_reply(session: Any, asks: bool) -> None:
    found = say(dialect(Grant("openai", "ws://x", session=session)), COMMITTED)
    assert found[0] == e.TurnAccepted(7, "u1")
    assert sent(found[1:]) == ([{"type": "response.create"}] if asks else [])


def test_a_reply_is_asked_for_only_when_the_cancelled_one_has_ended() -> None:
    d = dialect()
    started(d)
    assert [m["type"] for m in sent(d.end_turn())] == ["input_audio_buffer.commit"]
    done = say(d, {"type": "response.done", "response": {"id": "r1", "status": "cancelled"}})
    assert done[0] == e.ReplyEnded(7, "r1", audio=False)
    assert sent(done[1:]) == [{"type": "response.create"}]


def test_an_interruption_cuts_the_item_that_sounded_and_those_behind_it() -> None:
    d = dialect()
    started(d)
    say(d, delta("r1", "i1", b"\0" * 4800))
    say(d, delta("r1", "i2", b"\0" * 4800))
    say(d, delta("r1", "i3", b"\0" * 4800))
    assert sent(d.interrupt("i2", 70)) == [
        {"type": "response.cancel", "response_id": "r1"},
        {"type": "conversation.item.truncate", "item_id": "i2", "content_index": 0, "audio_end_ms": 70},
        {"type": "conversation.item.truncate", "item_id": "i3", "content_index": 0, "audio_end_ms": 0},
    ]
    assert d.interrupt("i2", 70) == []


def test_never_more_is_claimed_heard_than_was_received() -> None:
    d = dialect()
    started(d)
    say(d, delta("r1", "i1", b"\0" * 4800))
    say(d, {"type": "response.done", "response": {"id": "r1", "status": "completed"}})
    assert sent(d.interrupt("i1", 500)) == [
        {"type": "conversation.item.truncate", "item_id": "i1", "content_index": 0, "audio_end_ms": 100}
    ]
    assert d.interrupt(None, 0) == []


def test_an_encoding_whose_length_tells_no_time_is_no_fault() -> None:
    d = dialect(Grant("openai", "ws://x", output=Encoding("ogg_opus", 24_000)))
    started(d)
    say(d, delta("r1", "i1", b"\0" * 50))
    assert sent(d.interrupt("i1", 20))[-1]["audio_end_ms"] == 20


def test_sound_of_an_older_reply_is_not_counted_for_the_new_one() -> None:
    d = dialect()
    started(d, "r1")
    started(d, "r2")
    assert say(d, delta("r1", "old", b"\0\0")) == [ReplyAudio("r1", "old", b"\0\0")]
    say(d, {"type": "response.done", "response": {"id": "r1", "status": "completed"}})
    assert sent(d.interrupt(None, 0)) == [{"type": "response.cancel", "response_id": "r2"}]


def test_two_replies_at_once_are_both_cancelled_and_cut() -> None:
    d = dialect()
    for name in ("r1", "r2"):
        started(d, name)
        say(d, delta(name, f"i-{name}", b"\0" * 4800))
    assert sent(d.interrupt("i-r1", 40)) == [
        {"type": "response.cancel", "response_id": "r1"},
        {"type": "response.cancel", "response_id": "r2"},
        {"type": "conversation.item.truncate", "item_id": "i-r1", "content_index": 0, "audio_end_ms": 40},
        {"type": "conversation.item.truncate", "item_id": "i-r2", "content_index": 0, "audio_end_ms": 0},
    ]


def test_a_reply_that_ended_twice_or_never_began_ended_once_or_never() -> None:
    d = dialect()
    call = {"type": "function_call", "name": "lights", "call_id": "c1"}
    done = {"type": "response.done", "response": {"id": "r1", "status": "completed", "output": [call]}}
    assert say(d, done) == []
    started(d)
    assert len(say(d, done)) == 1
    assert say(d, done) == []
    failed = {"type": "response.done", "response": {"id": "r9", "status": "failed"}}
    assert say(d, failed) == [e.Troubled(7, "the reply is failed: no reason given")]


@pytest.mark.parametrize(
    ("usage", "found"),
    [
        ({"total_tokens": 253, "input_tokens": 132}, [e.Used(7, 253)]),
        ({"total_tokens": 0}, []),
        ({}, []),
        ([1], []),
        (None, []),
        ({"total_tokens": -5}, [e.Troubled(7, "the provider counts -5 tokens for a reply; passed over")]),
        (
            {"total_tokens": 1e300},
            [e.Troubled(7, "the provider counts 1e+300 tokens for a reply; passed over")],
        ),
        ({"total_tokens": "9"}, [e.Troubled(7, "the provider counts '9' tokens for a reply; passed over")]),
        ({"total_tokens": True}, [e.Troubled(7, "the provider counts True tokens for a reply; passed over")]),
    ],
)
def test_what_a_reply_cost_is_told_when_it_can_be(usage: Any, found: list[Decoded]) -> None:
    d = dialect()
    started(d)
    done = {"type": "response.done", "response": {"id": "r1", "status": "completed", "usage": usage}}
    assert say(d, done)[1:] == found


@pytest.mark.parametrize("ends", [-5, 0, "soon", None, True, {}])
def test_an_end_that_makes_no_sense_is_the_grant_s(ends: Any) -> None:
    d = dialect(Grant("openai", "ws://x", session_ends_at=950.0))
    say(d, CREATED)
    [opened] = say(d, {"type": "session.updated", "session": {"id": "s", "expires_at": ends}})
    assert isinstance(opened, e.Opened)
    assert opened.ends_at == 50.0


def test_replies_and_items_without_end_are_forgotten() -> None:
    d = dialect()
    for n in range(1000):
        started(d, f"r{n}")
        say(d, delta(f"r{n}", f"i{n}", b"\0\0\0"))
    assert len(d._active) == len(d._items) == len(d._sounded) == len(d._odd) == 16
    with pytest.raises(ProtocolError):
        say(d, delta("r" * 1_000_000, "i", b"\0\0"))


@pytest.mark.parametrize("kind", ["conversation.item.added", "conversation.item.created"])
def test_the_turns_that_the_server_holds_are_told(kind: str) -> None:
    d = dialect()
    user = {"id": "u1", "type": "message", "role": "user", "content": []}
    assert say(d, {"type": kind, "item": user}) == [e.TurnHeld(7, "u1")]
    parts = [{"type": "input_audio", "transcript": "hello"}, {"type": "input_audio", "transcript": None}, 5]
    assert say(d, {"type": kind, "item": {**user, "content": parts}}) == [e.TurnHeld(7, "u1", "hello")]
    assert say(d, {"type": kind, "item": {**user, "content": "odd"}}) == [e.TurnHeld(7, "u1")]
    assert say(d, {"type": kind, "item": {**user, "role": "assistant"}}) == []
    assert say(d, {"type": kind, "item": {"type": "function_call_output", "id": "f1"}}) == []
    assert say(d, {"type": kind, "item": {"role": "user"}}) == []


def test_refusals() -> None:
    d = dialect()
    started(d)
    assert sent(d.refuse_reply("r1")) == [{"type": "response.cancel", "response_id": "r1"}]
    assert d.refuse_reply("r0") == []
    item = sent(d.refuse_tool("c1"))[0]["item"]
    assert item["type"] == "function_call_output"
    assert "no tools" in item["output"]


def test_odd_byte_counts_are_joined_and_told_once() -> None:
    d = dialect()
    started(d)
    first = say(d, delta("r1", "i1", b"\1\2\3"))
    assert isinstance(first[0], e.Troubled)
    assert first[1] == ReplyAudio("r1", "i1", b"\1\2")
    assert say(d, delta("r1", "i1", b"\4")) == [ReplyAudio("r1", "i1", b"\3\4")]
    assert say(d, delta("r1", "i1", b"\5")) == []


def test_speech_transcripts_and_words() -> None:
    d = dialect()
    assert say(d, {"type": "input_audio_buffer.speech_started"}) == [e.SpeechStarted("server")]
    assert say(d, {"type": "input_audio_buffer.speech_stopped"}) == [e.SpeechEnded("server")]
    assert say(d, {"type": "input_audio_buffer.committed", "item_id": "u1"}) == [e.TurnAccepted(7, "u1")]
    kind = "conversation.item.input_audio_transcription"
    completed = {"type": f"{kind}.completed", "item_id": "u1", "transcript": "hello"}
    assert say(d, completed) == [e.UserSaid(7, "u1", "hello")]
    failed = say(d, {"type": f"{kind}.failed", "item_id": "u1", "error": {"code": "audio_unintelligible"}})
    assert "audio_unintelligible: no message" in str(failed)
    word = {"type": "response.output_text.delta", "response_id": "r1", "delta": "Hi"}
    assert say(d, word) == []  # of which reply?
    started(d)
    for name in ("response.output_audio_transcript.delta", "response.output_text.delta"):
        assert say(d, {"type": name, "response_id": "r1", "delta": "Hi"}) == [e.ReplyText(7, "r1", "Hi")]


def test_a_reply_s_end_says_why_it_is_not_whole_and_which_tools_it_wants() -> None:
    d = dialect()
    error = {"code": "rate_limit_exceeded", "message": "slow\ndown"}
    causes: tuple[tuple[Any, str], ...] = (
        ({"error": error}, "the reply is failed: rate_limit_exceeded: slow down"),
        ({"reason": "content_filter"}, "content_filter"),
        (None, "no reason given"),
    )
    for details, words in causes:
        response: dict[str, Any] = {"id": "r1", "status": "failed", "status_details": details}
        started(d)
        ended = say(d, {"type": "response.done", "response": response})[0]
        assert isinstance(ended, e.ReplyEnded)
        assert words in (ended.trouble or "")
    call = {"type": "function_call", "name": "lights", "call_id": "c1"}
    started(d, "r2")
    response = {"id": "r2", "status": "completed", "output": [{"type": "message"}, call]}
    assert say(d, {"type": "response.done", "response": response}) == [
        e.ReplyEnded(7, "r2", audio=False, tool_calls=(e.ToolCall("c1", "lights"),))
    ]


def test_errors_are_told_and_only_the_fatal_ones_end_the_session() -> None:
    d = dialect()

    def fault(**fields: Any) -> list[Decoded]:
        return say(d, {"type": "error", "error": fields})

    assert fault(code="response_cancel_not_active") == []
    assert fault(type="server_error") == [e.Troubled(7, "the provider reports server_error: no message")]
    assert fault() == [e.Troubled(7, "the provider reports an error: no message")]
    refused = fault(code="unknown_parameter", message="no", param="session.x", event_id="pressel_update")
    assert refused == [e.Lost(7, "the provider reports unknown_parameter (session.x): no", fatal=True)]
    assert fault(code="invalid_api_key")[0] == e.Lost(
        7, "the provider reports invalid_api_key: no message", fatal=True
    )
    expired = fault(code="session_expired", message="60 minutes")
    assert expired == [e.Lost(7, "the provider reports session_expired: 60 minutes")]


def test_a_used_up_limit_is_told() -> None:
    limits = [
        {"name": "requests", "remaining": 0, "reset_seconds": 9.5},
        {"name": "tokens", "remaining": 5},
        {},
    ]
    told = say(dialect(), {"type": "rate_limits.updated", "rate_limits": limits})
    assert told == [e.Troubled(7, "rate limit: no requests left for 10 s")]


@pytest.mark.parametrize(
    "frame",
    [
        b"\x00\x01",
        "{",
        "[1]",
        '{"type": 5}',
        '{"type":"response.output_audio.delta","response_id":"r","item_id":"i","delta":"%%%"}',
        '{"type":"response.output_audio.delta","response_id":"r","delta":null}',
        '{"type":"session.created"}',
        "[" * 100_000,
    ],
)
def test_a_message_that_makes_no_sense_is_one_line(frame: str | bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        dialect().decode(frame)
    line = str(caught.value)
    assert line.startswith("the provider sent")
    assert "\n" not in line
    assert len(line) < 300


def test_unknown_messages_and_fields_are_ignored() -> None:
    assert dialect().decode('{"type": "conversation.item.added", "item": {"x": [1]}}') == []
    assert dialect().decode('{"type": "something.new"}') == []


def test_a_server_that_greets_with_its_conversation_is_answered_once() -> None:
    d = OpenAIDialect(7, Grant("openai", "ws://x"), (), 0.0)
    [update] = say(d, {"type": "conversation.created", "conversation": {"id": "conv_1"}})
    assert isinstance(update, Send)
    assert json.loads(update.frame)["type"] == "session.update"
    assert say(d, CREATED) == []


def test_null_stands_for_nothing_to_say() -> None:
    d = dialect()
    say(d, {"type": "session.created", "session": {"id": None}})
    assert say(d, {"type": "session.updated", "session": {"id": None}}) == [
        e.Opened(7, "", "local", "fresh", None)
    ]
    started(d)
    call = {"type": "function_call", "call_id": None, "name": None}
    done = {"id": "r1", "status": None, "output": [call, {"type": None}]}
    [ended] = say(d, {"type": "response.done", "response": done})
    assert ended == e.ReplyEnded(7, "r1", audio=False, tool_calls=(e.ToolCall("", ""),))
    started(d, "r2")
    assert say(d, {"type": "response.done", "response": {"id": "r2", "output": None}})
    assert say(d, {"type": "rate_limits.updated", "rate_limits": None}) == []


def ticks(d: OpenAIDialect, count: int) -> list[str]:
    return [frame["type"] for _ in range(count) for frame in sent(d.ping())]


def test_a_cancelled_reply_that_never_ends_holds_up_the_next_for_seconds_only() -> None:
    d = dialect()
    assert d.ping_s == 1.0
    started(d)
    d.interrupt(None, 0)
    assert [m["type"] for m in sent(d.end_turn())] == ["input_audio_buffer.commit"]
    assert ticks(d, 2) == []
    say(d, delta("r1", "i1", b"\0\0"))  # it goes on and on
    assert ticks(d, 1) == ["response.create"]
    assert ticks(d, 9) == []


def test_a_reply_that_still_sounds_is_waited_for_and_a_silent_one_is_not() -> None:
    d = dialect()
    started(d)
    d.end_turn()
    for _ in range(5):
        say(d, delta("r1", "i1", b"\0\0"))
        assert ticks(d, 2) == []
    assert ticks(d, 1) == ["response.create"]


def test_a_reply_whose_end_was_lost_does_not_hold_up_the_next() -> None:
    d = dialect()
    started(d)
    assert [m["type"] for m in sent(d.end_turn())] == ["input_audio_buffer.commit"]
    fault = {"type": "error", "error": {"code": "response_cancel_not_active"}}
    assert sent(say(d, fault)) == [{"type": "response.create"}]
    assert say(d, fault) == []
