"""The owner's settings as a GA session: what each becomes, and what is left out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from companion.errors import ConfigError, RequestError
from companion.realtime import GaSession
from companion.realtime_ga import audio_format, check_session, ga_session, minted
from companion.settings import SessionSettings
from companion.wire import AudioFormat

Json = dict[str, Any]


def settings(**given: Any) -> SessionSettings:
    return msgspec.convert(given, SessionSettings)


def session(*, server_turns: bool = False, codec: Any = None, **given: Any) -> Json:
    built = ga_session(settings(**given), server_turns=server_turns, transcription="own", codec=codec)
    msgspec.convert(built, GaSession)  # what is built is what is read
    return built


def test_what_is_not_set_is_the_provider_s_own() -> None:
    assert session() == {
        "type": "realtime",
        "output_modalities": ["audio"],
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24_000},
                "transcription": {"model": "own"},
                "turn_detection": None,
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24_000}},
        },
    }


@pytest.mark.parametrize(
    ("given", "place", "value"),
    [
        ({"voice": "marin"}, "audio.output.voice", "marin"),
        ({"voice": {"id": "voice_1234"}}, "audio.output.voice", {"id": "voice_1234"}),
        ({"speed": 0.25}, "audio.output.speed", 0.25),
        ({"output_codec": "g711_alaw"}, "audio.output.format", {"type": "audio/pcma"}),
        ({"input_codec": "g711_ulaw"}, "audio.input.format", {"type": "audio/pcmu"}),
        ({"noise_reduction": "near_field"}, "audio.input.noise_reduction", {"type": "near_field"}),
        ({"output_modality": "text"}, "output_modalities", ["text"]),
        ({"instructions": "Be brief."}, "instructions", "Be brief."),
        ({"max_output_tokens": 4096}, "max_output_tokens", 4096),
        ({"truncation": "disabled"}, "truncation", "disabled"),
        (
            {"truncation": {"retention_ratio": 0.8, "post_instructions": 5000}},
            "truncation",
            {"type": "retention_ratio", "retention_ratio": 0.8, "token_limits": {"post_instructions": 5000}},
        ),
        (
            {"truncation": {"retention_ratio": 0}},
            "truncation",
            {"type": "retention_ratio", "retention_ratio": 0},
        ),
        ({"prompt": {"id": "pmpt_1"}}, "prompt", {"id": "pmpt_1"}),
        (
            {"prompt": {"id": "p", "version": "2", "variables": {"city": "Oslo"}}},
            "prompt",
            {"id": "p", "version": "2", "variables": {"city": "Oslo"}},
        ),
        ({"tools": [{"name": "bare"}]}, "tools", [{"type": "function", "name": "bare"}]),
        (
            {"tools": [{"name": "t", "description": "d", "parameters": {"type": "object"}}]},
            "tools",
            [{"type": "function", "name": "t", "description": "d", "parameters": {"type": "object"}}],
        ),
        ({"tool_choice": {"name": "t"}}, "tool_choice", {"type": "function", "name": "t"}),
        (
            {"transcription": "whisper-1", "language": "en", "transcription_prompt": "names"},
            "audio.input.transcription",
            {"model": "whisper-1", "language": "en", "prompt": "names"},
        ),
    ],
)
def test_what_a_setting_becomes(given: Json, place: str, value: Any) -> None:
    found: Any = session(**given)
    for name in place.split("."):
        found = found[name]
    assert found == value


def test_no_transcription_is_left_out() -> None:
    assert "transcription" not in session(transcription="off")["audio"]["input"]


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (
            {"vad_threshold": 0.9, "vad_prefix_ms": 1, "vad_silence_ms": 2, "vad_idle_timeout_ms": 5000},
            {
                "type": "server_vad",
                "threshold": 0.9,
                "prefix_padding_ms": 1,
                "silence_duration_ms": 2,
                "idle_timeout_ms": 5000,
                "create_response": True,
                "interrupt_response": True,
            },
        ),
        (
            {
                "vad": "semantic",
                "vad_eagerness": "low",
                "vad_creates_response": False,
                "vad_interrupts": False,
            },
            {
                "type": "semantic_vad",
                "eagerness": "low",
                "create_response": False,
                "interrupt_response": False,
            },
        ),
    ],
)
def test_the_ends_of_turns(given: Json, value: Json) -> None:
    assert session(server_turns=True, **given)["audio"]["input"]["turn_detection"] == value
    assert session(**given)["audio"]["input"]["turn_detection"] is None


def test_turns_that_nobody_would_end_are_refused() -> None:
    with pytest.raises(RequestError, match=r'vad = "none".*turn_end = "client"') as caught:
        session(server_turns=True, vad="none")
    assert caught.value.status == 400
    assert session(vad="none")["audio"]["input"]["turn_detection"] is None


def test_the_device_s_codec_wins() -> None:
    audio = session(codec="g711_ulaw", output_codec="g711_alaw")["audio"]
    assert audio["input"]["format"] == audio["output"]["format"] == {"type": "audio/pcmu"}
    assert audio_format("g711_ulaw") == AudioFormat("g711_ulaw", 8000)
    assert audio_format("pcm16") == AudioFormat("pcm16", 24_000)


def test_model_and_tracing_go_into_the_mint_alone() -> None:
    assert "tracing" not in session(tracing="auto")
    plain = minted(session(), settings(), "m")
    assert (plain["model"], "tracing" in plain) == ("m", False)
    assert minted({}, settings(tracing="auto"), "m")["tracing"] == "auto"
    assert minted({}, settings(tracing={"group_id": "g"}), "m")["tracing"] == {"group_id": "g"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"vad": "semantic", "vad_idle_timeout_ms": 6000}, 'x.vad_idle_timeout_ms: only vad = "server"'),
        (
            {"tool_choice": {"name": "tim"}, "tools": [{"name": "time"}]},
            'no tool "tim". Did you mean "time"?',
        ),
    ],
)
def test_settings_that_do_not_go_together(given: Json, says: str) -> None:
    with pytest.raises(ConfigError, match=says.replace("?", r"\?")):
        check_session("x", settings(**given))
    check_session("x", settings())
