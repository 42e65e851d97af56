"""A flow counts its sound."""

from device.net.flow import Flow


def test_bytes_are_seconds_at_the_rate() -> None:
    flow = Flow("button", "host", 24_000)
    flow.bytes = 48_000
    assert flow.seconds == 1.0
