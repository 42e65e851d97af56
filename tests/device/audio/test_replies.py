"""The queue of replies: what is played where, and what was heard."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.audio.replies import LIMIT_S, Heard, Replies
from device.dsp.resample import Resampler

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE, BLOCK = 48_000, 240


def ramp(size: int, start: int = 1) -> NDArray[np.int16]:
    return np.arange(start, start + size).astype(np.int16)


def played(replies: Replies, position: int = 0, blocks: int = 10_000) -> NDArray[np.int16]:
    """Every block there is, from a position of the card on."""
    parts: list[NDArray[np.int16]] = []
    while len(parts) < blocks and (block := replies.next_block(position)) is not None:
        assert len(block) == BLOCK
        parts.append(block)
        position += BLOCK
    return np.concatenate(parts) if parts else np.zeros(0, np.int16)


@pytest.mark.parametrize("size", [100, 480, 960, 4_801])
def test_pieces_of_any_size_come_out_whole(size: int) -> None:
    replies, samples = Replies(RATE, BLOCK), ramp(20_000)
    for start in range(0, len(samples), size):
        replies.push("r", "i", samples[start : start + size], RATE)
    replies.finish("r")
    out = played(replies)
    assert np.array_equal(out[: len(samples)], samples)
    assert not out[len(samples) :].any()
    assert replies.underruns == 0


def test_the_wire_rate_becomes_the_cards_without_clicks() -> None:
    replies = Replies(RATE, BLOCK)
    sound = np.random.default_rng(7).integers(-9_000, 9_000, 24_000).astype(np.int16)
    for start in range(0, len(sound), 700):
        replies.push("r", "i", sound[start : start + 700], 24_000)
    replies.finish("r")
    out = played(replies).astype(int)
    assert len(out) == RATE
    assert np.abs(out - Resampler(24_000, RATE).process(sound)).max() <= 1


def test_heard_counts_wire_samples_of_each_item() -> None:
    replies = Replies(RATE, BLOCK)
    replies.push("r", "one", ramp(2_400), 24_000)
    replies.push("r", "two", ramp(2_400), 24_000)
    assert replies.heard(0) == Heard("r", "one", 0, 24_000)
    played(replies, position=1_000)
    assert replies.heard(900) == Heard("r", "one", 0, 24_000)
    assert replies.heard(1_000 + 2_400) == Heard("r", "one", 1_200, 24_000)
    assert replies.heard(1_000 + 4_800 + 480) == Heard("r", "two", 240, 24_000)
    assert replies.heard(99_999) == Heard("r", "two", 2_400, 24_000)
    assert Heard("r", "two", 2_399, 24_000).ms == 99


def test_a_cut_counts_what_the_card_has_and_half_the_fade() -> None:
    replies = Replies(RATE, BLOCK)
    replies.push("r", "i", np.full(48_000, 1_000, np.int16), RATE)
    before = played(replies, blocks=20)
    heard, fade = replies.cut(len(before))
    assert heard == Heard("r", "i", 20 * BLOCK + BLOCK // 2, RATE)
    assert fade is not None
    assert np.all(np.diff(fade.astype(int)) <= 0)
    assert (fade[0], fade[-1]) == (1_000, 0)
    assert played(replies, 21 * BLOCK).size == 0
    assert replies.cut(0) == (None, None)


def test_a_cut_before_the_first_sample_heard_nothing() -> None:
    replies = Replies(RATE, BLOCK)
    replies.push("r", "i", ramp(100), RATE)
    assert replies.cut(5_000) == (Heard("r", "i", 0, RATE), None)


def test_the_tail_of_a_cut_reply_does_not_come_back() -> None:
    replies = Replies(RATE, BLOCK)
    replies.push("r", "i", ramp(9_600), RATE)
    played(replies, blocks=2)
    replies.cut(2 * BLOCK)
    replies.push("r", "i", ramp(9_600), RATE)
    replies.finish("r")
    assert not replies
    replies.push("next", "i", ramp(9_600), RATE)
    assert replies.next_block(0) is not None


def test_a_reply_settles_once_its_last_sample_was_heard() -> None:
    replies = Replies(RATE, BLOCK)
    replies.push("r", "i", ramp(1_000), RATE)
    played(replies)
    assert replies.settle(99_999) is None  # more may come
    replies.finish("r")
    assert replies.settle(999) is None
    assert replies.settle(1_000) == "r"
    assert replies.settle(1_000) is None
    assert not replies


def test_a_reply_without_sound_settles_at_once() -> None:
    replies = Replies(RATE, BLOCK)
    replies.finish("mute")
    assert replies.next_block(0) is None
    assert replies.settle(0) == "mute"


def test_replies_follow_one_another() -> None:
    replies = Replies(RATE, BLOCK)
    for reply in ("a", "b"):
        replies.push(reply, "i", np.full(480, ord(reply), np.int16), RATE)
        replies.finish(reply)
    assert set(played(replies)) == {ord("a")}
    assert replies.settle(480) == "a"
    assert set(played(replies, 480)) == {ord("b")}


def test_the_first_block_of_a_reply_says_so_once() -> None:
    replies = Replies(RATE, BLOCK)
    replies.push("r", "i", ramp(4_800), RATE)
    seen = []
    for position in range(0, 4_800, BLOCK):
        replies.next_block(position)
        seen.append(replies.started)
    assert seen == ["r"] + [None] * (len(seen) - 1)


def test_a_start_waits_for_20_ms_or_the_end() -> None:
    replies = Replies(RATE, BLOCK)
    replies.push("r", "i", ramp(500), RATE)
    assert replies.next_block(0) is None
    replies.push("r", "i", ramp(460), RATE)
    assert replies.next_block(0) is not None
    short = Replies(RATE, BLOCK)
    short.push("r", "i", ramp(10), RATE)
    short.finish("r")
    assert short.next_block(0) is not None


def test_a_reply_that_ran_dry_collects_more_before_it_goes_on() -> None:
    replies = Replies(RATE, BLOCK)
    replies.push("r", "i", ramp(960), RATE)
    position = len(played(replies))
    assert replies.underruns == 0  # it may have been the end
    for _ in range(2):
        replies.push("r", "i", ramp(960), RATE)
        assert replies.next_block(position) is None
    replies.push("r", "i", ramp(960), RATE)  # 60 ms are there
    assert replies.next_block(position) is not None
    assert replies.underruns == 1


def test_an_end_that_is_told_late_is_no_underrun() -> None:
    replies = Replies(RATE, BLOCK)
    replies.push("r", "i", ramp(960), RATE)
    position = len(played(replies))
    replies.finish("r")
    assert replies.next_block(position) is None
    assert replies.settle(position) == "r"
    assert replies.underruns == 0


def test_silence_while_dry_is_not_counted_as_heard() -> None:
    replies = Replies(RATE, BLOCK)
    replies.push("r", "i", ramp(960), RATE)
    played(replies)
    replies.push("r", "i", ramp(4_800), RATE)
    replies.next_block(50_000)
    assert replies.heard(30_000) == Heard("r", "i", 960, RATE)
    assert replies.heard(50_100) == Heard("r", "i", 1_060, RATE)


def test_more_than_five_minutes_ahead_is_dropped_and_counted() -> None:
    replies = Replies(RATE, BLOCK)
    minute = np.zeros(8_000 * 60, np.int16)
    for _ in itertools.repeat(None, 7):
        replies.push("r", "i", minute, 8_000)
    assert replies.dropped_s == 7 * 60 - LIMIT_S


def test_a_reply_whose_end_is_lost_is_over_after_20_s_without_sound() -> None:
    replies = Replies(RATE, BLOCK)
    replies.push("r", "i", ramp(BLOCK * 10), RATE)
    played(replies)
    assert replies.settle(BLOCK * 10 + 19 * RATE) is None
    assert replies.settle(BLOCK * 10 + 21 * RATE) == "r"
    assert not replies


@pytest.mark.parametrize("size", [1, 480, 48_000])
def test_what_is_kept_is_bounded_however_it_comes(size: int) -> None:
    seconds = 6 if size == 1 else 600
    replies, piece = Replies(RATE, BLOCK), ramp(size)
    tracemalloc.start()
    for _ in range(seconds * 24_000 // size):
        replies.push("r", "i", piece.copy(), 24_000)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    wire_bytes = min(LIMIT_S, seconds) * 24_000 * 2
    assert kept < wire_bytes * 1.1 + 100_000
    assert replies.dropped_s == pytest.approx(max(0.0, seconds - LIMIT_S), abs=2 * size / 24_000)


def test_crumbs_are_heard_and_counted_like_any_sound() -> None:
    replies, sound = Replies(RATE, BLOCK), ramp(4_000)
    for at in range(len(sound)):
        replies.push("r", "i", sound[at : at + 1], RATE)
    out = played(replies)
    assert np.array_equal(out[: len(sound)], sound)
    for position in (480, 1_000, 3_999):
        heard = replies.heard(position)
        assert heard is not None
        assert heard.samples == position


def test_more_replies_than_anybody_listens_to_are_dropped() -> None:
    replies = Replies(RATE, BLOCK)
    for number in range(100_000):
        replies.push(f"r{number}", "i", ramp(1), RATE)
        replies.finish(f"r{number}")
    position, ended = 0, 0
    while replies:
        replies.next_block(position)
        position += BLOCK
        ended += replies.settle(position) is not None
    assert ended == 32


def test_a_reply_of_countless_items_is_bounded() -> None:
    replies = Replies(RATE, BLOCK)
    for number in range(30_000):
        replies.push("r", str(number), ramp(1), RATE)
    assert replies.dropped_s > 0
