"""The session object of OpenAI's GA realtime API: its types, and how the owner's settings become one.

Source: OpenAI API reference, "Realtime" (session.update, client_secrets), GA shape.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from companion.settings import SessionSettings  # noqa: TC001 - a plain value type

RATE_HZ: Literal[24000] = 24_000
Modalities = Annotated[list[Literal["audio", "text"]], Meta(min_length=1, max_length=1)]
MaxTokens = Annotated[int, Meta(ge=1, le=4096)] | Literal["inf"]


class Wire(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What goes over the wire; a name that is not in the API is refused."""


class Pcm16(Wire, tag_field="type", tag="audio/pcm", frozen=True):
    """16-bit little-endian mono."""

    rate: Literal[24000] = RATE_HZ


class MuLaw(Wire, tag_field="type", tag="audio/pcmu", frozen=True):
    """G.711 mu-law, 8 kHz."""


class ALaw(Wire, tag_field="type", tag="audio/pcma", frozen=True):
    """G.711 A-law, 8 kHz."""


Format = Pcm16 | MuLaw | ALaw


class Transcription(Wire, frozen=True):
    """Which model writes down what the user says."""

    model: str
    language: str | UnsetType | None = UNSET
    prompt: str | UnsetType | None = UNSET


class NoiseReduction(Wire, frozen=True):
    """Near: a headset; far: a room."""

    type: Literal["near_field", "far_field"]


class ServerVad(Wire, tag_field="type", tag="server_vad", frozen=True):
    """The server finds the ends of turns by sound."""

    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    prefix_padding_ms: Annotated[int, Meta(ge=0, le=10_000)] = 300
    silence_duration_ms: Annotated[int, Meta(ge=0, le=10_000)] = 500
    idle_timeout_ms: Annotated[int, Meta(ge=5000, le=30_000)] | None = None
    create_response: bool = True
    interrupt_response: bool = True


class SemanticVad(Wire, tag_field="type", tag="semantic_vad", frozen=True):
    """The server finds the ends of turns by meaning."""

    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


class AudioInput(Wire, frozen=True):
    """From the microphone."""

    format: Format | UnsetType = UNSET
    noise_reduction: NoiseReduction | UnsetType | None = UNSET
    transcription: Transcription | UnsetType | None = UNSET
    turn_detection: ServerVad | SemanticVad | UnsetType | None = UNSET


class AudioOutput(Wire, frozen=True):
    """To the speaker."""

    format: Format | UnsetType = UNSET
    voice: str | dict[str, str] | UnsetType = UNSET
    speed: Annotated[float, Meta(ge=0.25, le=1.5)] | UnsetType = UNSET


class Audio(Wire, frozen=True):
    """Both ways."""

    input: AudioInput | UnsetType = UNSET
    output: AudioOutput | UnsetType = UNSET


class Function(Wire, tag_field="type", tag="function", frozen=True):
    """A tool that the client offers."""

    name: str
    description: str | UnsetType = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET


class GaSession(Wire, frozen=True):
    """`session` of session.update and of client_secrets; fields that are left out stay as they are."""

    type: Literal["realtime"]
    model: str | UnsetType = UNSET
    output_modalities: Modalities | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    max_output_tokens: MaxTokens | UnsetType = UNSET
    audio: Audio | UnsetType = UNSET
    tools: list[Function] | UnsetType = UNSET
    tool_choice: Literal["auto", "none", "required"] | dict[str, str] | UnsetType = UNSET
    truncation: Literal["auto", "disabled"] | dict[str, Any] | UnsetType = UNSET
    tracing: Literal["auto"] | dict[str, Any] | UnsetType | None = UNSET
    prompt: dict[str, Any] | UnsetType | None = UNSET
    include: list[str] | UnsetType | None = UNSET


def ga_session(settings: SessionSettings, *, server_turns: bool, transcription: str) -> dict[str, Any]:
    """Return the session object for one grant.

    `server_turns`: the server finds where a turn ends. `transcription`: the model when the owner names none.
    """
    vad = ServerVad(
        threshold=settings.vad_threshold,
        prefix_padding_ms=settings.vad_prefix_ms,
        silence_duration_ms=settings.vad_silence_ms,
        interrupt_response=settings.vad_interrupts,
    )
    noise, scribe = settings.noise_reduction, settings.transcription or transcription
    written = Transcription(model=scribe, language=settings.language or UNSET) if scribe != "off" else None
    hear = AudioInput(
        format=Pcm16(),
        noise_reduction=NoiseReduction(type=noise) if noise != "off" else None,
        transcription=written,
        turn_detection=vad if server_turns else None,
    )
    speak = AudioOutput(format=Pcm16(), voice=settings.voice or UNSET, speed=settings.speed)
    session = GaSession(
        type="realtime",
        output_modalities=["audio"],
        instructions=settings.instructions or UNSET,
        max_output_tokens=settings.max_output_tokens,
        audio=Audio(input=hear, output=speak),
    )
    built: dict[str, Any] = msgspec.to_builtins(session)
    return built
