"""The grant: secrets unseen, sizes of sound, what is loopback."""

from typing import Any

import pytest

from device.core.grant import Auth, Encoding, host_of, is_loopback


def test_a_secret_does_not_show_when_printed() -> None:
    assert "ek_123" not in repr(Auth("bearer", "ek_123"))


def test_a_host_is_named_without_the_password_before_it() -> None:
    assert host_of("https://ada:s3cret@companion.example:8443/v1?key=s3cret") == "companion.example:8443"


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("ws://127.0.0.1:80/x", True),
        ("http://localhost", True),
        ("http://[::1]:8080", True),
        ("http://user@127.9.9.9/", True),
        ("http://127.0.0.1.evil.org", False),
        ("http://127.0.0.1@evil.org", False),
        ("ws://evil.org?@localhost", False),
        ("ws://evil.org#@localhost", False),
        ("localhost", False),
    ],
)
def test_only_this_machine_is_loopback(url: str, *, loopback: bool) -> None:
    assert is_loopback(url) is loopback


@pytest.mark.parametrize(
    ("encoding", "rate", "bytes_per_ms"),
    [("pcm16", 24000, 48.0), ("g711_alaw", 8000, 8.0), ("ogg_opus", 24000, 0.0), ("none", 24000, 0.0)],
)
def test_the_size_of_sound_is_known_where_it_does_not_depend_on_the_sound(
    encoding: Any, rate: Any, bytes_per_ms: float
) -> None:
    assert Encoding(encoding, rate).bytes_per_ms == bytes_per_ms
