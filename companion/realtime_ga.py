"""The owner's settings as a session of OpenAI's GA realtime API, and what the beta shape shares with it.

Source: OpenAI API reference, "Realtime" (session.update, client_secrets), GA shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from companion.errors import ConfigError, RequestError
from companion.realtime import (
    RATE_HZ,
    ALaw,
    Audio,
    AudioInput,
    AudioOutput,
    Format,
    Function,
    FunctionChoice,
    GaSession,
    MuLaw,
    NoiseReduction,
    OwnVoice,
    Pcm16,
    PromptRef,
    RetentionRatio,
    SemanticVad,
    ServerVad,
    TokenLimits,
    Transcription,
)
from companion.strict import nearest
from companion.wire import AudioFormat

if TYPE_CHECKING:
    from companion.settings import Codec, SessionSettings

T = TypeVar("T")
FORMATS: dict[Codec, Format] = {"pcm16": Pcm16(), "g711_ulaw": MuLaw(), "g711_alaw": ALaw()}


def ga_session(
    settings: SessionSettings, *, server_turns: bool, transcription: str, codec: Codec | None = None
) -> dict[str, Any]:
    """Return the session object for one grant, without the model; what is the provider's default is left out.

    `server_turns`: the server finds where a turn ends. `transcription`: the model when the owner names none.
    `codec`: the device's wish, for both ways. Raises RequestError when nobody would find the ends of turns.
    """
    hear = AudioInput(
        format=FORMATS[codec or settings.input_codec],
        noise_reduction=noise_reduction(settings),
        transcription=scribe(settings, transcription),
        turn_detection=turn_detection(settings) if server_turns else None,
    )
    voice = settings.voice if isinstance(settings.voice, str) else OwnVoice(settings.voice.id)
    speak = AudioOutput(
        format=FORMATS[codec or settings.output_codec],
        voice=voice or UNSET,
        speed=changed(settings.speed, 1.0),
    )
    session = GaSession(
        type="realtime",
        output_modalities=[settings.output_modality],
        instructions=settings.instructions or UNSET,
        prompt=_prompt(settings),
        max_output_tokens=changed(settings.max_output_tokens, "inf"),
        truncation=_truncation(settings),
        audio=Audio(input=hear, output=speak),
        tools=functions(settings),
        tool_choice=_choice(settings),
    )
    built: dict[str, Any] = msgspec.to_builtins(session)
    return built


def minted(session: dict[str, Any], settings: SessionSettings, model: str) -> dict[str, Any]:
    """Return a session of either shape for the mint: with what cannot be changed later, model and tracing."""
    traced = {} if settings.tracing == "off" else {"tracing": _tracing(settings)}
    return {**session, "model": model, **traced}


def audio_format(codec: Codec) -> AudioFormat:
    """Return a codec as grants spell it."""
    return AudioFormat(codec, RATE_HZ if codec == "pcm16" else 8000)


def check_session(at: str, settings: SessionSettings) -> None:
    """Raise ConfigError for settings that do not go together; `at`: where they stand in the file."""
    if settings.vad_idle_timeout_ms is not None and settings.vad != "server":
        raise ConfigError(f'{at}.vad_idle_timeout_ms: only vad = "server" has an idle time-out')
    chosen, known = settings.tool_choice, [tool.name for tool in settings.tools]
    if not isinstance(chosen, str) and chosen.name not in known:
        raise ConfigError(f'{at}.tool_choice: there is no tool "{chosen.name}".{nearest(chosen.name, known)}')


def turn_detection(settings: SessionSettings) -> ServerVad | SemanticVad:
    """Return how the server finds the ends of turns."""
    creates, interrupts = settings.vad_creates_response, settings.vad_interrupts
    if settings.vad == "none":
        text = 'the endpoint has vad = "none": nobody would find the ends of turns; have the device end them'
        raise RequestError(400, "no_turn_detection", f'{text} with turn_end = "client"')
    if settings.vad == "semantic":
        return SemanticVad(settings.vad_eagerness, creates, interrupts)
    return ServerVad(
        threshold=settings.vad_threshold,
        prefix_padding_ms=settings.vad_prefix_ms,
        silence_duration_ms=settings.vad_silence_ms,
        idle_timeout_ms=settings.vad_idle_timeout_ms,
        create_response=creates,
        interrupt_response=interrupts,
    )


def functions(settings: SessionSettings) -> list[Function] | UnsetType:
    """Return the tools, as both shapes spell them."""
    return [
        Function(tool.name, tool.description or UNSET, tool.parameters or UNSET) for tool in settings.tools
    ] or UNSET


def changed(value: T, default: T) -> T | UnsetType:
    """Return a value that is not the provider's own default: many services know only the older fields."""
    return UNSET if value == default else value


def noise_reduction(settings: SessionSettings) -> NoiseReduction | UnsetType:
    """Return how noise is reduced, as both shapes spell it."""
    return NoiseReduction(settings.noise_reduction) if settings.noise_reduction != "off" else UNSET


def scribe(settings: SessionSettings, model: str) -> Transcription | UnsetType:
    """Return who writes down what the user says, as both shapes spell it; `model`: when none is named."""
    if settings.transcription == "off":
        return UNSET
    return Transcription(
        model=settings.transcription or model,
        language=settings.language or UNSET,
        prompt=settings.transcription_prompt or UNSET,
    )


def _tracing(settings: SessionSettings) -> Any:
    if isinstance(settings.tracing, str):
        return settings.tracing
    return {name: value for name, value in msgspec.to_builtins(settings.tracing).items() if value}


def _prompt(settings: SessionSettings) -> PromptRef | UnsetType:
    own = settings.prompt
    return PromptRef(own.id, own.version or UNSET, own.variables or UNSET) if own else UNSET


def _truncation(settings: SessionSettings) -> Literal["auto", "disabled"] | RetentionRatio | UnsetType:
    own = settings.truncation
    if isinstance(own, str):
        return changed(own, "auto")
    limits = TokenLimits(own.post_instructions) if own.post_instructions else UNSET
    return RetentionRatio(own.retention_ratio, limits)


def _choice(
    settings: SessionSettings,
) -> Literal["auto", "none", "required"] | FunctionChoice | UnsetType:
    own = settings.tool_choice
    return changed(own, "auto") if isinstance(own, str) else FunctionChoice(own.name)
