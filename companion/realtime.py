"""The session object of OpenAI's GA realtime API as types.

Source: OpenAI API reference, "Realtime" (session.update, client_secrets), GA shape.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

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


class OwnVoice(Wire, frozen=True):
    """A voice that was made for the account."""

    id: str


class AudioOutput(Wire, frozen=True):
    """To the speaker."""

    format: Format | UnsetType = UNSET
    voice: str | OwnVoice | UnsetType = UNSET
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


class FunctionChoice(Wire, tag_field="type", tag="function", frozen=True):
    """The one tool that is to be called."""

    name: str


class TokenLimits(Wire, frozen=True):
    """`post_instructions`: how many tokens a conversation may have."""

    post_instructions: int


class RetentionRatio(Wire, tag_field="type", tag="retention_ratio", frozen=True):
    """Keep a part of a conversation that has grown too long."""

    retention_ratio: Annotated[float, Meta(ge=0, le=1)]
    token_limits: TokenLimits | UnsetType = UNSET


class TracingNames(Wire, frozen=True):
    """How traces are filed."""

    workflow_name: str | UnsetType = UNSET
    group_id: str | UnsetType = UNSET
    metadata: Any = UNSET


class PromptRef(Wire, frozen=True):
    """A prompt that is kept at the provider."""

    id: str
    version: str | UnsetType | None = UNSET
    variables: dict[str, Any] | UnsetType | None = UNSET


class GaSession(Wire, frozen=True):
    """`session` of session.update and of client_secrets; fields that are left out stay as they are."""

    type: Literal["realtime"]
    model: str | UnsetType = UNSET
    output_modalities: Modalities | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    max_output_tokens: MaxTokens | UnsetType = UNSET
    audio: Audio | UnsetType = UNSET
    tools: list[Function] | UnsetType = UNSET
    tool_choice: Literal["auto", "none", "required"] | FunctionChoice | UnsetType = UNSET
    truncation: Literal["auto", "disabled"] | RetentionRatio | UnsetType = UNSET
    tracing: Literal["auto"] | TracingNames | UnsetType | None = UNSET
    prompt: PromptRef | UnsetType | None = UNSET
    include: list[str] | UnsetType | None = UNSET
