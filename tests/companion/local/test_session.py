"""The protocol, event by event, over a real socket: what is answered, and that a fault costs nothing."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from tests.companion.talk import Client, silence, speech

if TYPE_CHECKING:
    from collections.abc import Callable

Event = dict[str, Any]


def message(role: str, text: str, **more: Any) -> Event:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}], **more}


def put(client: Client, item: Event, **more: Any) -> Event:
    client.send("conversation.item.create", item=item, **more)
    added = client.until("conversation.item.added")
    done = client.until("conversation.item.done")
    assert added["item"] == done["item"]
    assert added["previous_item_id"] == done["previous_item_id"]
    return done


def lives(client: Client) -> None:
    """The session still answers."""
    client.send("input_audio_buffer.clear")
    client.until("input_audio_buffer.cleared")


def say(client: Client, text: str) -> Event:
    """Ask in writing for a spoken reply, and read it; returns response.done."""
    put(client, message("user", text))
    client.send("response.create")
    return client.until("response.done")


# session.update


def test_the_server_speaks_first(client: Client) -> None:
    assert client.kinds()[:3] == ["session.created", "conversation.created", "session.updated"]
    ids = [event["event_id"] for event in client.seen]
    assert len(set(ids)) == len(ids)


def test_an_update_changes_what_is_present_and_answers_the_whole(client: Client) -> None:
    before = client.seen[-1]["session"]
    audio = {"output": {"speed": 1.25}, "input": {"turn_detection": {"type": "server_vad", "threshold": 0.8}}}
    client.send("session.update", session={"type": "realtime", "instructions": "Be brief.", "audio": audio})
    after = client.until("session.updated")["session"]
    assert after["instructions"] == "Be brief."
    assert after["audio"]["output"] == {**before["audio"]["output"], "speed": 1.25}
    assert after["audio"]["input"]["transcription"] == before["audio"]["input"]["transcription"]
    detection = after["audio"]["input"]["turn_detection"]
    assert (detection["threshold"], detection["create_response"], detection["prefix_padding_ms"]) == (
        0.8,
        True,
        300,
    )
    assert (after["id"], after["expires_at"]) == (before["id"], before["expires_at"])


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"type": "realtime", "temperature": 0.8}, "unknown_parameter", "session.temperature"),
        ({"type": "realtime", "modalities": ["text"]}, "unknown_parameter", "session.modalities"),
        (
            {"type": "realtime", "input_audio_format": "pcm16"},
            "unknown_parameter",
            "session.input_audio_format",
        ),
        (
            {"type": "realtime", "audio": {"input": {"voice": "x"}}},
            "unknown_parameter",
            "session.audio.input.voice",
        ),
        ({"instructions": "x"}, "missing_required_parameter", "session.type"),
        ({"type": "transcription"}, "invalid_value", "session.type"),
        ({"type": "realtime", "instructions": 3}, "invalid_type", "session.instructions"),
        (
            {"type": "realtime", "output_modalities": ["audio", "text"]},
            "invalid_value",
            "session.output_modalities",
        ),
        ({"type": "realtime", "max_output_tokens": 5000}, "invalid_value", "session.max_output_tokens"),
        ({"type": "realtime", "model": "other"}, "invalid_value", "session.model"),
        (
            {"type": "realtime", "audio": {"output": {"speed": 2.0}}},
            "invalid_value",
            "session.audio.output.speed",
        ),
        (
            {"type": "realtime", "audio": {"output": {"voice": "bob"}}},
            "invalid_value",
            "session.audio.output.voice",
        ),
        (
            {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}},
            "invalid_value",
            "session.audio.input.format.rate",
        ),
        (
            {"type": "realtime", "audio": {"output": {"format": {"type": "audio/opus"}}}},
            "invalid_value",
            "session.audio.output.format.type",
        ),
        (
            {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}},
            "invalid_value",
            "session.audio.input.turn_detection.type",
        ),
        (
            {
                "type": "realtime",
                "audio": {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 6000}}},
            },
            "invalid_value",
            "session.audio.input.turn_detection.idle_timeout_ms",
        ),
    ],
)
def test_one_fault_refuses_the_whole_update(client: Client, session: Event, code: str, param: str) -> None:
    client.send("session.update", event_id="mine", session={**session, "tools": []})
    error = client.error()
    assert (error["code"], error["param"], error["event_id"]) == (code, param, "mine")
    client.send("session.update", session={"type": "realtime"})
    assert client.until("session.updated")["session"] == client.seen[2]["session"]


def test_the_voice_is_fixed_once_it_was_heard(client: Client) -> None:
    change = {"type": "realtime", "audio": {"output": {"voice": "marin"}}}
    client.send("session.update", session=change)
    client.until("session.updated")
    say(client, "hello")
    client.send("session.update", session=change)
    client.until("session.updated")
    client.send("session.update", session={"type": "realtime", "audio": {"output": {"voice": "cedar"}}})
    assert client.error()["code"] == "cannot_update_voice"


# what is no event


@pytest.mark.parametrize(
    ("text", "code", "param"),
    [
        ("{", "invalid_event", None),
        ("", "invalid_event", None),
        ("[]", "invalid_event", None),
        ("{}", "invalid_event", None),
        ('"x"', "invalid_event", None),
        ("[" * 100_000, "invalid_event", None),
        (
            '{"type":"response.create","response":{"tools":[{"type":"function","name":"f","parameters":{"a":'
            + "[" * 100_000,
            "invalid_event",
            None,
        ),
        ('{"type":"nonsense"}', "invalid_value", "type"),
        ('{"type":3}', "invalid_value", "type"),
        ('{"type":"input_audio_buffer.append"}', "missing_required_parameter", "audio"),
        ('{"type":"input_audio_buffer.append","audio":"%%%"}', "invalid_value", "audio"),
        ('{"type":"input_audio_buffer.append","audio":"AAA"}', "invalid_value", "audio"),
        ('{"type":"input_audio_buffer.append","audio":7}', "invalid_type", "audio"),
        ('{"type":"input_audio_buffer.append","audio":"AAAA"}', "invalid_value", "audio"),  # 3 bytes
        ('{"type":"input_audio_buffer.append","audio":"' + "A" * (15 * 2**20 + 2000) + '"}', None, "audio"),
        ('{"type":"input_audio_buffer.commit","x":1}', "unknown_parameter", "x"),
        (
            '{"type":"response.create","response":{"modalities":[]}}',
            "unknown_parameter",
            "response.modalities",
        ),
    ],
)
def test_a_broken_event_is_refused_and_the_session_lives(
    client: Client, text: str, code: str | None, param: str | None
) -> None:
    client.socket.send(text)
    error = client.error()
    assert (error["code"], error["param"]) == (code or "string_above_max_length", param)
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    lives(client)


def test_a_binary_frame_is_refused_and_the_session_lives(client: Client) -> None:
    client.socket.send(b"\0\0")
    assert client.error()["code"] == "invalid_event"
    lives(client)


# the input buffer


@pytest.mark.parametrize(("ms", "says"), [(0, "only has 0.00ms"), (99, "only has 99.00ms")])
def test_less_than_100_ms_is_not_committed(client: Client, ms: int, says: str) -> None:
    client.append(silence(ms))
    client.send("input_audio_buffer.commit", event_id="mine")
    error = client.error()
    assert (error["code"], error["event_id"]) == ("input_audio_buffer_commit_empty", "mine")
    assert says in error["message"]


def test_a_commit_makes_an_item_and_no_reply(client: Client) -> None:
    first = put(client, message("user", "hi"))["item"]["id"]
    client.append(silence(100))
    client.send("input_audio_buffer.commit")
    committed = client.until("input_audio_buffer.committed")
    added, done = client.until("conversation.item.added"), client.until("conversation.item.done")
    assert committed["previous_item_id"] == added["previous_item_id"] == done["previous_item_id"] == first
    assert committed["item_id"] == added["item"]["id"]
    assert added["item"]["content"] == [{"type": "input_audio", "transcript": None}]
    client.until("conversation.item.input_audio_transcription.completed")
    lives(client)
    assert "response.created" not in client.kinds()
    client.send("input_audio_buffer.commit")
    assert client.error()["code"] == "input_audio_buffer_commit_empty"


def test_cleared_audio_is_gone(client: Client) -> None:
    client.append(speech("my name is peter"))
    lives(client)
    client.send("input_audio_buffer.commit")
    assert client.error()["code"] == "input_audio_buffer_commit_empty"
    client.append(speech("what time is it"))
    client.send("input_audio_buffer.commit")
    completed = client.until("conversation.item.input_audio_transcription.completed")
    assert completed["transcript"] == "what time is it"
    assert completed["usage"]["type"] == "duration"


def test_without_transcription_no_transcript_is_sent(client: Client) -> None:
    client.send("session.update", session={"type": "realtime", "audio": {"input": {"transcription": None}}})
    client.until("session.updated")
    client.ask("what time is it")
    assert client.answer()[0].startswith("It is ")
    assert not [kind for kind in client.kinds() if "input_audio_transcription" in kind]


# the conversation


def test_items_are_put_where_they_are_asked(client: Client) -> None:
    a = put(client, message("user", "a", id="item_a"))
    b = put(client, message("assistant", "b", id="item_b"), previous_item_id=None)
    first = put(client, message("system", "s", id="item_s"), previous_item_id="root")
    between = put(client, message("user", "c", id="item_c"), previous_item_id="item_a")
    assert [event["previous_item_id"] for event in (a, b, first, between)] == [None, "item_a", None, "item_a"]
    assert b["item"] == {
        "id": "item_b",
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "b"}],
    }


@pytest.mark.parametrize(
    ("item", "more", "code", "param"),
    [
        (
            message("user", "x"),
            {"previous_item_id": "no"},
            "item_create_invalid_previous_item_id",
            "previous_item_id",
        ),
        ({**message("user", "x"), "role": "robot"}, {}, "invalid_value", "item.role"),
        ({**message("user", "x"), "type": "function_call"}, {}, "invalid_value", "item.type"),
        ({**message("user", "x"), "content": []}, {}, "invalid_value", "item.content"),
        ({**message("user", "x"), "words": 1}, {}, "unknown_parameter", "item.words"),
        ({**message("assistant", "x"), "role": "user"}, {}, "invalid_value", "item.content[0].type"),
        ({**message("user", "x"), "role": "assistant"}, {}, "invalid_value", "item.content[0].type"),
        (
            {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "AAAA"}]},
            {},
            "invalid_value",
            "item.content[0].type",
        ),
        (
            {"type": "message", "role": "user", "content": [{"type": "text", "text": "x"}]},
            {},
            "invalid_value",
            "item.content[0].type",
        ),
    ],
)
def test_an_item_that_cannot_be_is_refused(
    client: Client, item: Event, more: Event, code: str, param: str
) -> None:
    client.send("conversation.item.create", item=item, **more)
    error = client.error()
    assert (error["code"], error["param"]) == (code, param)
    lives(client)


def test_an_id_is_used_once(client: Client) -> None:
    put(client, message("user", "a", id="item_a"))
    client.send("conversation.item.create", item=message("user", "b", id="item_a"))
    assert client.error()["code"] == "item_create_duplicate_id"


def test_seeded_turns_are_known_and_deleted_ones_are_not(client: Client) -> None:
    told = put(client, message("user", "My name is Peter."))["item"]["id"]
    put(client, message("assistant", "Nice to meet you."))
    assert "Peter" in say(client, "what is my name")["response"]["output"][0]["content"][0]["transcript"]
    client.send("conversation.item.delete", item_id=told)
    assert client.until("conversation.item.deleted")["item_id"] == told
    done = say(client, "what is my name")
    assert "have not told" in done["response"]["output"][0]["content"][0]["transcript"]
    client.send("conversation.item.retrieve", item_id=told)
    assert client.error()["code"] == "item_retrieve_invalid_item_id"


@pytest.mark.parametrize("what", ["delete", "retrieve", "truncate"])
def test_an_unknown_item_is_refused(client: Client, what: str) -> None:
    more = {"content_index": 0, "audio_end_ms": 0} if what == "truncate" else {}
    client.send(f"conversation.item.{what}", item_id="item_no", **more)
    error = client.error()
    assert (error["code"], error["param"]) == (f"item_{what}_invalid_item_id", "item_id")


# replies


def test_a_reply_comes_in_the_documented_order(client: Client) -> None:
    client.ask("what time is it")
    client.answer()
    silent = [kind for kind in client.kinds() if "transcription" not in kind][6:]
    assert silent[:6] == [
        "response.created",
        "rate_limits.updated",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
    ]
    assert set(silent[6:-6]) == {"response.output_audio.delta"}
    assert silent[-6:] == [
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]


def test_all_events_of_a_reply_name_it_alike(client: Client) -> None:
    done = say(client, "hello")["response"]
    item = done["output"][0]
    assert (done["status"], done["status_details"]) == ("completed", None)
    assert item["content"] == [{"type": "output_audio", "transcript": "Hello. What can I do for you?"}]
    assert done["usage"]["total_tokens"] == done["usage"]["input_tokens"] + done["usage"]["output_tokens"] > 0
    of_it = [event for event in client.seen if event.get("response_id") == done["id"]]
    assert len(of_it) > 10
    for event in of_it:
        assert event.get("item_id", item["id"]) == item["id"]
        assert event["output_index"] == 0
    words = "".join(event["delta"] for event in of_it if event["type"].endswith("transcript.delta"))
    assert words == item["content"][0]["transcript"]
    [limits] = [event["rate_limits"] for event in client.seen if event["type"] == "rate_limits.updated"]
    assert [set(limit) for limit in limits] == [{"name", "limit", "remaining", "reset_seconds"}]


def test_a_reply_in_writing(client: Client) -> None:
    put(client, message("user", "hello"))
    client.send("response.create", response={"output_modalities": ["text"]})
    done = client.until("response.done")["response"]
    assert done["output"][0]["content"] == [{"type": "output_text", "text": "Hello. What can I do for you?"}]
    assert client.kinds().count("response.output_text.delta") == 2
    assert "response.output_text.done" in client.kinds()
    assert "response.output_audio.delta" not in client.kinds()


def test_a_reply_out_of_band_is_not_kept(client: Client) -> None:
    put(client, message("user", "hello"))
    client.send("response.create", response={"conversation": "none", "metadata": {"k": "v"}})
    done = client.until("response.done")["response"]
    assert done["metadata"] == {"k": "v"}
    assert client.kinds().count("conversation.item.added") == 1
    client.send("conversation.item.retrieve", item_id=done["output"][0]["id"])
    assert client.error()["code"] == "item_retrieve_invalid_item_id"


def test_a_token_limit_ends_a_reply_as_incomplete(client: Client) -> None:
    put(client, message("user", "tell me a story"))
    client.send("response.create", response={"max_output_tokens": 5})
    done = client.until("response.done")["response"]
    assert done["status"] == "incomplete"
    assert done["status_details"]["reason"] == "max_output_tokens"
    assert done["output"][0]["content"][0]["transcript"] == "Once there was a small"


def test_one_reply_at_a_time(client: Client) -> None:
    put(client, message("user", "tell me a story"))
    client.send("response.create")
    client.send("response.create", event_id="mine")
    error = client.error()
    assert (error["code"], error["event_id"]) == ("conversation_already_has_active_response", "mine")
    client.send("response.cancel")
    assert client.until("response.done")["response"]["status"] == "cancelled"


@pytest.mark.parametrize("named", [{}, {"response_id": "resp_other"}])
def test_a_cancel_without_a_reply_is_harmless(client: Client, named: Event) -> None:
    client.send("response.cancel", **named)
    assert client.error()["code"] == "response_cancel_not_active"
    lives(client)


def test_a_cancel_of_another_reply_leaves_this_one(client: Client) -> None:
    put(client, message("user", "tell me a story"))
    client.send("response.create")
    response = client.until("response.created")["response"]
    client.send("response.cancel", response_id="resp_other")
    assert client.error()["code"] == "response_cancel_not_active"
    client.send("response.cancel", response_id=response["id"])
    assert client.until("response.done")["response"]["status"] == "cancelled"


def test_a_cancelled_reply_ends_at_once_and_in_order(client: Client) -> None:
    put(client, message("user", "tell me a story"))
    client.send("response.create")
    client.until("response.output_audio.delta")
    client.send("response.cancel")
    done = client.until("response.done")["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "client_cancelled")
    assert done["output"][0]["status"] == "incomplete"
    for kind in ("output_audio", "output_audio_transcript", "content_part", "output_item"):
        assert client.kinds().count(f"response.{kind}.done") == 1
    mark = len(client.seen)
    say(client, "hello")
    late = [event for event in client.seen[mark:] if event.get("response_id") == done["id"]]
    assert late == []


# truncate


def audio_ms(client: Client, response_id: str) -> float:
    mine = [
        e
        for e in client.seen
        if e["type"] == "response.output_audio.delta" and e["response_id"] == response_id
    ]
    return sum(len(base64.b64decode(event["delta"])) for event in mine) / 48


def test_a_truncated_reply_keeps_only_what_was_heard(client: Client) -> None:
    put(client, message("user", "My name is Peter."))
    done = say(client, "what is my name")["response"]
    item_id = done["output"][0]["id"]
    whole = int(audio_ms(client, done["id"]))
    client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=whole * 6 // 10)
    truncated = client.until("conversation.item.truncated")
    assert (truncated["item_id"], truncated["audio_end_ms"]) == (item_id, whole * 6 // 10)
    client.send("conversation.item.retrieve", item_id=item_id)
    kept = client.until("conversation.item.retrieved")["item"]["content"][0]["transcript"]
    assert kept == "Your name"
    again = say(client, "say that again")["response"]["output"][0]["content"][0]["transcript"]
    assert again == "Your name"


def test_a_reply_of_which_nothing_was_heard_was_not_said(client: Client) -> None:
    item_id = say(client, "hello")["response"]["output"][0]["id"]
    client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=0)
    client.until("conversation.item.truncated")
    again = say(client, "say that again")["response"]["output"][0]["content"][0]["transcript"]
    assert again == "I have not said anything yet."


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        (lambda ask, whole: {**ask, "audio_end_ms": whole + 1}, "invalid_value", "audio_end_ms"),
        (lambda ask, _: {**ask, "audio_end_ms": -1}, "invalid_value", "audio_end_ms"),
        (lambda ask, _: {**ask, "audio_end_ms": 1.5}, "invalid_type", "audio_end_ms"),
        (lambda ask, _: {**ask, "content_index": 1}, "invalid_value", "content_index"),
    ],
)
def test_a_truncation_that_cannot_be_is_refused(
    client: Client, change: Callable[[Event, int], Event], code: str, param: str
) -> None:
    done = say(client, "hello")["response"]
    whole = int(audio_ms(client, done["id"]))
    ask = {"item_id": done["output"][0]["id"], "content_index": 0, "audio_end_ms": whole}
    client.send("conversation.item.truncate", **change(ask, whole))
    error = client.error()
    assert (error["code"], error["param"]) == (code, param)
    client.send("conversation.item.truncate", **ask)
    client.until("conversation.item.truncated")


def test_a_users_item_cannot_be_truncated(client: Client) -> None:
    item_id = put(client, message("user", "x"))["item"]["id"]
    client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=0)
    assert client.error()["code"] == "invalid_value"


@pytest.mark.parametrize("what", ["delete", "truncate"])
def test_a_reply_that_is_being_made_is_not_touched(client: Client, what: str) -> None:
    put(client, message("user", "tell me a story"))
    client.send("response.create")
    item_id = client.until("response.output_audio.delta")["item_id"]
    more = {"content_index": 0, "audio_end_ms": 0} if what == "truncate" else {}
    client.send(f"conversation.item.{what}", item_id=item_id, **more)
    assert "still being made" in client.error()["message"]
    client.send("response.cancel")
    client.until("response.done")
