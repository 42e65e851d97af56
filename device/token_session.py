"""The session that a plain backend is asked for, from the owner's configuration, in the provider's shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from device.config import Config

Settings = dict[str, Any]

_VOICE = "marin"  # OpenAI's own choice for GA; the others have their own
_FORMATS: dict[str, Settings] = {
    "pcm16": {"type": "audio/pcm", "rate": 24000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}
_TRANSCRIPTION = {
    "openai": "gpt-4o-mini-transcribe",
    "openai-beta": "whisper-1",
    "outspeed": "whisper-v3-turbo",
}


def session_settings(config: Config) -> Settings:
    """Return the session object: nested for OpenAI GA, flat for the beta shape and for Outspeed."""
    match config.backend.dialect:
        case "openai":
            return _nested(config)
        case "openai-beta":
            return _beta(config)
        case "outspeed":
            return _outspeed(config)


def _nested(config: Config) -> Settings:
    session = config.session
    hear = {
        "format": _FORMATS[_codec(config)],
        "transcription": _transcription(config),
        "noise_reduction": _noise(config),
        "turn_detection": _detection(config),
    }
    speak = {"format": _FORMATS[_codec(config)], "voice": session.voice or _VOICE, "speed": session.speed}
    return {
        "output_modalities": ["audio"],
        "max_output_tokens": session.max_output_tokens,
        **_instructions(config),
        "audio": {"input": hear, "output": speak},
    }


def _flat(config: Config) -> Settings:
    session = config.session
    return {
        "modalities": ["text", "audio"],
        "input_audio_format": _codec(config),
        "output_audio_format": _codec(config),
        "input_audio_transcription": _transcription(config),
        "turn_detection": _detection(config),
        "max_response_output_tokens": session.max_output_tokens,
        **_instructions(config),
        **({"voice": session.voice} if session.voice else {}),
    }


def _beta(config: Config) -> Settings:
    own = {"speed": config.session.speed, "input_audio_noise_reduction": _noise(config)}
    return {**_flat(config), **own}


def _outspeed(config: Config) -> Settings:
    """Outspeed tells the edges of speech on request only."""
    flat = _flat(config)
    if flat["turn_detection"]:
        flat["turn_detection"]["send_event_on_vad_state_change"] = True
    return flat


def _codec(config: Config) -> str:
    return config.backend.codec or "pcm16"


def _instructions(config: Config) -> Settings:
    return {"instructions": config.session.instructions} if config.session.instructions else {}


def _noise(config: Config) -> Settings | None:
    kind = config.session.noise_reduction
    return None if kind == "none" else {"type": kind}


def _transcription(config: Config) -> Settings | None:
    session = config.session
    if session.transcription_model == "off":
        return None
    model = {"model": session.transcription_model or _TRANSCRIPTION[config.backend.dialect]}
    return {**model, "language": session.transcription_language} if session.transcription_language else model


def _detection(config: Config) -> Settings | None:
    """Return how the server finds the ends of turns; None where the device does."""
    session, talk = config.session, config.talk
    if talk.mode != "open_mic" or talk.turn_end != "server":
        return None
    return {
        "type": "server_vad",
        "threshold": session.vad_threshold,
        "prefix_padding_ms": session.vad_prefix_ms,
        "silence_duration_ms": session.vad_silence_ms,
        "create_response": True,
        "interrupt_response": True,
    }
