"""The microphone's ring."""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
import pytest

from device.audio.ring import Ring


def count(start: int, size: int) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return (np.arange(start, start + size) % 30_000).astype(np.int16)


def test_samples_are_found_by_their_absolute_position() -> None:
    ring = Ring(1.0, 1_000)
    for start in range(0, 2_500, 100):
        ring.write(count(start, 100))
    assert (ring.oldest, ring.written) == (1_500, 2_500)
    assert np.array_equal(ring.read(1_900, 333), count(1_900, 333))


@pytest.mark.parametrize(
    ("start", "size", "wanted"),
    [(0, 100, (1_500, 0)), (1_400, 200, (1_500, 100)), (2_400, 500, (2_400, 100)), (2_500, 9, (2_500, 0))],
)
def test_what_is_gone_or_to_come_is_left_out(start: int, size: int, wanted: tuple[int, int]) -> None:
    ring = Ring(1.0, 1_000)
    for at in range(0, 2_500, 250):
        ring.write(count(at, 250))
    assert np.array_equal(ring.read(start, size), count(*wanted))


def test_a_block_larger_than_the_ring_leaves_its_end() -> None:
    ring = Ring(0.1, 1_000)
    ring.write(count(0, 30))
    ring.write(count(30, 250))
    assert (ring.oldest, ring.written) == (180, 280)
    assert np.array_equal(ring.read(0, 1_000)[-100:], count(180, 100))


def test_a_read_is_a_copy() -> None:
    ring = Ring(0.1, 1_000)
    ring.write(count(0, 100))
    copy = ring.read(0, 100)
    ring.write(count(500, 100))
    assert np.array_equal(copy, count(0, 100))


def test_a_time_is_a_position() -> None:
    ring = Ring(1.0, 1_000)
    ring.write(count(0, 600))
    ring.mark(50.0)
    assert ring.position_at(50.0) == 600
    assert ring.position_at(49.9) == 500
    assert ring.position_at(50.25) == 850  # a press after the last block: still to be heard
    assert ring.position_at(1.0) == 0


def test_a_reader_beside_the_writer_never_sees_torn_samples() -> None:
    ring = Ring(1.0, 1_000)
    enough, switch_s = threading.Event(), sys.getswitchinterval()

    def write() -> None:
        start = 0
        while not enough.is_set():
            ring.write(count(start, 20))
            start += 20

    writer = threading.Thread(target=write)
    sys.setswitchinterval(1e-5)
    try:
        writer.start()
        reads, deadline = 0, time.monotonic() + 20.0
        while reads < 2_000 and time.monotonic() < deadline:
            got = ring.read(ring.oldest, 1_000)
            assert np.all(np.diff(got.astype(int)) % 30_000 == 1)
            reads += len(got) > 1
    finally:
        enough.set()
        writer.join()
        sys.setswitchinterval(switch_s)
    assert reads == 2_000


@pytest.mark.parametrize("ppm", [200, -200])
def test_a_time_stays_a_position_for_an_hour_on_a_card_with_another_clock(ppm: float) -> None:
    rate, block = 8_000, 160
    ring, worst = Ring(30.0, rate), 0.0
    step_s = block / rate / (1 + ppm * 1e-6)
    samples = np.zeros(block, np.int16)
    for number in range(1, 3_600 * 50 + 1):
        ring.write(samples)
        ring.mark(number * step_s)
        if number % 500 == 0:  # a press now, with a lead of half a second
            said = (number * step_s - 0.5) / step_s * block
            worst = max(worst, abs(ring.position_at(number * step_s - 0.5) - said))
    assert worst <= 1.5  # samples: 0.5 s at 200 ppm are 0.8
