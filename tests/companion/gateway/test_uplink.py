"""The pace of sound on its way to RTP, and the orders that wait for it."""

from __future__ import annotations

import numpy as np
import pytest

from companion.gateway.uplink import (
    FRAME_BYTES,
    FRAME_S,
    GRACE_S,
    MOST_BYTES,
    SETTLE_S,
    SILENCE,
    TooFarAheadError,
    Uplink,
)


def loud(frames: float, value: int = 5000) -> bytes:
    return np.full(int(frames * FRAME_BYTES // 2), value, "<i2").tobytes()


class Line:
    """An uplink that is polled when it asks to be, until a time; `sent` is (time, frame or order)."""

    def __init__(self) -> None:
        self.now = 0.0
        self.uplink = Uplink(0.0)
        self.uplink.unmute()
        self.sent: list[tuple[float, bytes | str]] = []

    def run(self, until: float) -> None:
        while True:
            due = self.uplink.poll(self.now)
            self.sent += [(self.now, order) for order in due.orders]
            if due.frame is not None:
                self.sent.append((self.now, due.frame))
                continue
            if self.now + due.wait_s >= until:
                self.now = until
                return
            assert due.wait_s > 0, "it would spin"
            self.now += due.wait_s + 1e-6

    def at(self, time: float) -> Uplink:
        """Run up to a time; what is said next is said then."""
        self.run(time)
        return self.uplink

    @property
    def frames(self) -> list[tuple[float, bytes]]:
        return [(at, frame) for at, frame in self.sent if isinstance(frame, bytes)]

    @property
    def spoken(self) -> bytes:
        return b"".join(frame for _, frame in self.frames if frame != SILENCE)

    def when(self, order: str) -> float:
        return next(at for at, sent in self.sent if sent == order)


def test_silence_goes_out_at_the_pace_of_the_clock() -> None:
    line = Line()
    line.run(2.0)
    assert {frame for _, frame in line.frames} == {SILENCE}
    assert len(line.frames) == pytest.approx(2.0 / FRAME_S, abs=3)


def test_a_frame_goes_out_at_once_and_the_words_are_whole() -> None:
    line = Line()
    line.at(0.5)
    said = b""
    for number in range(50):
        piece = loud(1, 1000 + number)
        said += piece
        line.at(0.505 + number * FRAME_S).sound(piece)
        line.run(line.now + 0.001)
        assert line.frames[-1] == (pytest.approx(line.now, abs=0.0011), piece)
    assert line.spoken == said


def test_late_frames_within_the_grace_leave_no_hole() -> None:
    line = Line()
    line.at(0.5)
    start = 0.505
    late = [0.0, 0.0, 0.035, 0.03, 0.0, 0.025, 0.0, 0.0]
    for number, by in enumerate(late):
        line.at(start + number * FRAME_S + by).sound(loud(1, 1000 + number))
    line.run(start + 0.3)
    first = next(index for index, (_, frame) in enumerate(line.frames) if frame != SILENCE)
    assert b"".join(frame for _, frame in line.frames[first : first + 8]) == line.spoken


def test_a_burst_goes_out_in_real_time() -> None:
    line = Line()
    line.at(1.0).sound(loud(50))
    line.run(1.5)
    gone = sum(frame != SILENCE for at, frame in line.frames)
    assert gone == pytest.approx(25, abs=3)
    line.run(2.2)
    assert line.spoken == loud(50)


def test_pauses_of_a_burst_are_shortened_and_words_are_not() -> None:
    line = Line()
    line.at(1.0).sound(bytes(25 * FRAME_BYTES) + loud(10) + bytes(40 * FRAME_BYTES) + loud(10, 6000))
    line.run(3.0)
    assert line.spoken == loud(10) + loud(10, 6000)
    words = [at for at, frame in line.frames if frame != SILENCE]
    assert words[0] < 1.05, "the silence before the first word is left out"
    assert words[10] - words[9] == pytest.approx(11 * FRAME_S, abs=0.03), "200 ms of the pause are left"


def test_pauses_in_real_time_stay_as_they_are() -> None:
    line = Line()
    for number in range(60):
        line.at(1.0 + number * FRAME_S).sound(loud(1) if number < 5 or number > 50 else bytes(FRAME_BYTES))
    line.run(3.0)
    words = [at for at, frame in line.frames if frame != SILENCE]
    assert words[5] - words[4] == pytest.approx(47 * FRAME_S, abs=0.01)


def test_a_commit_follows_the_last_sound_and_what_follows_it_waits_too() -> None:
    line = Line()
    uplink = line.at(1.0)
    uplink.sound(loud(20.5))
    uplink.order("commit", after_sound=True)
    uplink.order("create")
    uplink.sound(loud(1, 9000))
    line.run(3.0)
    last = next(at for at, frame in line.frames if frame != SILENCE and not frame.endswith(loud(0.1)))
    assert line.when("commit") == line.when("create") == pytest.approx(last + FRAME_S + SETTLE_S, abs=0.03)
    next_turn = next(at for at, frame in line.frames if frame == loud(1, 9000))
    assert next_turn >= line.when("commit")
    assert line.spoken.replace(b"\0", b"") == (loud(20.5) + loud(1, 9000)).replace(b"\0", b"")


def test_orders_without_sound_before_them_go_at_once() -> None:
    line = Line()
    uplink = line.at(1.0)
    uplink.order("update")
    uplink.order("commit", after_sound=True)
    uplink.order("create")
    line.run(1.001)
    assert [order for _, order in line.sent if isinstance(order, str)] == ["update", "commit", "create"]


def test_an_order_overtakes_sound_that_is_late() -> None:
    line = Line()
    uplink = line.at(1.0)
    uplink.sound(loud(100))
    uplink.order("cancel")
    line.run(1.001)
    assert line.when("cancel") == pytest.approx(1.0, abs=0.001)


def test_dropped_sound_is_not_sent_and_what_was_committed_is() -> None:
    line = Line()
    uplink = line.at(1.0)
    uplink.sound(loud(3, 1000))
    uplink.order("commit", after_sound=True)
    uplink.sound(loud(3, 2000))
    uplink.drop_sound()
    uplink.drop_sound()
    line.run(2.0)
    assert line.spoken == loud(3, 1000)
    assert uplink.delay_s == 0


def test_before_it_is_unmuted_sound_waits() -> None:
    line = Line()
    line.uplink = Uplink(0.0)
    line.at(0.1).sound(loud(5))
    line.run(1.0)
    assert line.spoken == b""
    line.uplink.unmute()
    line.run(1.5)
    assert line.spoken == loud(5)


def test_half_a_frame_is_filled_up_when_nothing_follows() -> None:
    line = Line()
    line.at(1.0).sound(loud(0.5))
    line.run(1.0 + 2 * GRACE_S)
    assert line.spoken == loud(0.5) + bytes(FRAME_BYTES // 2)


def test_after_standing_still_no_burst_is_sent() -> None:
    line = Line()
    line.run(1.0)
    line.now = 11.0
    before = len(line.frames)
    line.run(11.1)
    assert len(line.frames) - before <= 8


def test_more_than_a_minute_is_refused() -> None:
    uplink = Uplink(0.0)
    uplink.sound(bytes(MOST_BYTES))
    with pytest.raises(TooFarAheadError):
        uplink.sound(b"\0\0")
