"""The configuration file: what it holds, and that each fault is named with its mend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from companion.app import build
from companion.config import host_and_port, load
from companion.errors import ConfigError
from tests.companion.talk import config_file

if TYPE_CHECKING:
    from pathlib import Path

OPENAI_KEY = '[providers.openai]\nkey_env = "NO_KEY"'
LOCAL = '[endpoints.default]\nprovider = "local"\n'


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = load(config_file(tmp_path))
    assert config.tokens_file == str(tmp_path / "tokens.json")
    assert config.state_dir == str(tmp_path / "state")
    assert config.providers.local.brain == "rules"
    assert config.endpoints["default"].session.vad_silence_ms == 500


def test_the_hashes_of_tokens_lie_with_the_state_unless_said_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "companion.toml"
    file.write_text(f'state_dir = "state"\n{LOCAL}')
    assert load(file).tokens_file == str(tmp_path / "state/tokens.json")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '[endpoints.default]\nprovidr = "local"',
            'unknown key "endpoints.default.providr". Did you mean "provider"?',
        ),
        (f"{LOCAL}[providers.locale]", 'unknown key "providers.locale". Did you mean "local"?'),
        (f"{LOCAL}[providers.local]\nbrian = 1", 'Did you mean "brain"?'),
        (f"{LOCAL}[endpoints.default.session]\nvoise = 1", 'Did you mean "voice"?'),
        ('[endpoints.default]\nprovider = "lokal"', '"endpoints.default.provider": Invalid enum value'),
        ("[endpoints.default]", 'the key "endpoints.default.provider" is missing'),
        (f"{LOCAL}[providers.local]\nsession_minutes = 0", '"providers.local.session_minutes"'),
        (f"{LOCAL}[endpoints.default.session]\nspeed = 3.0", '"endpoints.default.session.speed"'),
        (
            f"{LOCAL}[endpoints.default.session]\nspeed = 3.0",
            '"endpoints.default.session.speed": Expected `float` <= 1.5; it takes 0.25 to 1.5',
        ),
        (
            f"{LOCAL}[endpoints.default.session]\nmax_output_tokens = 5000",
            "it takes 1 to 4096 or inf",
        ),
        (f"{LOCAL}[endpoints.default.session]\nvad_idle_timeout_ms = 1", "it takes 5000 to 30000"),
        (f"{LOCAL}[endpoints.default.session]\ntemperature = 0.1", "it takes 0.6 to 1.2"),
        (f'{LOCAL}[endpoints.default.session]\nvad = "on"', "it takes none, semantic, server"),
        (
            f'{LOCAL}[endpoints.default.session]\nnoise_reduction = "on"',
            "it takes far_field, near_field, off",
        ),
        (f'{LOCAL}[endpoints.default.session]\ninput_codec = "mp3"', "g711_alaw, g711_ulaw, pcm16"),
        (f"{LOCAL}[endpoints.default.session]\nvad_threshold = 1.1", "it takes 0 to 1"),
        (f"{LOCAL}[endpoints.default.session]\nvad_silence_ms = -1", "it takes 0 to 10000"),
        (f'{LOCAL}[endpoints.default.session]\ntools = [{{name = "a b"}}]', "session.tools[0].name"),
        (
            f'{LOCAL}[endpoints.default.session]\ntools = [{{name = "a b"}}]',
            '"endpoints.default.session.tools[0].name": it takes letters, digits, _ and -, at most 64',
        ),
        (
            f'{LOCAL}[endpoints.default.session]\nlanguage = "english"',
            '"endpoints.default.session.language": it takes a code such as en or pt-BR',
        ),
        (f"{LOCAL}[endpoints.default.session]\nvoice = {{idd = 1}}", 'Did you mean "id"?'),
        (f'{LOCAL}[endpoints.default.session]\nlanguage = "English"', "endpoints.default.session.language"),
        (f"{LOCAL}[providers.openai]\nsecret_seconds = 9", "it takes 10 to 7200"),
        ("[endpoints]", "no endpoint"),
        ("endpoints = 1", '"endpoints": Expected `object`'),
        ("endpoints =", "is not TOML"),
        (f'{LOCAL}[providers.local]\nbrain = "chat"', "needs chat_url and chat_model"),
        ('[endpoints.default]\nprovider = "openai"', "set one of key_env and key_file"),
    ],
)
def test_a_fault_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = config_file(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"cannot read .*gone.toml: there is no such file; name it with --config"
    ):
        load(tmp_path / "gone.toml")


@pytest.mark.parametrize("text", ["", "8790", "host", "host:", "host:http", "host:99999"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        host_and_port(text)


@pytest.mark.parametrize(
    "url",
    [
        "companion.example",
        "ws://c.example",
        "https://",
        "https://a b",
        "https://c:99999",
        "https://[c",
        "http://c?x=1",
    ],
)
def test_a_public_url_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    path = config_file(tmp_path, LOCAL, f'public_url = "{url}"')
    with pytest.raises(
        ConfigError, match=r'public_url = ".*" is no address, such as "https://companion\.example"'
    ):
        load(path)


def test_a_public_url_may_have_a_port_and_a_path(tmp_path: Path) -> None:
    path = config_file(tmp_path, LOCAL, 'public_url = "https://[2001:db8::1]:8790/voice/"')
    assert load(path).public_url == "https://[2001:db8::1]:8790/voice/"


def test_addresses() -> None:
    assert host_and_port("127.0.0.1:0") == ("127.0.0.1", 0)
    assert host_and_port("[::1]:8790") == ("::1", 8790)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f'{LOCAL}[endpoints.default.session]\nvoice = "bob"', "No such voice; there are: heart"),
        (f'{LOCAL}model = "gpt-realtime"', 'has only "pressel-local"'),
        (
            f'{LOCAL}[providers.local]\nbrain="chat"\nchat_url="http://x"\nchat_model="m"\nchat_key_file="no"',
            "cannot read chat_key_file",
        ),
        (
            '[endpoints.default]\nprovider = "openai"\n[providers.openai]\nkey_file = "no"',
            "cannot read key_file",
        ),
        (
            f'[endpoints.a]\nprovider = "openai"\nsession.temperature = 0.8\n{OPENAI_KEY}',
            "endpoints.a.session.temperature: GA has none",
        ),
        (
            f'[endpoints.a]\nprovider = "openai"\nmodel = "gpt-5"\n{OPENAI_KEY}',
            'endpoints.a.model = "gpt-5": OpenAI\'s realtime models begin with gpt-realtime,',
        ),
        (
            f'[endpoints.a]\nprovider = "openai"\nsession.voice = "bob"\n{OPENAI_KEY}',
            'endpoints.a.session.voice = "bob": OpenAI has alloy, ash,',
        ),
        (
            (
                '[endpoints.a]\nprovider = "openai-beta"\nsession.voice = "marin"\n'
                '[providers.openai-beta]\nkey_env = "NO_KEY"'
            ),
            'endpoints.a.session.voice = "marin": OpenAI has alloy, ash,',
        ),
        (
            f'[endpoints.a]\nprovider = "openai"\nsession.tool_choice = {{name = "x"}}\n{OPENAI_KEY}',
            'endpoints.a.session.tool_choice: there is no tool "x"',
        ),
        (
            (
                '[endpoints.a]\nprovider = "openai-beta"\nsession.truncation = "disabled"\n'
                '[providers.openai-beta]\nkey_env = "NO_KEY"'
            ),
            "endpoints.a.session.truncation: the beta shape has none",
        ),
        (
            '[endpoints.default]\nprovider = "openai"\n[providers.openai]\nkey_env = "NO_KEY"',
            "variable NO_KEY holds",
        ),
    ],
)
def test_what_a_provider_cannot_do_is_refused_at_the_start(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(load(config_file(tmp_path, text)))
    assert says in str(caught.value)


def test_a_state_folder_that_cannot_be_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(ConfigError, match="state_dir"):
        build(load(config_file(tmp_path)))
