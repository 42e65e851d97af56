"""The beta shape before a GA server, event by event."""

from __future__ import annotations

import json
from typing import Any

import pytest

from companion.local.events import WireError
from companion.local.settings import DEFAULTS
from companion.simulators.beta import Beta

PCM = {"type": "audio/pcm", "rate": 24_000}


def up(event: Any) -> Any:
    return json.loads(Beta().up(json.dumps(event)))


def down(event: Any, beta: Beta | None = None) -> Any:
    text = (beta or Beta()).down(json.dumps(event))
    return None if text is None else json.loads(text)


def test_a_flat_session_becomes_a_nested_one() -> None:
    flat = {
        "modalities": ["text", "audio"],
        "voice": "alloy",
        "speed": 1.2,
        "input_audio_format": "g711_ulaw",
        "output_audio_format": "pcm16",
        "input_audio_transcription": {"model": "whisper-1"},
        "input_audio_noise_reduction": None,
        "turn_detection": None,
        "temperature": 0.7,
        "max_response_output_tokens": 200,
        "instructions": "Be brief.",
    }
    assert up({"type": "session.update", "event_id": "e1", "session": flat}) == {
        "type": "session.update",
        "event_id": "e1",
        "session": {
            "type": "realtime",
            "instructions": "Be brief.",
            "output_modalities": ["audio"],
            "max_output_tokens": 200,
            "audio": {
                "input": {
                    "format": {"type": "audio/pcmu"},
                    "transcription": {"model": "whisper-1"},
                    "noise_reduction": None,
                    "turn_detection": None,
                },
                "output": {"format": PCM, "voice": "alloy", "speed": 1.2},
            },
        },
    }


def test_the_temperature_is_kept_here_and_shown_with_the_flat_session() -> None:
    beta = Beta()
    beta.up(json.dumps({"type": "session.update", "session": {"temperature": 0.7}}))
    shown = down({"type": "session.updated", "session": {**DEFAULTS, "id": "sess_1"}}, beta)["session"]
    assert (shown["id"], shown["temperature"], shown["input_audio_format"]) == ("sess_1", 0.7, "pcm16")
    assert shown["modalities"] == ["text", "audio"]
    assert not {"audio", "output_modalities", "type"} & set(shown)


def test_a_response_and_an_item_are_spelled_anew() -> None:
    asked = up({"type": "response.create", "response": {"modalities": ["text"], "conversation": "none"}})
    assert asked["response"] == {"output_modalities": ["text"], "conversation": "none"}
    content = [{"type": "text", "text": "Hi."}]
    item = up({"type": "conversation.item.create", "item": {"role": "assistant", "content": content}})["item"]
    assert item["content"] == [{"type": "output_text", "text": "Hi."}]


@pytest.mark.parametrize(
    ("event", "param"),
    [
        (
            {"type": "session.update", "session": {"output_modalities": ["audio"]}},
            "session.output_modalities",
        ),
        ({"type": "session.update", "session": {"temperature": 2.0}}, "session.temperature"),
        ({"type": "response.create", "response": {"audio": {}}}, "response.audio"),
        (
            {"type": "conversation.item.create", "item": {"content": [{"type": "output_text"}]}},
            "item.content.type",
        ),
    ],
)
def test_what_beta_does_not_have_is_refused_by_its_name(event: Any, param: str) -> None:
    with pytest.raises(WireError) as caught:
        up({**event, "event_id": "e1"})
    assert caught.value.param == param
    assert caught.value.event_id == "e1"


def test_what_is_no_json_is_refused_and_what_is_no_object_is_the_servers_to_refuse() -> None:
    with pytest.raises(WireError, match="not valid JSON"):
        Beta().up("{")
    assert Beta().up("[]") == "[]"
    broken = {"type": "conversation.item.create", "item": {"content": "x"}}
    assert up(broken) == broken


@pytest.mark.parametrize(
    ("ga", "beta"),
    [
        ("response.output_audio.delta", "response.audio.delta"),
        ("response.output_audio_transcript.done", "response.audio_transcript.done"),
        ("response.output_text.delta", "response.text.delta"),
        ("conversation.item.added", "conversation.item.created"),
        ("input_audio_buffer.committed", "input_audio_buffer.committed"),
    ],
)
def test_events_have_their_older_names(ga: str, beta: str) -> None:
    assert down({"type": ga, "delta": "x"}) == {"type": beta, "delta": "x"}


def test_an_item_is_told_once_and_with_older_content() -> None:
    item = {"id": "i1", "content": [{"type": "output_audio", "transcript": "Hi."}]}
    assert down({"type": "conversation.item.done", "item": item}) is None
    shown = down({"type": "response.output_item.done", "item": item})["item"]
    assert shown["content"] == [{"type": "audio", "transcript": "Hi."}]


def test_an_error_names_the_flat_field() -> None:
    error = {"code": "invalid_value", "param": "session.audio.input.turn_detection.type"}
    assert down({"type": "error", "error": error})["error"]["param"] == "session.turn_detection.type"
