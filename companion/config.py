"""The companion's configuration: one TOML file, every key known, every fault named with its mend."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from companion.errors import ConfigError
from companion.strict import fault, names_at, nearest

T = TypeVar("T")
ProviderName = Literal["local", "openai"]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file."""


class SessionSettings(Part, frozen=True):
    """[endpoints.NAME.session]: how it talks and listens; "" leaves the provider's own."""

    voice: str = ""
    instructions: str = ""
    speed: Annotated[float, Meta(ge=0.25, le=1.5)] = 1.0
    max_output_tokens: Annotated[int, Meta(ge=1, le=4096)] | Literal["inf"] = "inf"
    transcription: str = ""  # a model's name; "off" for none
    language: str = ""
    noise_reduction: Literal["near_field", "far_field", "off"] = "off"
    vad_threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    vad_prefix_ms: Annotated[int, Meta(ge=0, le=10_000)] = 300
    vad_silence_ms: Annotated[int, Meta(ge=0, le=10_000)] = 500
    vad_interrupts: bool = True


class Endpoint(Part, frozen=True):
    """[endpoints.NAME]: what a device asks for by name."""

    provider: ProviderName
    model: str = ""
    devices: list[str] | None = None
    session: SessionSettings = SessionSettings()


class OpenAISettings(Part, frozen=True):
    """[providers.openai]"""

    base_url: str = "https://api.openai.com"
    realtime_url: str = ""
    key_env: str = ""
    key_file: str = ""
    secret_seconds: Annotated[int, Meta(ge=10, le=7200)] = 600
    timeout_s: Annotated[float, Meta(gt=0, le=60)] = 10.0


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
    """[providers]"""

    openai: OpenAISettings = OpenAISettings()
    local: LocalSettings = LocalSettings()


class Config(Part, frozen=True):
    """The whole file. Paths are relative to the file's own folder."""

    tokens_file: str
    state_dir: str
    endpoints: dict[str, Endpoint]
    listen: str = "127.0.0.1:8790"
    public_url: str = ""
    mints_per_minute: Annotated[int, Meta(ge=1, le=6000)] = 30
    providers: Providers = Providers()


def load(path: Path) -> Config:
    """Read and check the file; ConfigError names the file, the key and the nearest right name."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    try:
        endpoints = data.get("endpoints")
        for name, value in endpoints.items() if isinstance(endpoints, dict) else ():
            _typed(value, Endpoint, f"endpoints.{name}")  # one by one, so that a fault has a name
        config = _typed(data, Config, "")
        _check(config)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return _absolute(config, path.resolve().parent)


def host_and_port(text: str) -> tuple[str, int]:
    """Split "127.0.0.1:8790" or "[::1]:8790"."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise ConfigError(f'listen = "{text}" is not HOST:PORT, such as "127.0.0.1:8790"')
    return host.strip("[]"), int(port)


def _typed(value: Any, kind: type[T], at: str) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        found = fault(error)
    parent, _, name = found.path.rpartition(".")
    key = f"{at}.{found.path}".strip(".")
    if found.kind == "unknown":
        raise ConfigError(f'unknown key "{key}".{nearest(name, names_at(kind, parent))}')
    if found.kind == "missing":
        raise ConfigError(f'the key "{key}" is missing')
    raise ConfigError(f'"{key}": {found.text}')


def _check(config: Config) -> None:
    host_and_port(config.listen)
    if not config.endpoints:
        raise ConfigError('no endpoint; add [endpoints.default] with provider = "local"')
    used = {endpoint.provider for endpoint in config.endpoints.values()}
    local, openai = config.providers.local, config.providers.openai
    if "local" in used and local.brain == "chat" and not (local.chat_url and local.chat_model):
        raise ConfigError('providers.local: brain = "chat" needs chat_url and chat_model')
    if "openai" in used and bool(openai.key_env) == bool(openai.key_file):
        raise ConfigError("providers.openai: set one of key_env and key_file")


def _absolute(config: Config, base: Path) -> Config:
    def at(text: str) -> str:
        return str(base / Path(text).expanduser()) if text else ""

    local = msgspec.structs.replace(
        config.providers.local, chat_key_file=at(config.providers.local.chat_key_file)
    )
    openai = msgspec.structs.replace(config.providers.openai, key_file=at(config.providers.openai.key_file))
    return msgspec.structs.replace(
        config,
        tokens_file=at(config.tokens_file),
        state_dir=at(config.state_dir),
        providers=Providers(openai=openai, local=local),
    )
