from device.core.grant import Auth


def test_a_secret_does_not_show_when_printed() -> None:
    assert "ek_123" not in repr(Auth("bearer", "ek_123"))
