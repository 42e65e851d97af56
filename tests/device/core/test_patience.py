"""The waits between attempts."""

from device.core.patience import Patience


def test_waits_double_up_to_the_longest_and_jitter_takes_a_share() -> None:
    patience = Patience(lambda: 0.5)
    assert [patience.next_wait() for _ in range(9)] == [0.125, 0.25, 0.5, 1, 2, 4, 8, 15, 15]


def test_a_named_time_is_obeyed_and_success_resets() -> None:
    patience = Patience(lambda: 0.5)
    assert patience.next_wait(12.0) == 12.0
    assert patience.next_wait(-1.0) == 0.0
    patience.reset()
    assert patience.next_wait() == 0.125
