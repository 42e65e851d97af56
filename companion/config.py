"""The companion's configuration: one TOML file, every key known, every fault named with its mend."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from companion.errors import ConfigError
from companion.settings import Config, Endpoint, UpstreamSettings
from companion.strict import allowed, fault, names_at, nearest

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)


def load(path: Path) -> Config:
    """Read and check the file; ConfigError names the file, the key and the nearest right name."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"cannot read {path}: there is no such file; name it with --config") from None
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


def check_url(name: str, url: str) -> None:
    """Raise ConfigError unless it is where a companion can be: http or https, and a host."""
    try:
        place = urlsplit(url)
        good = place.scheme in ("https", "http") and bool(place.hostname) and place.port != 0
    except ValueError:
        good = False
    if not good or not url.isprintable() or " " in url or "?" in url or "#" in url:
        raise ConfigError(f'{name} = "{url}" is no address, such as "https://companion.example"')


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
    values = allowed(kind, found.path)
    text = "" if "matching regex" in found.text and values else found.text
    raise ConfigError(f'"{key}": {"; ".join(filter(None, [text, values and f"it takes {values}"]))}')


def _check(config: Config) -> None:
    host_and_port(config.listen)
    if config.public_url:
        check_url("public_url", config.public_url)
    if not config.endpoints:
        raise ConfigError('no endpoint; add [endpoints.default] with provider = "local"')
    used = {endpoint.provider for endpoint in config.endpoints.values()}
    local = config.providers.local
    if "local" in used and local.brain == "chat" and not (local.chat_url and local.chat_model):
        raise ConfigError('providers.local: brain = "chat" needs chat_url and chat_model')
    for name in sorted({endpoint.provider for endpoint in config.endpoints.values() if endpoint.needs_key}):
        table = config.providers.of(name)
        if isinstance(table, UpstreamSettings):
            _check_upstream(name, table)


def _check_upstream(name: str, table: UpstreamSettings) -> None:
    if bool(table.key_env) == bool(table.key_file):
        raise ConfigError(f"providers.{name}: set one of key_env and key_file")
    if not table.base_url.startswith(("https://", "http://")):
        raise ConfigError(f'providers.{name}: base_url = "{table.base_url}" must begin with https://')


def _absolute(config: Config, base: Path) -> Config:
    """Make every `*_file` and `*_dir` absolute, and fill in the one that has a default."""
    providers: dict[str, msgspec.Struct] = {}
    for field in msgspec.structs.fields(config.providers):
        providers[field.name] = _with_paths(getattr(config.providers, field.name), base)
    whole = msgspec.structs.replace(
        config,
        providers=msgspec.structs.replace(config.providers, **providers),
        tokens_file=config.tokens_file or str(Path(config.state_dir, "tokens.json")),
    )
    return _with_paths(whole, base)


def _with_paths(table: S, base: Path) -> S:
    paths: dict[str, Any] = {}
    for field in msgspec.structs.fields(table):
        text = getattr(table, field.name)
        if field.name.endswith(("_file", "_dir")) and text:
            paths[field.name] = str(base / Path(text).expanduser())
    return msgspec.structs.replace(table, **paths)
