"""The user's turn from the ring to the session: counted in samples, by a counter signal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from device.net.uplink import Uplink

if TYPE_CHECKING:
    from device.net.flow import Flow
    from device.ports import Samples

RATE = 16000
BLOCK = RATE // 50


class FakeSource:
    """Sample n has the value n; `written` is where the microphone is."""

    def __init__(self, seconds: int = 30) -> None:
        self.written = RATE
        self.size = seconds * RATE

    @property
    def oldest(self) -> int:
        return max(0, self.written - self.size)

    def read(self, start: int, count: int) -> Samples:
        return np.arange(start, start + count).astype(np.int16)

    def position_at(self, at: float) -> int:
        return int(at * RATE)


class Straight:
    """No conversion: what goes in comes out."""

    def process(self, samples: Samples) -> Samples:
        return samples


class FakeOutlet:
    """Keeps what was sent; marks commits and discards among the samples."""

    input_rate = RATE
    where = "host"

    def __init__(self) -> None:
        self.samples: list[int] = []
        self.marks: list[str] = []

    def send_audio(self, pcm: bytes) -> None:
        self.samples += np.frombuffer(pcm, np.int16).tolist()

    def end_turn(self) -> None:
        self.marks.append("end")

    def discard_turn(self) -> None:
        self.marks.append("discard")


def rig(seconds: int = 30) -> tuple[FakeSource, Uplink, FakeOutlet, list[str]]:
    source, outlet, marks = FakeSource(seconds), FakeOutlet(), list[str]()
    uplink = Uplink(source, RATE, lambda _a, _b: Straight(), lambda mark, _at: marks.append(mark))
    return source, uplink, outlet, marks


def capture(source: FakeSource, uplink: Uplink, blocks: int) -> None:
    for _ in range(blocks):
        source.written += BLOCK
        uplink.pump()


def values(start: int, end: int) -> list[int]:
    return np.arange(start, end).astype(np.int16).tolist()


def test_what_was_said_before_the_session_opened_is_sent_with_the_preroll() -> None:
    source, uplink, outlet, marks = rig()
    uplink.begin(1.0, 500)
    capture(source, uplink, 125)  # 2.5 s of minting
    assert outlet.samples == []
    uplink.end(3.0)
    uplink.attach(outlet)
    capture(source, uplink, 10)
    assert outlet.samples == values(RATE // 2, 3 * RATE + BLOCK)
    assert outlet.marks == ["end"]
    assert marks == ["first", "commit"]
    capture(source, uplink, 5)
    assert outlet.marks == ["end"]


def test_backlog_is_sent_in_portions_so_that_capture_is_not_held_up() -> None:
    source, uplink, outlet, _ = rig()
    uplink.begin(1.0, 0)
    capture(source, uplink, 100)
    uplink.attach(outlet)
    uplink.pump()
    assert len(outlet.samples) == 25 * BLOCK


def test_a_live_turn_goes_out_block_by_block_and_ends_behind_the_release() -> None:
    source, uplink, outlet, _ = rig()
    uplink.begin(1.0, 0)
    uplink.attach(outlet)
    capture(source, uplink, 3)
    assert len(outlet.samples) == 3 * BLOCK
    uplink.end(1.065)
    capture(source, uplink, 1)
    assert outlet.marks == []
    capture(source, uplink, 1)
    assert outlet.samples == values(RATE, RATE + int(0.085 * RATE))
    assert outlet.marks == ["end"]


def test_a_broken_session_s_turn_is_sent_again_from_its_first_sample() -> None:
    source, uplink, outlet, _ = rig()
    uplink.begin(1.0, 0)
    uplink.attach(outlet)
    capture(source, uplink, 5)
    uplink.detach()
    capture(source, uplink, 5)
    second = FakeOutlet()
    uplink.attach(second)
    capture(source, uplink, 1)
    assert second.samples == values(RATE, RATE + 11 * BLOCK)
    assert len(outlet.samples) == 5 * BLOCK


def test_a_negative_lead_waits() -> None:
    source, uplink, outlet, _ = rig()
    uplink.begin(1.0, -250)
    uplink.attach(outlet)
    capture(source, uplink, 12)
    assert outlet.samples == []
    capture(source, uplink, 2)
    assert outlet.samples[0] == values(RATE + RATE // 4, RATE + RATE // 4 + 1)[0]


def test_an_end_can_be_taken_back_before_it_was_sent() -> None:
    source, uplink, outlet, _ = rig()
    uplink.begin(1.0, 0)
    uplink.end(1.1)
    uplink.reopen()
    uplink.attach(outlet)
    capture(source, uplink, 20)
    assert outlet.marks == []
    assert len(outlet.samples) == 20 * BLOCK


def test_a_discarded_turn_is_taken_back_from_the_server_unless_it_was_committed() -> None:
    for committed in (False, True):
        source, uplink, outlet, _ = rig()
        uplink.begin(1.0, 0)
        uplink.attach(outlet)
        capture(source, uplink, 2)
        if committed:
            uplink.end(1.02)
            capture(source, uplink, 1)
        uplink.discard()
        capture(source, uplink, 2)
        assert outlet.marks == (["end"] if committed else ["discard"])
    source, uplink, outlet, _ = rig()
    uplink.begin(1.0, 0)
    uplink.attach(outlet)
    uplink.discard()
    uplink.pump()
    assert outlet.marks == []


def test_a_closed_turn_sends_no_more() -> None:
    source, uplink, outlet, _ = rig()
    uplink.begin(1.0, 0)
    uplink.attach(outlet)
    capture(source, uplink, 2)
    uplink.close()
    capture(source, uplink, 2)
    assert len(outlet.samples) == 2 * BLOCK


def test_what_the_ring_has_gone_over_is_counted_and_the_rest_sent() -> None:
    source, uplink, outlet, _ = rig(seconds=1)
    uplink.begin(1.0, 0)
    capture(source, uplink, 100)
    uplink.attach(outlet)
    capture(source, uplink, 10)
    assert uplink.frames_dropped == 51
    assert outlet.samples[-1] == values(source.written - 1, source.written)[0]


def test_silence_fills_what_no_turn_does_at_the_pace_of_the_microphone() -> None:
    source, uplink, outlet, marks = rig()
    uplink.fill(outlet)
    uplink.pump()
    capture(source, uplink, 3)
    assert outlet.samples == [0] * 3 * BLOCK
    uplink.begin(source.written / RATE, 0)
    uplink.attach(outlet)
    capture(source, uplink, 2)
    uplink.end(source.written / RATE - 0.02)
    capture(source, uplink, 3)
    assert outlet.samples.count(0) == 5 * BLOCK
    assert marks == ["first", "commit"]
    uplink.fill(outlet)
    uplink.close()
    capture(source, uplink, 1)
    uplink.fill(None)
    capture(source, uplink, 5)
    assert outlet.samples.count(0) == 6 * BLOCK


class Account:
    """Keeps each flow as (why, bytes), and what was shown of its sound."""

    def __init__(self) -> None:
        self.open: list[Flow] = []
        self.flows: list[tuple[str, int]] = []
        self.shown = 0

    def began(self, flow: Flow) -> None:
        self.open.append(flow)

    def sound(self, flow: Flow, pcm: bytes) -> None:
        assert self.open == [flow]
        self.shown += len(pcm)

    def ended(self, flow: Flow) -> None:
        self.open.remove(flow)
        self.flows.append((flow.why, flow.bytes))


def account() -> tuple[FakeSource, Uplink, Account]:
    source, seen = FakeSource(), Account()
    uplink = Uplink(source, RATE, lambda _a, _b: Straight(), lambda _mark, _at: None, witnesses=(seen,))
    return source, uplink, seen


def test_every_sample_that_leaves_is_witnessed_with_its_reason() -> None:
    source, uplink, seen = account()
    first, second = FakeOutlet(), FakeOutlet()
    uplink.begin(1.0, 0, "wake")
    uplink.attach(first)
    capture(source, uplink, 5)
    uplink.detach()
    capture(source, uplink, 2)
    uplink.attach(second)
    uplink.fill(second)
    uplink.end(source.written / RATE - 0.02)
    capture(source, uplink, 4)
    uplink.fill(None)
    capture(source, uplink, 2)
    whys = ["wake", "wake, sent again", "silence while a reply is awaited"]
    assert [why for why, _ in seen.flows] == whys
    assert sum(size for _, size in seen.flows) == seen.shown == 2 * len(first.samples + second.samples)
    assert seen.open == []


def test_a_flow_ends_with_each_order_that_ends_a_turn() -> None:
    for finish in (Uplink.close, Uplink.discard, Uplink.detach, lambda uplink: uplink.begin(9.0, 0)):
        source, uplink, seen = account()
        uplink.begin(1.0, 0)
        uplink.attach(FakeOutlet())
        capture(source, uplink, 2)
        assert len(seen.open) == 1
        finish(uplink)
        capture(source, uplink, 2)
        assert seen.flows == [("button", 2 * 2 * BLOCK)]


def test_a_turn_of_which_nothing_was_sent_is_no_flow_and_its_first_sending_no_second_one() -> None:
    source, uplink, seen = account()
    uplink.begin(1.0, 0)
    uplink.detach()
    capture(source, uplink, 2)
    uplink.attach(FakeOutlet())
    uplink.end(1.04)
    capture(source, uplink, 2)
    assert [why for why, _ in seen.flows] == ["button"]
