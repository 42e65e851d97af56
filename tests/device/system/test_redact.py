"""Secrets planted in every shape in which text may hold one."""

from __future__ import annotations

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
    ],
)
def test_what_is_none_stays(text: str) -> None:
    assert redact(text) == text


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


def test_a_terminal_is_shown_what_it_would_obey() -> None:
    assert visible("a\x1b[2Jb\r\n\u202e") == "a\\x1b[2Jb\\r\\n\\u202e"
    assert visible("größe") == "größe"
    assert visible("x" * 10, 4) == "xxxx…"
