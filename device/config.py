"""The configuration: board file, then the owner's file, checked against one schema; who set what is kept."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from device.board import HatConfig, Line, check_lines
from device.core.budget import Limits
from device.core.grant import Codec, is_loopback
from device.core.rules import Rules
from device.dsp.vad import VadSettings
from device.errors import ConfigError
from device.system.redact import redact

Milliseconds = Annotated[int, Meta(ge=0, le=3_600_000)]
Whole = Annotated[int, Meta(ge=0, le=10**12)]
_HERE = Path(__file__).resolve().parent
# In a wheel the boards lie inside the package, in a checkout beside it.
HARDWARE = _HERE / "hardware" if (_HERE / "hardware").is_dir() else _HERE.parent / "hardware"

_SPARE_S = 5.0  # of the ring: what lies before a press, and the time until a line is known to be dead
_OPENAI_URL = "wss://api.openai.com/v1/realtime"


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Root of all sections: an unknown key is an error."""


class InputConfig(Section, frozen=True):
    """The microphones. `channel` picks one, or "mix".

    `dead_after_s`: zeros, one value or full scale for so long, and it is reported as dead; 0: never.
    """

    device: str = ""
    format: Literal["s32", "s16"] = "s16"
    rate_hz: Literal[16000, 48000] = 48000
    channels: Annotated[int, Meta(ge=1, le=8)] = 1
    channel: Annotated[int, Meta(ge=0, le=7)] | Literal["mix"] = 0
    gain_db: Annotated[float, Meta(ge=-20, le=50)] = 0.0
    highpass_hz: Annotated[float, Meta(ge=0, le=400)] = 0.0
    dead_after_s: Annotated[float, Meta(ge=0, le=3600)] = 10.0


class OutputConfig(Section, frozen=True):
    """The speaker. `rests`: its clock may stop between replies; some amplifiers pop when it does."""

    device: str = ""
    format: Literal["s32", "s16"] = "s16"
    rate_hz: Literal[16000, 48000] = 48000
    channels: Annotated[int, Meta(ge=1, le=8)] = 2
    rests: bool = False


class AudioConfig(Section, frozen=True):
    """`driver` "wav" takes files for device names."""

    driver: Literal["portaudio", "wav"] = "portaudio"
    input: InputConfig = InputConfig()
    output: OutputConfig = OutputConfig()


Byte = Annotated[int, Meta(ge=0, le=255)]


class Apa102Config(Section, frozen=True):
    """A chain of APA102 LEDs as one light, on an SPI `device` or on the lines `data` and `clock`."""

    leds: Annotated[int, Meta(ge=1, le=64)] = 3
    color: tuple[Byte, Byte, Byte] = (0, 120, 255)
    brightness: Annotated[int, Meta(ge=1, le=31)] = 4
    device: str = "/dev/spidev0.0"
    data: Line | None = None
    clock: Line | None = None


class PanelConfig(Section, frozen=True):
    """Button, wake line and light, as BCM lines. `light` "apa102" is a chain of LEDs, "gpio" the line `led`.

    `edges` false reads the lines every 10 ms, true has the kernel report them; unset takes what costs less.
    """

    driver: Literal["gpio", "simulated"] = "gpio"
    button: Line | None = None
    wake: Line | None = None
    led: Line | None = None
    light: Literal["gpio", "apa102"] = "gpio"
    apa102: Apa102Config = Apa102Config()
    active_low: bool = True
    wake_active_low: bool = True
    edges: bool | None = None
    led_active_low: bool = False
    debounce_ms: Milliseconds = 20
    hold_ms: Milliseconds = 1000


class BackendConfig(Section, frozen=True):
    """Where grants come from; `dialect`, `realtime_url` and `model` are for kind "token" only.

    `codec`: what sound is sent and asked for as; unset leaves it to the companion. `warm`: mint ahead, so
    that a press finds a grant ready; every mint counts where a service bills or limits them.
    """

    kind: Literal["companion", "token", "realtime-session", "unmute"] = "companion"
    url: str = ""
    dialect: Literal["openai", "openai-beta", "outspeed"] = "openai"
    codec: Codec | None = None
    endpoint: str = "default"
    token_file: str | None = None
    token_credential: str = "pressel_token"  # noqa: S105 # the name of a systemd credential
    realtime_url: str = _OPENAI_URL
    model: str = "gpt-realtime"
    allow_insecure: bool = False
    warm: bool = False


class SessionConfig(Section, frozen=True):
    """A session's settings where no companion sets them (kind "token"); ranges of OpenAI GA.

    `voice` and `transcription_model`: "" for the provider's own; "off" for no transcripts.
    """

    instructions: str | None = None
    voice: str = ""
    speed: Annotated[float, Meta(ge=0.25, le=1.5)] = 1.0
    transcription_model: str = ""
    transcription_language: str | None = None
    noise_reduction: Literal["near_field", "far_field", "none"] = "far_field"
    max_output_tokens: Annotated[int, Meta(ge=1, le=4096)] | Literal["inf"] = "inf"
    vad_threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    vad_prefix_ms: Milliseconds = 300
    vad_silence_ms: Milliseconds = 500


class UnmuteConfig(Section, frozen=True):
    """Who speaks, for kind "unmute"; `voice` by its name or path, "" for the server's own."""

    character: str = ""
    scenario: str = ""
    language: Literal["en", "fr", "en/fr", "fr/en"] | None = None
    voice: str = ""
    recording_consent: bool = False


class TalkConfig(Section, frozen=True):
    """How a talk goes. `turn_end`, in open_mic: who finds the end of speech, server or client VAD.

    `buffer_s`: how much of the microphone is kept; 0: as much as the longest turn may need (`ring_seconds`).
    """

    mode: Literal["push_to_talk", "open_mic"] = "push_to_talk"
    turn_end: Literal["server", "client"] = "server"
    preroll_ms: Annotated[int, Meta(ge=0, le=2000)] = 500
    tail_ms: Milliseconds = 250
    shortest_press_ms: Milliseconds = 300
    longest_turn_ms: Annotated[int, Meta(ge=0, le=300_000)] = 120_000  # the ring holds it
    silence_limit_ms: Milliseconds = 15_000
    idle_hangup_ms: Milliseconds = 60_000
    reply_timeout_ms: Milliseconds = 20_000
    longest_reply_ms: Milliseconds = 300_000
    keep_turn_ms: Annotated[int, Meta(ge=0, le=60_000)] = 15_000
    renew_margin_ms: Milliseconds = 60_000
    after_release_ms: Annotated[int, Meta(ge=0, le=500)] = 20
    buffer_s: Annotated[int, Meta(ge=0, le=4000)] = 0


class LimitsConfig(Section, frozen=True):
    """What may be spent; 0 for no limit. `notice_s`: how long before a time is up an earcon says so."""

    longest_talk_ms: Annotated[int, Meta(ge=0, le=86_400_000)] = 3_600_000
    day_minutes: Whole = 0
    month_minutes: Whole = 0
    day_tokens: Whole = 0
    month_tokens: Whole = 0
    notice_s: Annotated[int, Meta(ge=0, le=600)] = 60


class StateConfig(Section, frozen=True):
    """What is kept on disk; `keep_turns` 0 keeps no words. `record_audio`: keep all sound, for debugging."""

    dir: str = "/var/lib/pressel"
    record_audio: bool = False
    keep_turns: Annotated[int, Meta(ge=0, le=200)] = 20


class Config(Section, frozen=True):
    """The whole configuration."""

    name: str = ""
    description: str = ""
    board: str = ""
    hardware_aec: bool = False
    backend: BackendConfig = BackendConfig()
    session: SessionConfig = SessionConfig()
    unmute: UnmuteConfig = UnmuteConfig()
    talk: TalkConfig = TalkConfig()
    limits: LimitsConfig = LimitsConfig()
    vad: VadSettings = VadSettings()
    audio: AudioConfig = AudioConfig()
    panel: PanelConfig = PanelConfig()
    hat: HatConfig = HatConfig()
    state: StateConfig = StateConfig()


class Loaded(msgspec.Struct, frozen=True):
    """A configuration and, for each dotted key that a file set, the file."""

    config: Config
    origins: dict[str, str]


def load(owner: Path, board: Path | None = None) -> Loaded:
    """Read and check the files. `board` overrides the owner's `board = "name or path"`.

    Raises ConfigError, one line that names the file, the key and the mend.
    """
    owner_values = _read(owner)
    named = owner_values.get("board", "")
    board_file = board or _board_file(named if isinstance(named, str) else "", owner)
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for file, values in ((board_file, _read(board_file)), (owner, owner_values)):
        _refuse_unknown(file, values, Config, "")
        _merge(merged, values, str(file), origins, "")
    try:
        config = msgspec.convert(merged, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), origins)) from None
    _check_lines(config, origins)
    _check(config, owner)
    return Loaded(config, origins)


def make_rules(config: Config) -> Rules:
    """Return the conversation's rules that this configuration asks for."""
    talk = msgspec.structs.asdict(config.talk) | msgspec.structs.asdict(config.limits)
    known = {name: talk[name] for name in talk.keys() & Rules.__dataclass_fields__.keys()}
    return Rules(**known, half_duplex=not config.hardware_aec, keep_turns=config.state.keep_turns)


def ring_seconds(talk: TalkConfig) -> float:
    """How much of the microphone is kept: the longest turn, for as long as it may wait for a session."""
    return talk.buffer_s or _least_buffer_s(talk) + _SPARE_S


def _least_buffer_s(talk: TalkConfig) -> float:
    return (talk.longest_turn_ms + talk.keep_turn_ms) / 1000


def make_limits(config: Config) -> Limits:
    """Return what may be spent."""
    own = config.limits
    return Limits(own.day_minutes, own.month_minutes, own.day_tokens, own.month_tokens)


def read_token(backend: BackendConfig) -> str:
    """Read the device token from its file or from the systemd credential. Raises ConfigError."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "/nonexistent")
    path = Path(backend.token_file or f"{folder}/{backend.token_credential}")
    if not backend.token_file and not path.exists():
        raise ConfigError(
            "this device has no claim, no identity and no token (backend.token_file is not set, and systemd "
            f"gave no credential {backend.token_credential}): pressel enroll --claim-file FILE, then restart"
        )
    try:
        if backend.token_file and path.stat().st_mode & 0o007:
            raise ConfigError(f"backend.token_file {path} can be read by everybody: chmod 600 {path}")
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the device token cannot be read: {error}") from None
    if not token or not token.isascii() or not token.isprintable():
        raise ConfigError(f"the device token in {path} must be one line of plain characters")
    return token


def _board_file(named: str, owner: Path) -> Path:
    if not named:
        return Path("/etc/pressel/board.toml")
    if named.endswith(".toml"):
        return owner.parent / named
    found = HARDWARE / named / "board.toml"
    if not found.exists():
        boards = sorted(path.parent.name for path in HARDWARE.glob("*/board.toml"))
        raise ConfigError(f'{owner}: there is no board "{named}"{_nearest(named, boards)}')
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{file} is missing; name another with --config or --board") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None


def _refuse_unknown(file: Path, values: dict[str, Any], schema: type[Any], prefix: str) -> None:
    fields = {field.name: field.type for field in msgspec.structs.fields(schema)}
    for key, value in values.items():
        if key not in fields:
            raise ConfigError(f"{file}: unknown key {prefix}{key}{_nearest(key, list(fields))}")
        inner = fields[key]
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct) and isinstance(value, dict):
            _refuse_unknown(file, value, inner, f"{prefix}{key}.")


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(known)}"


def _merge(
    into: dict[str, Any], values: dict[str, Any], origin: str, origins: dict[str, str], prefix: str
) -> None:
    for key, value in values.items():
        if isinstance(value, dict):
            below = into.setdefault(key, {})
            _merge(below if isinstance(below, dict) else {}, value, origin, origins, f"{prefix}{key}.")
        else:
            into[key] = value
            origins[f"{prefix}{key}"] = origin


def _explain(error: str, origins: dict[str, str]) -> str:
    """Name the file and the key: msgspec says "Expected `int`, got `str` - at `$.talk.tail_ms`"."""
    match = re.search(r" - at `\$\.?([^`]*)`$", error)
    if not match:
        return error
    key = match.group(1)
    origin = origins.get(key.partition("[")[0], "the configuration")
    return f"{origin}: {key}: {error[: match.start()]}"


def _check(config: Config, owner: Path) -> None:
    """Refuse what no single key shows to be wrong."""
    _check_backend(config.backend, owner)
    for key, device in (("input", config.audio.input.device), ("output", config.audio.output.device)):
        if not device:
            raise ConfigError(f"{owner}: audio.{key}.device is missing; `pressel devices` lists the names")
    pick = config.audio.input.channel
    if isinstance(pick, int) and pick >= config.audio.input.channels:
        raise ConfigError(f"audio.input.channel {pick} is not one of {config.audio.input.channels} channels")
    if config.panel.driver == "gpio" and config.panel.button is None:
        raise ConfigError(f"{owner}: panel.button is missing: name the button's BCM line")
    if (config.panel.apa102.data is None) != (config.panel.apa102.clock is None):
        raise ConfigError(f"{owner}: panel.apa102 needs both data and clock, or neither for its SPI device")
    talk = config.talk
    if 0 < talk.buffer_s < (least_s := _least_buffer_s(talk)):
        raise ConfigError(
            f"{owner}: talk.buffer_s {talk.buffer_s} is less than longest_turn_ms + keep_turn_ms, "
            f"{least_s:g} s: a long turn could not be sent again; leave it out or shorten them"
        )


def panel_lines(panel: PanelConfig) -> dict[str, int | None]:
    """Return every line that the panel wants, by its key."""
    wanted = {f"panel.{name}": getattr(panel, name) for name in ("button", "wake", "led")}
    if panel.light == "apa102":
        wanted |= {"panel.apa102.data": panel.apa102.data, "panel.apa102.clock": panel.apa102.clock}
    return wanted


def _check_lines(config: Config, origins: dict[str, str]) -> None:
    try:
        check_lines(config.hat, panel_lines(config.panel))
    except ConfigError as error:
        key = str(error).partition(" ")[0]
        raise ConfigError(f'{origins.get(key, "")}: board "{config.name}": {error}') from None


def _check_backend(backend: BackendConfig, owner: Path) -> None:
    if not backend.url:
        raise ConfigError(f'{owner}: backend.url is missing, as in url = "https://companion.example"')
    for key, url, plain in (
        ("backend.url", backend.url, "http"),
        ("backend.realtime_url", backend.realtime_url, "ws"),
    ):
        scheme, _, rest = url.partition("://")
        shown = redact(url)
        if scheme not in (plain, f"{plain}s") or not rest:
            raise ConfigError(f"{owner}: {key} must begin with {plain}s:// and name a host, not {shown!r}")
        if scheme == plain and not backend.allow_insecure and not is_loopback(url):
            raise ConfigError(
                f"{owner}: {key} {shown} is not encrypted; use {plain}s:// or backend.allow_insecure = true"
            )
    if backend.codec and (backend.kind in ("realtime-session", "unmute") or backend.dialect == "outspeed"):
        what = backend.dialect if backend.kind == "token" else backend.kind
        raise ConfigError(f'{owner}: backend.codec cannot be chosen with "{what}"; leave it out')
    straight = backend.kind == "token" and backend.dialect == "outspeed"
    if straight and backend.realtime_url == _OPENAI_URL:
        raise ConfigError(
            f"{owner}: backend.realtime_url is missing: Outspeed's public service has no WebSocket for "
            "sound; name your own server's, or go through a companion"
        )


def flatten(config: msgspec.Struct, prefix: str = "") -> dict[str, Any]:
    """Return every dotted key with its value, as JSON has it."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, msgspec.Struct):
            found |= flatten(value, f"{prefix}{field.name}.")
        elif isinstance(value, dict):
            found |= {f"{prefix}{field.name}.{key}": inner for key, inner in value.items()}
        else:
            found[f"{prefix}{field.name}"] = msgspec.to_builtins(value)
    return found
