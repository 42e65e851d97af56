"""The companion's settings as types: every key of the file, its default and its range."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

ProviderName = Literal["local", "openai", "openai-beta", "outspeed", "speko", "unmute", "delphi"]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file."""


ToolLabel = Annotated[str, Meta(pattern=r"^[\w-]{1,64}$", description="letters, digits, _ and -, at most 64")]
Language = Annotated[
    str, Meta(pattern=r"^([a-z]{2,3}(-[A-Za-z]{2,4})?)?$", description="a code such as en or pt-BR")
]


class VoiceId(Part, frozen=True):
    """A voice of one's own, {id = "voice_1234"}."""

    id: Annotated[str, Meta(min_length=1, max_length=256)]


class Tool(Part, frozen=True):
    """[[endpoints.NAME.session.tools]]: a function that the model may call; `parameters` is JSON schema."""

    name: ToolLabel
    description: str = ""
    parameters: dict[str, Any] = {}


class ToolName(Part, frozen=True):
    """The one function that is to be called, {name = "get_time"}."""

    name: ToolLabel


class Tracing(Part, frozen=True):
    """How the provider files its traces, {workflow_name = "..", group_id = "..", metadata = {}}."""

    workflow_name: str = ""
    group_id: str = ""
    metadata: dict[str, Any] = {}


class RetentionRatio(Part, frozen=True):
    """How much of a conversation that has grown too long is kept; `post_instructions`: from which length."""

    retention_ratio: Annotated[float, Meta(ge=0, le=1)]
    post_instructions: Annotated[int, Meta(ge=1)] | None = None


class Prompt(Part, frozen=True):
    """A prompt that is kept at the provider, {id = "pmpt_1", version = "2", variables = {city = "Oslo"}}."""

    id: Annotated[str, Meta(min_length=1)]
    version: str = ""
    variables: dict[str, str] = {}


Codec = Literal["pcm16", "g711_ulaw", "g711_alaw"]
Unit = Annotated[float, Meta(ge=0, le=1)]
Pause = Annotated[int, Meta(ge=0, le=10_000)]


class SessionSettings(Part, frozen=True):
    """[endpoints.NAME.session]: how it talks and listens; "" or nothing leaves the provider's own.

    The names that begin with `vad_` count where the server finds the ends of turns.
    """

    voice: str | VoiceId = ""
    instructions: str = ""
    prompt: Prompt | None = None
    output_modality: Literal["audio", "text"] = "audio"
    input_codec: Codec = "pcm16"
    output_codec: Codec = "pcm16"
    speed: Annotated[float, Meta(ge=0.25, le=1.5)] = 1.0
    temperature: Annotated[float, Meta(ge=0.6, le=1.2)] | None = None
    max_output_tokens: Annotated[int, Meta(ge=1, le=4096)] | Literal["inf"] = "inf"
    truncation: Literal["auto", "disabled"] | RetentionRatio = "auto"
    transcription: str = ""  # a model's name; "off" for none
    language: Language = ""
    transcription_prompt: str = ""
    noise_reduction: Literal["near_field", "far_field", "off"] = "off"
    vad: Literal["server", "semantic", "none"] = "server"
    vad_threshold: Unit = 0.5
    vad_prefix_ms: Pause = 300
    vad_silence_ms: Pause = 500
    vad_idle_timeout_ms: Annotated[int, Meta(ge=5000, le=30_000)] | None = None
    vad_eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    vad_creates_response: bool = True
    vad_interrupts: bool = True
    tools: list[Tool] = []
    tool_choice: Literal["auto", "none", "required"] | ToolName = "auto"
    tracing: Literal["auto", "off"] | Tracing = "off"

    @property
    def voice_name(self) -> str:
        """The voice's name, "" for the provider's own or one that is not named."""
        return self.voice if isinstance(self.voice, str) else ""


class OpenAIOptions(Part, frozen=True):
    """[endpoints.NAME.openai]. `transport`: how the companion's side goes; "webrtc" through its gateway."""

    transport: Literal["websocket", "webrtc"] = "websocket"


class OutspeedOptions(Part, frozen=True):
    """[endpoints.NAME.outspeed].

    `first_message` greets in a new session and `welcome_back` in a resumed one, where the server finds turns.
    `function_url`: a self-hosted server of the older kind instead of the service; it needs no key.
    """

    transport: Literal["webrtc", "websocket"] = "webrtc"
    first_message: str = ""
    welcome_back: str = ""
    rms_threshold: Annotated[float, Meta(ge=0)] | None = None
    function_url: str = ""


class SpekoOptions(Part, frozen=True):
    """[endpoints.NAME.speko]. `provider`: whose model it is; rates in Hz; `webhook_tags` need an agent."""

    provider: Literal["openai", "google", "xai", "inworld", "alibaba", "speko-lab"] = "openai"
    agent_id: str = ""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    input_rate: Literal[16000, 24000] = 24_000
    output_rate: Literal[16000, 24000] = 24_000
    session_seconds: Annotated[int, Meta(ge=120, le=1800)] = 900
    metadata: dict[str, str] = {}
    webhook_tags: dict[str, str] = {}


class UnmuteOptions(Part, frozen=True):
    """[endpoints.NAME.unmute]. `topic`: what it talks about when it is given neither character nor scenario.

    `allow_recording`: the server may keep the sound; only with `recording_consent`, of all who will be heard.
    """

    character: str = ""
    scenario: str = ""
    topic: Literal["smalltalk", "guess_animal", "quiz_show", "news", "unmute_explanation"] = "smalltalk"
    language: Literal["en", "fr", "en/fr", "fr/en"] | None = None
    allow_recording: bool = False
    recording_consent: bool = False


class DelphiOptions(Part, frozen=True):
    """[endpoints.NAME.delphi]. `endpoint_id`: Delphi's own name for the endpoint.

    `read_aloud`: what is written is read out, not answered. `identifier` and those after it: whom a listener
    hears, in which language, from where on; `scope` "" stands for the endpoint.
    """

    endpoint_id: str = ""
    mode: Literal["text", "audio_playback", "listen", "voice_conversation"] = "audio_playback"
    read_aloud: bool = False
    identifier: Annotated[str, Meta(min_length=1)] = "default"
    target_language: Annotated[str, Meta(min_length=1)] = "en"
    scope: str = ""
    start_mode: Literal["live", "from_beginning", "from_sequence", "closest_to_now"] = "closest_to_now"
    captions: bool = True


class Endpoint(Part, frozen=True):
    """[endpoints.NAME]: what a device asks for by name; the tables of other providers are not looked at."""

    provider: ProviderName
    model: str = ""
    devices: list[str] | None = None
    session: SessionSettings = SessionSettings()
    openai: OpenAIOptions = OpenAIOptions()
    outspeed: OutspeedOptions = OutspeedOptions()
    speko: SpekoOptions = SpekoOptions()
    unmute: UnmuteOptions = UnmuteOptions()
    delphi: DelphiOptions = DelphiOptions()

    @property
    def needs_key(self) -> bool:
        """Tell whether a service is asked with a key: a self-hosted function takes none."""
        return not (self.provider == "outspeed" and self.outspeed.function_url)


class UpstreamSettings(Part, frozen=True):
    """What every service that is asked over HTTP has: where it is, and where its key lies."""

    base_url: str
    key_env: str = ""
    key_file: str = ""
    timeout_s: Annotated[float, Meta(gt=0, le=60)] = 10.0


class OpenAISettings(UpstreamSettings, frozen=True):
    """[providers.openai]"""

    base_url: str = "https://api.openai.com"
    realtime_url: str = ""
    secret_seconds: Annotated[int, Meta(ge=10, le=7200)] = 600


class OpenAIBetaSettings(UpstreamSettings, frozen=True):
    """[providers.openai-beta]: a service that speaks the beta shape."""

    base_url: str = "https://api.openai.com"
    realtime_url: str = ""
    secret_seconds: Annotated[int, Meta(ge=10, le=7200)] = 60


class OutspeedSettings(UpstreamSettings, frozen=True):
    """[providers.outspeed]. `realtime_url`: the socket for transport "websocket"."""

    base_url: str = "https://api.outspeed.com"
    realtime_url: str = ""


class SpekoSettings(UpstreamSettings, frozen=True):
    """[providers.speko]"""

    base_url: str = "https://api.speko.dev"


class UnmuteSettings(Part, frozen=True):
    """[providers.unmute]: a server of one's own; it has no keys.

    `base_url`: of its HTTP calls, with "/api" behind its reverse proxy; `realtime_url`: of its socket as
    devices reach it, such as "wss://host/api/v1/realtime"; "" when they reach it where the companion does.
    """

    base_url: str = "http://127.0.0.1:8000"
    realtime_url: str = ""
    timeout_s: Annotated[float, Meta(gt=0, le=60)] = 3.0


class DelphiSettings(UpstreamSettings, frozen=True):
    """[providers.delphi]"""

    base_url: str = ""


class LocalSettings(Part, frozen=True):
    """[providers.local]"""

    brain: Literal["rules", "chat"] = "rules"
    chat_url: str = ""
    chat_model: str = ""
    chat_key_file: str = ""
    session_minutes: Annotated[float, Meta(gt=0, le=1440)] = 60.0
    secret_seconds: Annotated[float, Meta(gt=0, le=7200)] = 600.0
    max_sessions: Annotated[int, Meta(ge=1, le=64)] = 4
    replies_per_minute: Annotated[int, Meta(ge=1, le=6000)] = 60
    send_ahead_ms: Annotated[int, Meta(ge=200, le=600_000)] = 8000
    mint_delay_ms: Annotated[int, Meta(ge=0, le=60_000)] = 0
    forget_after_days: Annotated[float, Meta(gt=0)] = 30.0


class Providers(Part, frozen=True):
    """[providers]: a table for each that an endpoint names."""

    local: LocalSettings = LocalSettings()
    openai: OpenAISettings = OpenAISettings()
    openai_beta: OpenAIBetaSettings = msgspec.field(default=OpenAIBetaSettings(), name="openai-beta")
    outspeed: OutspeedSettings = OutspeedSettings()
    speko: SpekoSettings = SpekoSettings()
    unmute: UnmuteSettings = UnmuteSettings()
    delphi: DelphiSettings = DelphiSettings()

    def of(self, provider: ProviderName) -> Part:
        """Return a provider's table."""
        table: Part = getattr(self, provider.replace("-", "_"))
        return table


class Config(Part, frozen=True):
    """The whole file. Paths are relative to its folder; `tokens_file` is in `state_dir` by default."""

    state_dir: str
    endpoints: dict[str, Endpoint]
    tokens_file: str = ""
    listen: str = "127.0.0.1:8790"
    public_url: str = ""
    mints_per_minute: Annotated[int, Meta(ge=1, le=6000)] = 30
    enrols_per_minute: Annotated[int, Meta(ge=1, le=6000)] = 30
    providers: Providers = Providers()
