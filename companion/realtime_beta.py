"""The session object of OpenAI's beta realtime API, flat: its types, and how the owner's settings become one.

Source: OpenAI API reference, POST /v1/realtime/sessions (deprecated); many other servers take it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from companion.errors import ConfigError
from companion.realtime import Function, MaxTokens, NoiseReduction, SemanticVad, Transcription, Wire
from companion.realtime_ga import changed, functions, noise_reduction, scribe, turn_detection
from companion.settings import Codec  # noqa: TC001 - msgspec reads the annotation

if TYPE_CHECKING:
    from companion.settings import SessionSettings


class BetaServerVad(Wire, tag_field="type", tag="server_vad", frozen=True):
    """The server finds the ends of turns by sound; beta has no idle time-out."""

    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    prefix_padding_ms: Annotated[int, Meta(ge=0, le=10_000)] = 300
    silence_duration_ms: Annotated[int, Meta(ge=0, le=10_000)] = 500
    create_response: bool = True
    interrupt_response: bool = True


class BetaSession(Wire, frozen=True):
    """`session` of session.update, and all but the secret's life in the mint's body."""

    model: str | UnsetType = UNSET
    modalities: list[Literal["text", "audio"]] | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    voice: str | UnsetType = UNSET
    input_audio_format: Codec | UnsetType = UNSET
    output_audio_format: Codec | UnsetType = UNSET
    input_audio_transcription: Transcription | UnsetType = UNSET
    input_audio_noise_reduction: NoiseReduction | UnsetType = UNSET
    turn_detection: BetaServerVad | SemanticVad | UnsetType | None = UNSET
    tools: list[Function] | UnsetType = UNSET
    tool_choice: str | UnsetType = UNSET
    temperature: Annotated[float, Meta(ge=0.6, le=1.2)] | UnsetType = UNSET
    speed: Annotated[float, Meta(ge=0.25, le=1.5)] | UnsetType = UNSET
    max_response_output_tokens: MaxTokens | UnsetType = UNSET


def beta_session(
    settings: SessionSettings, *, server_turns: bool, transcription: str, codec: Codec | None = None
) -> dict[str, Any]:
    """Return the session object for one grant, without the model; the arguments are `ga_session`'s."""
    session = BetaSession(
        modalities=["text", "audio"] if settings.output_modality == "audio" else ["text"],
        instructions=settings.instructions or UNSET,
        voice=settings.voice_name or UNSET,
        input_audio_format=codec or settings.input_codec,
        output_audio_format=codec or settings.output_codec,
        input_audio_transcription=scribe(settings, transcription),
        input_audio_noise_reduction=noise_reduction(settings),
        turn_detection=_detection(settings) if server_turns else None,
        tools=functions(settings),
        tool_choice=changed(settings.tool_choice, "auto") if isinstance(settings.tool_choice, str) else UNSET,
        temperature=UNSET if settings.temperature is None else settings.temperature,
        speed=changed(settings.speed, 1.0),
        max_response_output_tokens=changed(settings.max_output_tokens, "inf"),
    )
    built: dict[str, Any] = msgspec.to_builtins(session)
    return built


def check_beta(at: str, settings: SessionSettings) -> None:
    """Raise ConfigError for settings that the beta shape has not; `at`: where they stand in the file."""
    has_not = {
        "voice": not isinstance(settings.voice, str),
        "prompt": settings.prompt is not None,
        "truncation": settings.truncation != "auto",
        "vad_idle_timeout_ms": settings.vad_idle_timeout_ms is not None,
        "tool_choice": not isinstance(settings.tool_choice, str),
    }
    for name, given in has_not.items():
        if given:
            more = " of one's own" if name == "voice" else " by name" if name == "tool_choice" else ""
            raise ConfigError(f'{at}.{name}: the beta shape has none{more}; it is for provider = "openai"')


def _detection(settings: SessionSettings) -> BetaServerVad | SemanticVad:
    found = turn_detection(settings)
    if isinstance(found, SemanticVad):
        return found
    return BetaServerVad(
        found.threshold,
        found.prefix_padding_ms,
        found.silence_duration_ms,
        found.create_response,
        found.interrupt_response,
    )
