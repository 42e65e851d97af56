"""What the parts are made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from device.config import Config, load
from device.parts import session_settings

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
