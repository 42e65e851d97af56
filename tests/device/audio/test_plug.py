"""Cards that come and go under a thread that reads and one that writes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.audio.health import Health
from device.audio.plug import Plug, PlugInput, PlugOutput
from device.errors import AudioError, FormatError
from tests.servers import until

if TYPE_CHECKING:
    from device.ports import AudioInput, AudioOutput, Frames, Samples

RATE = 16_000
BLOCK = RATE // 50


class Card:
    """A microphone and a speaker in one: it gives its number, and takes sound in real time."""

    def __init__(self, number: int) -> None:
        self.rate, self.channels, self.block = RATE, 1, RATE // 150
        self.number = number
        self.overruns = self.underruns = 0
        self.latency_s = 0.0
        self.pending = 7
        self.fault: str | None = None
        self.closed = 0
        self.taken: list[Samples] = []

    def read(self, frames: int) -> Frames:
        self._check(frames)
        block: Frames = np.full((frames, 1), self.number, np.int16)
        return block

    def write(self, samples: Samples) -> None:
        self._check(len(samples))
        self.taken.append(samples)

    def rest(self) -> bool:
        self._check(0)
        return False

    def close(self) -> None:
        self.closed += 1

    def _check(self, frames: int) -> None:
        time.sleep(frames / RATE)
        if self.fault or self.closed:
            raise AudioError(self.fault or "closed")


class Shop:
    """Where cards are had, or not; and what was told of it."""

    def __init__(self) -> None:
        self.cards: list[Card] = []
        self.missing: AudioError | None = None
        self.told: list[str] = []
        self.asked_at: list[float] = []

    def make(self) -> Card:
        self.asked_at.append(time.monotonic())
        if self.missing:
            raise self.missing
        self.cards.append(Card(len(self.cards) + 1))
        return self.cards[-1]

    def input(self) -> PlugInput:
        plug: Plug[AudioInput] = Plug(self.make, self.told.append, lambda: self.told.append("back"))
        plug.open()
        return PlugInput(plug, RATE, 1, "s16")

    def output(self) -> PlugOutput:
        plug: Plug[AudioOutput] = Plug(self.make, self.told.append, lambda: self.told.append("back"))
        plug.open()
        return PlugOutput(plug, RATE)


@pytest.fixture
def shop() -> Shop:
    return Shop()


def values(source: PlugInput, blocks: int) -> list[int]:
    return [int(source.read(BLOCK)[0, 0]) for _ in range(blocks)]


def test_a_card_is_read_and_nothing_told(shop: Shop) -> None:
    source = shop.input()
    assert 1 in values(source, 5)
    assert (shop.told, source.overruns) == ([], 0)


def test_a_microphone_that_is_missing_at_the_start_is_silence_in_real_time_until_it_is_there(
    shop: Shop,
) -> None:
    shop.missing = AudioError("no card")
    source = shop.input()
    began = time.monotonic()
    blocks = [source.read(BLOCK) for _ in range(15)]
    assert 0.25 < time.monotonic() - began < 3.0
    assert not np.concatenate(blocks).any()
    assert blocks[0].shape == (BLOCK, 1)
    assert shop.told == ["no card"]
    assert source.fault == "the microphone is missing: no card"
    shop.missing = None
    until(lambda: source.read(BLOCK).any())
    assert shop.told == ["no card", "back"]
    assert source.fault is None


def test_a_microphone_that_breaks_is_opened_again_at_once(shop: Shop) -> None:
    source = shop.input()
    until(lambda: source.read(BLOCK).any())
    shop.cards[0].fault = "pulled"
    until(lambda: 2 in values(source, 1))
    assert shop.cards[0].closed
    assert shop.told == []  # nobody had the time to miss it
    assert source.overruns == 1  # but samples were lost


def test_a_microphone_that_is_pulled_is_told_once_and_once_that_it_is_back(shop: Shop) -> None:
    source = shop.input()
    until(lambda: source.read(BLOCK).any())
    shop.cards[0].fault, shop.missing = "pulled", AudioError("no card")
    values(source, 60)
    assert shop.told == ["pulled"]
    shop.missing = None
    until(lambda: source.read(BLOCK).any(), 10)
    assert shop.told == ["pulled", "back"]
    assert source.read(BLOCK)[0, 0] == 2


def test_looking_for_a_card_takes_longer_breaks(shop: Shop) -> None:
    shop.missing = AudioError("no card")
    source = shop.input()
    until(lambda: source.read(BLOCK) is not None and len(shop.asked_at) == 4, 20)
    breaks = np.diff(shop.asked_at[1:])
    assert breaks[0] >= 0.5
    assert breaks[1] >= 1.0


def test_a_card_that_opens_and_never_gives_is_lost(shop: Shop) -> None:
    class Broken(Card):
        def read(self, frames: int) -> Frames:
            raise AudioError("broken")

    plug: Plug[AudioInput] = Plug(lambda: Broken(1), shop.told.append, lambda: shop.told.append("back"))
    plug.open()
    source = PlugInput(plug, RATE, 1, "s16")
    values(source, 40)
    assert shop.told == ["broken"]


def test_time_that_a_card_was_away_is_silence_of_the_same_length(shop: Shop) -> None:
    source = shop.input()
    until(lambda: source.read(BLOCK).any())
    began, blocks = time.monotonic(), 0
    shop.cards[0].fault, shop.missing = "pulled", AudioError("no card")
    for _ in range(10):
        source.read(BLOCK)
        blocks += 1
    time.sleep(0.3)  # as long as it takes to open a card
    shop.missing = None
    while source.read(BLOCK)[0, 0] != 2:
        blocks += 1
    assert (blocks + 1) * BLOCK / RATE == pytest.approx(time.monotonic() - began, abs=0.15)


def test_overruns_of_all_cards_are_counted(shop: Shop) -> None:
    source = shop.input()
    until(lambda: source.read(BLOCK).any())
    shop.cards[0].overruns = 3
    source.read(BLOCK)
    shop.cards[0].fault = "pulled"
    until(lambda: 2 in values(source, 1))
    shop.cards[1].overruns = 1
    source.read(BLOCK)
    assert source.overruns == 5


def test_a_card_that_refuses_the_format_is_no_missing_card(shop: Shop) -> None:
    shop.missing = FormatError("refuses 16000 Hz")
    with pytest.raises(FormatError):
        shop.input()


def test_a_dead_microphone_is_a_fault_too(shop: Shop) -> None:
    source = shop.input()
    source.health = Health(RATE, 0, 0.4, lambda _reason: None)
    until(lambda: source.read(BLOCK).any() and source.fault)
    assert "one and the same value" in str(source.fault)


def test_a_closed_microphone_ends_its_reader(shop: Shop) -> None:
    source = shop.input()
    source.read(BLOCK)
    source.close()
    with pytest.raises(AudioError):
        source.read(BLOCK)
    assert shop.cards[0].closed
    assert shop.told == []


def test_closing_ends_the_silence_of_a_missing_card_at_once(shop: Shop) -> None:
    shop.missing = AudioError("no card")
    source = shop.input()
    source.read(BLOCK)
    source.close()
    with pytest.raises(AudioError):
        source.read(RATE * 60)


def test_a_speaker_plays_and_tells_nothing(shop: Shop) -> None:
    sink = shop.output()
    assert sink.ready()
    sink.write(np.ones(sink.block, np.int16))
    assert (sink.pending, sink.rest(), sink.underruns, shop.told) == (7, False, 0, [])
    assert len(shop.cards[0].taken) == 1


def test_a_speaker_that_is_pulled_is_not_ready_until_it_is_back(shop: Shop) -> None:
    sink = shop.output()
    sink.write(np.ones(sink.block, np.int16))
    shop.cards[0].underruns = 2
    sink.write(np.ones(sink.block, np.int16))
    shop.cards[0].fault, shop.missing = "pulled", AudioError("no card")
    sink.write(np.ones(sink.block, np.int16))
    assert not sink.ready()
    assert (sink.pending, sink.rest(), sink.underruns) == (0, True, 2)
    assert shop.told == ["pulled"]
    assert sink.fault == "the speaker is missing: pulled"
    shop.missing = None
    until(sink.ready)
    assert sink.fault is None
    assert shop.told == ["pulled", "back"]
    assert not shop.cards[1].taken[0].any()


def test_a_speaker_found_missing_while_it_rests_is_told(shop: Shop) -> None:
    sink = shop.output()
    sink.write(np.ones(sink.block, np.int16))
    shop.cards[0].fault, shop.missing = "pulled", AudioError("no card")
    assert sink.rest()
    assert shop.told == ["pulled"]


def test_sound_for_no_speaker_takes_as_long_as_it_would(shop: Shop) -> None:
    shop.missing = AudioError("no card")
    sink = shop.output()
    began = time.monotonic()
    sink.write(np.ones(RATE // 5, np.int16))
    assert time.monotonic() - began >= 0.2
    assert shop.told == ["no card"]


def test_a_closed_speaker_ends_its_writer(shop: Shop) -> None:
    sink = shop.output()
    sink.close()
    with pytest.raises(AudioError):
        sink.write(np.ones(sink.block, np.int16))


def test_a_speaker_that_is_missing_at_the_start_is_never_ready(shop: Shop) -> None:
    shop.missing = AudioError("no card")
    sink = shop.output()
    assert not sink.ready()
    assert shop.told == ["no card"]


def test_a_loss_that_the_driver_tells_is_counted_once(shop: Shop) -> None:
    source = shop.input()
    values(source, 60)
    shop.cards[0].overruns = 1
    time.sleep(0.3)
    values(source, 160)
    assert source.overruns == 1


def test_a_loss_that_only_the_clock_tells_is_counted(shop: Shop) -> None:
    source = shop.input()
    values(source, 60)
    time.sleep(0.3)  # this card keeps nothing for later
    values(source, 160)
    assert source.overruns == 1
