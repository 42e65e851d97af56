"""The session that a plain backend is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from device.config import Config, load
from device.errors import ConfigError
from device.token_session import session_settings

if TYPE_CHECKING:
    from pathlib import Path

OWNER = 'board = "simulated"\n[backend]\nkind = "token"\nurl = "http://127.0.0.1:1"\n'


def settings(tmp_path: Path, more: str = "") -> dict[str, Any]:
    file = tmp_path / "config.toml"
    file.write_text(OWNER + more)
    config: Config = load(file).config
    return session_settings(config)


def test_by_the_button_the_server_detects_no_turns(tmp_path: Path) -> None:
    assert settings(tmp_path)["audio"]["input"]["turn_detection"] is None
    client = '[talk]\nmode = "open_mic"\nturn_end = "client"\n'
    assert settings(tmp_path, client)["audio"]["input"]["turn_detection"] is None


def test_in_an_open_talk_the_server_detects_them_by_the_owner_s_numbers(tmp_path: Path) -> None:
    more = '[talk]\nmode = "open_mic"\n[session]\nvad_silence_ms = 900\n'
    detection = settings(tmp_path, more)["audio"]["input"]["turn_detection"]
    assert detection["type"] == "server_vad"
    assert detection["silence_duration_ms"] == 900


def test_the_owner_s_session_is_in_the_ga_shape(tmp_path: Path) -> None:
    more = '[session]\nvoice = "cedar"\ninstructions = "Be brief."\nspeed = 1.2\nnoise_reduction = "none"\n'
    found = settings(tmp_path, more + 'transcription_language = "de"\nmax_output_tokens = 500\n')
    assert found["instructions"] == "Be brief."
    assert found["max_output_tokens"] == 500
    assert found["output_modalities"] == ["audio"]
    assert found["audio"]["output"] == {
        "format": {"type": "audio/pcm", "rate": 24000},
        "voice": "cedar",
        "speed": 1.2,
    }
    assert found["audio"]["input"]["noise_reduction"] is None
    assert found["audio"]["input"]["transcription"] == {"model": "gpt-4o-mini-transcribe", "language": "de"}


def test_the_beta_shape_is_flat(tmp_path: Path) -> None:
    more = 'dialect = "openai-beta"\n[session]\nvoice = "alloy"\nspeed = 1.2\ntranscription_model = "off"\n'
    assert settings(tmp_path, more) == {
        "modalities": ["text", "audio"],
        "voice": "alloy",
        "speed": 1.2,
        "input_audio_format": "pcm16",
        "output_audio_format": "pcm16",
        "input_audio_transcription": None,
        "input_audio_noise_reduction": {"type": "far_field"},
        "turn_detection": None,
        "max_response_output_tokens": "inf",
    }


def test_a_thin_link_is_asked_for_in_each_shape(tmp_path: Path) -> None:
    audio = settings(tmp_path, 'codec = "g711_ulaw"\n')["audio"]
    assert audio["input"]["format"] == audio["output"]["format"] == {"type": "audio/pcmu"}
    flat = settings(tmp_path, 'dialect = "openai-beta"\ncodec = "g711_alaw"\n')
    assert (flat["input_audio_format"], flat["output_audio_format"]) == ("g711_alaw", "g711_alaw")


def test_outspeed_is_asked_for_what_it_has(tmp_path: Path) -> None:
    more = 'dialect = "outspeed"\nrealtime_url = "wss://own.example/v1"\n[talk]\nmode = "open_mic"\n'
    found = settings(tmp_path, more + '[session]\ninstructions = "Be brief."\n')
    assert found["input_audio_transcription"] == {"model": "whisper-v3-turbo"}
    assert found["turn_detection"]["send_event_on_vad_state_change"] is True
    assert found["instructions"] == "Be brief."
    assert not {"speed", "voice", "input_audio_noise_reduction"} & set(found)
    assert settings(tmp_path, more.partition("[talk]")[0])["turn_detection"] is None


def test_outspeed_has_no_public_socket_for_sound(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"backend\.realtime_url is missing"):
        settings(tmp_path, 'dialect = "outspeed"\n')
