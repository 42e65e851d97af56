import pytest

from device.core.grant import Auth, is_loopback


def test_a_secret_does_not_show_when_printed() -> None:
    assert "ek_123" not in repr(Auth("bearer", "ek_123"))


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("ws://127.0.0.1:80/x", True),
        ("http://localhost", True),
        ("http://[::1]:8080", True),
        ("http://user@127.9.9.9/", True),
        ("http://127.0.0.1.evil.org", False),
        ("http://127.0.0.1@evil.org", False),
        ("localhost", False),
    ],
)
def test_only_this_machine_is_loopback(url: str, *, loopback: bool) -> None:
    assert is_loopback(url) is loopback
