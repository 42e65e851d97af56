"""Device tokens: shown once, hashed on disk, exact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from companion.access.tokens import Tokens
from companion.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_token_opens_its_device_alone(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "deep" / "tokens.json")
    hall, kitchen = tokens.new("hall"), tokens.new("kitchen")
    assert (tokens.device(hall), tokens.device(kitchen)) == ("hall", "kitchen")
    for wrong in ("", hall[:-1], f"{hall}x", hall.upper(), "ü"):
        assert tokens.device(wrong) is None


def test_only_the_hash_is_on_disk_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    token = Tokens(path).new("hall")
    assert len(token) >= 43
    assert token.removeprefix("pressel_") not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert Tokens(path).device(token) == "hall"


def test_a_name_is_used_once(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    old = tokens.new("hall")
    with pytest.raises(ConfigError, match="--replace"):
        tokens.new("hall")
    new = tokens.new("hall", replace=True)
    assert tokens.device(old) is None
    assert tokens.device(new) == "hall"


def test_a_revoked_token_is_void(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    token = tokens.new("hall")
    with pytest.raises(ConfigError, match=r'no device "hal".*there are: hall'):
        tokens.revoke("hal")
    tokens.revoke("hall")
    assert tokens.device(token) is None
    assert tokens.names() == []


def test_a_change_by_another_process_is_seen(tmp_path: Path) -> None:
    served = Tokens(tmp_path / "tokens.json")
    assert served.names() == []
    token = Tokens(tmp_path / "tokens.json").new("hall")
    assert served.device(token) == "hall"
    (tmp_path / "tokens.json").unlink()
    assert served.device(token) is None


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, "-x", "ü"])
def test_an_odd_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="1 to 64"):
        Tokens(tmp_path / "tokens.json").new(name)


@pytest.mark.parametrize("text", ["", "[]", '{"tokens":{"hall":1}}', '{"token":{}}'])
def test_a_broken_file_is_named_and_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"tokens\.json cannot be used"):
        Tokens(path).new("hall")
    assert path.read_text() == text
