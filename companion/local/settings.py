"""The effective session: defaults, merged updates, and what this server cannot do said at once."""

from __future__ import annotations

from typing import Any

import msgspec

from companion.local.events import WireError
from companion.local.formats import PCM
from companion.local.voice import OWN_VOICE, VOICES
from companion.realtime import GaSession, ServerVad

MODEL = "pressel-local"
TRANSCRIPTION = "pocketsphinx-en-us"

DEFAULTS: dict[str, Any] = {
    "type": "realtime",
    "object": "realtime.session",
    "model": MODEL,
    "output_modalities": ["audio"],
    "instructions": "",
    "tools": [],
    "tool_choice": "auto",
    "max_output_tokens": "inf",
    "truncation": "auto",
    "tracing": None,
    "prompt": None,
    "include": None,
    "audio": {
        "input": {
            "format": PCM,
            "transcription": None,
            "noise_reduction": None,
            "turn_detection": msgspec.to_builtins(ServerVad()),
        },
        "output": {"format": PCM, "voice": OWN_VOICE, "speed": 1.0},
    },
}


class Settings(msgspec.Struct, frozen=True):
    """What the session machine acts on. `max_tokens` None: no limit; the formats as on the wire."""

    instructions: str
    spoken: bool
    voice: str
    speed: float
    transcribe: bool
    vad: ServerVad | None
    max_tokens: int | None
    hears: dict[str, Any]
    speaks: dict[str, Any]


def updated(effective: dict[str, Any], change: GaSession, *, voice_fixed: bool = False) -> dict[str, Any]:
    """Return the session after a session.update, or raise WireError and change nothing."""
    if change.model is not msgspec.UNSET and change.model != effective["model"]:
        raise WireError("invalid_value", "The model of a session cannot be changed.", "session.model")
    raw = msgspec.to_builtins(change)
    merged = merge(effective, raw, "session")
    voice = merged["audio"]["output"]["voice"]
    if voice_fixed and voice != effective["audio"]["output"]["voice"]:
        text = "The voice cannot be changed once there was audio."
        raise WireError("cannot_update_voice", text, "session.audio.output.voice")
    return merged


def merge(effective: dict[str, Any], raw: dict[str, Any], at: str) -> dict[str, Any]:
    """Lay `raw` over the session; refuse what this server cannot do. `at` names the place in errors."""
    audio = raw.get("audio", {})
    merged = {**effective, **raw}
    merged["audio"] = {
        side: {**effective["audio"][side], **audio.get(side, {})} for side in ("input", "output")
    }
    _check(merged["audio"], f"{at}.audio")
    return merged


def settings(effective: dict[str, Any]) -> Settings:
    """Read the effective session."""
    hear, speak = effective["audio"]["input"], effective["audio"]["output"]
    most = effective["max_output_tokens"]
    vad = hear["turn_detection"]
    return Settings(
        instructions=effective["instructions"],
        spoken=effective["output_modalities"] == ["audio"],
        voice=speak["voice"],
        speed=speak["speed"],
        transcribe=hear["transcription"] is not None,
        vad=msgspec.convert(vad, ServerVad) if vad else None,
        max_tokens=None if most == "inf" else most,
        hears=hear["format"],
        speaks=speak["format"],
    )


def _check(audio: dict[str, Any], at: str) -> None:
    if audio["output"]["voice"] not in VOICES:
        text = f"No such voice; there are: {', '.join(VOICES)}."
        raise WireError("invalid_value", text, f"{at}.output.voice")
    detection = audio["input"]["turn_detection"]
    if detection and detection["type"] == "semantic_vad":
        text = "This server has server_vad and null, no semantic_vad."
        raise WireError("invalid_value", text, f"{at}.input.turn_detection.type")
    if detection and detection["idle_timeout_ms"] is not None:
        text = "This server has no idle time-out; leave it null."
        raise WireError("invalid_value", text, f"{at}.input.turn_detection.idle_timeout_ms")
