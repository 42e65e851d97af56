"""The owner's settings as a beta session, flat."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from companion.errors import ConfigError
from companion.realtime_beta import BetaSession, beta_session, check_beta
from companion.settings import SessionSettings

Json = dict[str, Any]


def settings(**given: Any) -> SessionSettings:
    return msgspec.convert(given, SessionSettings)


def session(*, server_turns: bool = False, codec: Any = None, **given: Any) -> Json:
    built = beta_session(settings(**given), server_turns=server_turns, transcription="own", codec=codec)
    msgspec.convert(built, BetaSession)
    return built


def test_what_is_not_set_is_the_provider_s_own() -> None:
    assert session() == {
        "modalities": ["text", "audio"],
        "input_audio_format": "pcm16",
        "output_audio_format": "pcm16",
        "input_audio_transcription": {"model": "own"},
        "turn_detection": None,
    }


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({"voice": "alloy"}, "voice", "alloy"),
        ({"temperature": 0.6}, "temperature", 0.6),
        ({"temperature": 1.2}, "temperature", 1.2),
        ({"output_modality": "text"}, "modalities", ["text"]),
        ({"input_codec": "g711_ulaw"}, "input_audio_format", "g711_ulaw"),
        ({"output_codec": "g711_alaw"}, "output_audio_format", "g711_alaw"),
        ({"noise_reduction": "far_field"}, "input_audio_noise_reduction", {"type": "far_field"}),
        ({"tools": [{"name": "t"}]}, "tools", [{"type": "function", "name": "t"}]),
        ({"speed": 1.5}, "speed", 1.5),
        ({"tool_choice": "required"}, "tool_choice", "required"),
        ({"max_output_tokens": 7}, "max_response_output_tokens", 7),
    ],
)
def test_what_a_setting_becomes(given: Json, name: str, value: Any) -> None:
    assert session(**given)[name] == value


def test_the_ends_of_turns_and_the_device_s_codec() -> None:
    found = session(server_turns=True, codec="g711_ulaw", vad_threshold=0.7)
    assert found["turn_detection"] == {
        "type": "server_vad",
        "threshold": 0.7,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 500,
        "create_response": True,
        "interrupt_response": True,
    }
    assert (found["input_audio_format"], found["output_audio_format"]) == ("g711_ulaw", "g711_ulaw")
    assert session(server_turns=True, vad="semantic")["turn_detection"]["type"] == "semantic_vad"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"voice": {"id": "v"}}, "x.voice: the beta shape has none of one's own"),
        ({"prompt": {"id": "p"}}, "x.prompt: the beta shape has none; it is for provider"),
        ({"truncation": "disabled"}, "x.truncation: the beta shape has none"),
        ({"vad_idle_timeout_ms": 6000}, "x.vad_idle_timeout_ms: the beta shape has none"),
        ({"tool_choice": {"name": "t"}}, "x.tool_choice: the beta shape has none by name"),
    ],
)
def test_what_only_ga_has_is_refused(given: Json, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        check_beta("x", settings(**given))
    check_beta("x", settings(temperature=0.8))
