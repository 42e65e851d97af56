"""The files that people write, and what they are told when a file is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from device.config import BackendConfig, Loaded, flatten, load, make_rules, read_token, ring_seconds
from device.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

OWNER = """
board = "simulated"
[backend]
url = "http://127.0.0.1:8080"
token_file = "token"
[talk]
preroll_ms = 400
"""


def loaded(tmp_path: Path, text: str = OWNER, board: Path | None = None) -> Loaded:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return load(file, board)


def test_the_owner_wins_over_the_board_and_the_origin_is_known(tmp_path: Path) -> None:
    found = loaded(tmp_path, OWNER + "[audio.input]\nrate_hz = 16000\n")
    assert found.config.talk.preroll_ms == 400
    assert found.config.audio.input.rate_hz == 16000
    assert found.origins["audio.input.rate_hz"].endswith("config.toml")
    assert found.origins["audio.input.device"].endswith("hardware/simulated/board.toml")
    assert "talk.tail_ms" not in found.origins
    assert flatten(found.config)["talk.tail_ms"] == 250


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (OWNER + "prerol_ms = 1\n", "config.toml: unknown key talk.prerol_ms; did you mean preroll_ms?"),
        (OWNER + "[tlak]\n", "config.toml: unknown key tlak; did you mean talk?"),
        (OWNER + "zzz = 1\n", "unknown key talk.zzz; known here: mode, turn_end"),
        (OWNER + 'tail_ms = "long"\n', "config.toml: talk.tail_ms: Expected `int`, got `str`"),
        (OWNER + "tail_ms = -1\n", "talk.tail_ms: Expected `int` >= 0"),
        (OWNER + "[audio.input]\nchannel = 5\n", "audio.input.channel 5 is not one of"),
        (OWNER.replace("http://127.0.0.1:8080", ""), "backend.url is missing"),
        (OWNER.replace("http://127.0.0.1:8080", "ftp://x"), "backend.url must begin with https://"),
        (OWNER.replace("127.0.0.1", "example.org"), "is not encrypted; use https:// or"),
        (OWNER.replace("127.0.0.1", "127.0.0.1.evil.org"), "is not encrypted"),
        (OWNER + '[audio.input]\ndevice = ""\n', "audio.input.device is missing; `pressel devices`"),
        (OWNER + '[panel]\ndriver = "gpio"\n', "panel.button is missing"),
        (
            OWNER.replace("simulated", "i2s-mems-pair") + "[panel]\nbutton = 20\n",
            'config.toml: board "i2s-mems-pair": panel.button is GPIO 20, which is the I2S microphone data: ',
        ),
        (OWNER + "[panel.apa102]\ndata = 5\n", "panel.apa102 needs both data and clock, or neither"),
        (OWNER + '[panel.apa102]\ncolour = "red"\n', "panel.apa102.colour; did you mean color?"),
        (OWNER.replace("simulated", "simulatde"), 'there is no board "simulatde"; did you mean simulated?'),
        (
            OWNER.replace("[talk]", 'kind = "unmute"\ncodec = "g711_ulaw"\n[talk]'),
            'backend.codec cannot be chosen with "unmute"; leave it out',
        ),
        (
            OWNER + "buffer_s = 30\n",
            "config.toml: talk.buffer_s 30 is less than longest_turn_ms + keep_turn_ms, 135 s",
        ),
        (OWNER + "buffer_s = -1\n", "talk.buffer_s: Expected `int` >= 0"),
        (OWNER + "[hat]\nrates_hz = [1.5]\n", "config.toml: hat.rates_hz[0]: Expected `int`, got `float`"),
        ("board = [", "config.toml cannot be read"),
    ],
)
def test_a_mistake_is_one_line_with_the_mend(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://ada:s3cretValue@example.org", "ada:s3cretValue@example.org"])
def test_a_password_in_a_url_is_not_repeated_in_the_mistake(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, OWNER.replace("http://127.0.0.1:8080", url))
    assert "example.org" in str(caught.value)
    assert "s3cretValue" not in str(caught.value)


def test_what_is_not_encrypted_is_taken_when_the_owner_says_so(tmp_path: Path) -> None:
    text = OWNER.replace("127.0.0.1", "example.org").replace("[talk]", "allow_insecure = true\n[talk]")
    assert loaded(tmp_path, text).config.backend.url.startswith("http://example.org")


def test_a_board_can_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[audio.input]\ndevice = "m"\n[audio.output]\ndevice = "s"\n')
    text = OWNER.replace('"simulated"', '"mine.toml"') + '[panel]\ndriver = "simulated"\n'
    assert loaded(tmp_path, text).config.audio.input.device == "m"
    assert loaded(tmp_path, text, tmp_path / "mine.toml").config.audio.output.device == "s"


def test_the_talk_settings_become_the_conversation_s_rules(tmp_path: Path) -> None:
    rules = make_rules(loaded(tmp_path, "hardware_aec = true\n" + OWNER + "[state]\nkeep_turns = 3\n").config)
    assert (rules.preroll_ms, rules.half_duplex, rules.keep_turns) == (400, False, 3)
    assert rules.turn_end == "server"


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ("", 140.0),
        ("longest_turn_ms = 300000\n", 320.0),
        ("buffer_s = 135\n", 135.0),
        ("buffer_s = 20\nlongest_turn_ms = 5000\n", 20.0),
    ],
)
def test_the_ring_holds_the_longest_turn_for_as_long_as_it_may_wait(
    tmp_path: Path, more: str, seconds: float
) -> None:
    assert ring_seconds(loaded(tmp_path, OWNER + more).config.talk) == seconds


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml is missing; name another with --config"):
        load(tmp_path / "none.toml")


def test_the_token_comes_from_a_private_file_or_a_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("pst_1\n")
    file.chmod(0o600)
    assert read_token(BackendConfig(token_file=str(file))) == "pst_1"
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_token(BackendConfig(token_file=str(file)))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError, match="token_file is not set"):
        read_token(BackendConfig())
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(
        ConfigError, match=r"no claim, no identity and no token .*pressel enroll --claim-file FILE"
    ):
        read_token(BackendConfig())
    (tmp_path / "pressel_token").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(BackendConfig())
    (tmp_path / "pressel_token").rmdir()
    (tmp_path / "pressel_token").write_text("two\nlines")
    with pytest.raises(ConfigError, match="one line"):
        read_token(BackendConfig())
    (tmp_path / "pressel_token").write_text("pst_2")
    assert read_token(BackendConfig()) == "pst_2"


def test_a_board_file_that_claims_an_i2s_pin_is_named_with_the_key_and_the_owner(tmp_path: Path) -> None:
    board = tmp_path / "board.toml"
    board.write_text('name = "mine"\n[panel]\ndriver = "gpio"\nbutton = 18\n')
    with pytest.raises(ConfigError) as told:
        loaded(tmp_path, OWNER, board)
    assert str(told.value).startswith(
        f'{board}: board "mine": panel.button is GPIO 18, which is the I2S bit clock'
    )
    assert "\n" not in str(told.value)


def test_the_lines_of_an_led_chain_are_checked_as_the_others_are(tmp_path: Path) -> None:
    chain = '[panel]\nbutton = 5\nlight = "apa102"\n[panel.apa102]\ndata = 5\nclock = 6\n'
    with pytest.raises(ConfigError, match=r"panel.apa102.data is GPIO 5, which is panel.button"):
        loaded(tmp_path, OWNER + chain)


def test_a_boards_own_lines_are_known_with_their_origin(tmp_path: Path) -> None:
    found = loaded(tmp_path, OWNER.replace("simulated", "i2s-mems-pair"))
    assert flatten(found.config)["hat.pins.amplifier_shutdown"] == 16
    assert found.origins["hat.pins.amplifier_shutdown"].endswith("i2s-mems-pair/board.toml")
