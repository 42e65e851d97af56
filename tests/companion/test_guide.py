"""The guide's example is a configuration that loads, and it shows every key there is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from companion.config import load
from companion.settings import Config, Endpoint, LocalSettings

GUIDE = Path(__file__).parents[2] / "docs" / "companion.md"


def example() -> str:
    found = re.search(r"```toml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1]


def with_unset(text: str) -> str:
    """Return the example with the keys that have no default, which stand in it as comments."""
    return re.sub(r"^# (\w+) = .*$", r"\1 = 0", text, flags=re.MULTILINE)


def keys(value: Any, at: str = "") -> set[str]:
    if not isinstance(value, dict):
        return {at}
    return set().union(*(keys(part, f"{at}.{name}") for name, part in value.items()))


def test_the_example_loads_and_shows_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "companion.toml"
    path.write_text(example())
    config = load(path)
    assert config.providers.local == LocalSettings()
    assert config.endpoints["default"] == Endpoint(provider="local")


def test_the_example_has_every_key() -> None:
    whole = Config(tokens_file="x", state_dir="x", endpoints={"default": Endpoint(provider="local")})
    assert keys(tomllib.loads(with_unset(example()))) == keys(msgspec.to_builtins(whole))
