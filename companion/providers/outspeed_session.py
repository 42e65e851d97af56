"""The session that Outspeed is asked for: the beta shape's, with fields of its own and without some.

Source: outspeed-ai/voice-devtools and OutspeedSwift, the bodies that they mint with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from companion.errors import ConfigError
from companion.realtime import Function, SemanticVad
from companion.realtime_ga import functions, turn_detection
from companion.settings import SessionSettings

if TYPE_CHECKING:
    from companion.settings import Endpoint

TRANSCRIPTION = "whisper-v3-turbo"
VOICES = ("tara", "leah", "jess", "leo", "dan", "mia", "zac", "zoe", "julia")
_HAS_NOT = (
    "speed",
    "noise_reduction",
    "language",
    "transcription_prompt",
    "output_modality",
    "input_codec",
    "output_codec",
    "prompt",
    "truncation",
    "tracing",
    "tool_choice",
    "vad_idle_timeout_ms",
)


class TurnDetection(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server finds the ends of turns; its edges of speech are told only on request."""

    type: Literal["server_vad", "semantic_vad"]
    create_response: bool
    interrupt_response: bool
    threshold: float | UnsetType = UNSET
    prefix_padding_ms: int | UnsetType = UNSET
    silence_duration_ms: int | UnsetType = UNSET
    eagerness: str | UnsetType = UNSET
    rms_threshold: float | UnsetType = UNSET
    send_event_on_vad_state_change: bool = True


class Transcription(msgspec.Struct, frozen=True):
    """Which model writes down what the user says."""

    model: str = TRANSCRIPTION


class SessionBody(msgspec.Struct, frozen=True):
    """The flat session of OpenAI's beta shape, as far as Outspeed has it."""

    voice: str
    temperature: float | UnsetType
    turn_detection: TurnDetection | None
    input_audio_transcription: Transcription | None
    instructions: str | UnsetType = UNSET
    tools: list[Function] | UnsetType = UNSET
    max_response_output_tokens: int | UnsetType = UNSET
    modalities: tuple[str, ...] = ("text", "audio")
    input_audio_format: str = "pcm16"
    output_audio_format: str = "pcm16"


def session_body(endpoint: Endpoint, *, server_turns: bool) -> SessionBody:
    """Return the session for one grant. `server_turns`: the server finds where a turn ends."""
    settings = endpoint.session
    most = settings.max_output_tokens
    return SessionBody(
        voice=settings.voice_name or VOICES[0],
        temperature=UNSET if settings.temperature is None else settings.temperature,
        turn_detection=_detection(endpoint) if server_turns else None,
        input_audio_transcription=None if settings.transcription == "off" else Transcription(),
        instructions=settings.instructions or UNSET,
        tools=functions(settings),
        max_response_output_tokens=UNSET if most == "inf" else most,
    )


def _detection(endpoint: Endpoint) -> TurnDetection:
    found = turn_detection(endpoint.session)
    own: dict[str, Any] = {"rms_threshold": endpoint.outspeed.rms_threshold}
    if isinstance(found, SemanticVad):
        own |= {"type": "semantic_vad", "eagerness": found.eagerness}
    else:
        numbers = ("threshold", "prefix_padding_ms", "silence_duration_ms")
        own |= {"type": "server_vad", **{name: getattr(found, name) for name in numbers}}
    given = {name: value for name, value in own.items() if value is not None}
    return TurnDetection(
        create_response=found.create_response, interrupt_response=found.interrupt_response, **given
    )


def check_session(at: str, session: SessionSettings) -> None:
    """Raise ConfigError for what Outspeed does not have; `at`: where the session stands in the file."""
    if session.voice and session.voice not in VOICES:
        named = session.voice_name or "an id"
        raise ConfigError(f'{at}.voice = "{named}": Outspeed has {", ".join(VOICES)}')
    if session.transcription not in ("", "off", TRANSCRIPTION):
        raise ConfigError(f'{at}.transcription = "{session.transcription}": Outspeed has "{TRANSCRIPTION}"')
    plain = SessionSettings()
    for key in _HAS_NOT:
        if getattr(session, key) != getattr(plain, key):
            raise ConfigError(f"{at}.{key}: Outspeed has no such setting; leave it out")
