"""Secrets planted in every shape in which text may hold one."""

from __future__ import annotations

import time

import pytest

from device.system.redact import REMOVED, redact, redact_all, visible

SECRET = "s3cretValue9"


@pytest.mark.parametrize(
    "text",
    [
        f"https://ada:{SECRET}@companion.example/v1",
        f"wss://{SECRET}@host/x",
        f"ada:{SECRET}@host/x",
        f"https://host/path?key={SECRET}&a=b",
        f"wss://host/v1?a=b&token={SECRET} refused",
        f"Authorization: Bearer {SECRET}",
        f"authorization=Basic {SECRET}",
        f"authorization: {SECRET}",
        f'{{"api_key": "{SECRET}"}}',
        f"DEVICE_TOKEN={SECRET}",
        f"wpa psk={SECRET}",
        f"password: {SECRET}, user: ada",
        f"sk-{SECRET} was refused",
        f"pressel_{SECRET}",
        f"ek_{SECRET}",
        f"{{'token': '{SECRET}'}}",
        f"password: 'two {SECRET}'",
        f'"token": "abc {SECRET} def"',
        f'"token": "ab\\" {SECRET}"',
        f'said {{\\"client_secret\\": \\"abc {SECRET}\\"}}',
        f'psk = "my {SECRET} wifi"',
        f'psk = "cut off {SECRET}',
        f"wss://user:pa@{SECRET}@host/x",
        f"wss://user:pa/{SECRET}@host/x",
        f"user:pa@{SECRET}@host",
        f"password: basic{SECRET}",
        f"Cookie: a={SECRET}; b={SECRET}",
        f"Set-Cookie: a=b; sid={SECRET}",
        f"{{'Cookie': 'a=b; sid={SECRET}'}}",
        f"Authorization: Token {SECRET}",
        f'Proxy-Authorization: Digest username="ada", response="{SECRET}"',
        f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.{SECRET}",
    ],
)
def test_what_looks_like_a_secret_is_removed(text: str) -> None:
    assert SECRET not in redact(text)
    assert REMOVED in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "ready in 0.42 s",
        "https://companion.example:8443/v1/sessions answered 500",
        "backend.token_file is not set",
        "reply resp_1 of 3200 tokens was heard",
        "bearer of bad news",
        "Unmute tells no tokens: use minutes; day_tokens = 2000",
        "https://host:8443/users/@ada and https://host/a@b",
    ],
)
def test_what_is_none_stays(text: str) -> None:
    assert redact(text) == text


def test_what_stands_around_a_secret_stays() -> None:
    assert redact("wss://user:pa@ss@host:1/x refused") == f"wss://{REMOVED}@host:1/x refused"
    assert redact("{'token': 'a b c', 'n': 1}") == f"{{'token': '{REMOVED}', 'n': 1}}"
    assert (
        redact("wss://a:b@h; password: 'x y z'; retry") == f"wss://{REMOVED}@h; password: '{REMOVED}'; retry"
    )


@pytest.mark.parametrize("piece", ["a-", "a:", "://", "token", "eyJ-", 'token="', "\\", "a:b"])
def test_text_made_to_be_slow_is_not(piece: str) -> None:
    began = time.process_time()
    redact(piece * (100_000 // len(piece)))
    assert time.process_time() - began < 5  # a search that goes back over all of it would take minutes


def test_a_known_secret_is_removed_wherever_it_stands_and_however_it_is_quoted() -> None:
    assert redact("x/y z=tell me", ["tell me"]) == f"x/y z={REMOVED}"
    assert redact("a/p%2Fq%20rs", ["p/q rs"]) == f"a/{REMOVED}"
    assert redact("on", ["on"]) == "on"


def test_every_string_of_a_structure_is_read() -> None:
    value = {f"k{SECRET}": [1, None, {"b": f"so {SECRET}"}, (SECRET,)], "n": 2.5}
    assert redact_all(value, [SECRET]) == {
        f"k{REMOVED}": [1, None, {"b": f"so {REMOVED}"}, [REMOVED]],
        "n": 2.5,
    }


def test_a_value_whose_key_names_a_secret_is_removed() -> None:
    value = {
        "Client_Secret": "a b",
        "token": ["c d"],
        "tokens_today": 5,
        "n": {"psk": 12345678, "cookie": None},
    }
    assert redact_all(value) == {
        "Client_Secret": REMOVED,
        "token": [REMOVED],
        "tokens_today": 5,
        "n": {"psk": REMOVED, "cookie": None},
    }


def test_a_terminal_is_shown_what_it_would_obey() -> None:
    assert visible("a\x1b[2Jb\r\n\u202e") == "a\\x1b[2Jb\\r\\n\\u202e"
    assert visible("größe") == "größe"
    assert visible("x" * 10, 4) == "xxxx…"
