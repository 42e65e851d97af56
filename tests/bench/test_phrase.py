"""How lost and doubled samples are counted."""

from __future__ import annotations

import numpy as np
import pytest

from bench.phrase import count, phrase
from bench.talk import noise
from device.dsp.resample import Resampler
from rig.realtime import RATE

SAID = phrase(1)
SLACK = 50  # samples at a seam that are like the phrase by chance, or silent at its ends


def test_what_arrived_whole_has_lost_nothing_wherever_it_begins() -> None:
    before = np.zeros(777, np.int16)
    assert count(SAID, SAID) == (0, 0)
    assert count(SAID, np.concatenate((before, SAID, before))) == (0, 0)


@pytest.mark.parametrize("from_sample", [0, 1, 333])
def test_it_survives_the_ways_own_conversions(from_sample: int) -> None:
    card = Resampler(RATE, 48_000).process(np.pad(SAID, (500, 500)))
    assert count(SAID, Resampler(48_000, RATE).process(card[from_sample:])) == (0, 0)


@pytest.mark.parametrize("some", [120, 430, 2400])
@pytest.mark.parametrize("at", [3000, 12_345])
def test_samples_that_are_left_out_or_said_twice_are_counted_one_by_one(some: int, at: int) -> None:
    lost, doubled = count(SAID, np.concatenate((SAID[:at], SAID[at + some :])))
    assert lost == pytest.approx(some, abs=SLACK)
    assert doubled <= SLACK
    lost, doubled = count(SAID, np.concatenate((SAID[:at], SAID[at - some :])))
    assert doubled == pytest.approx(some, abs=SLACK)
    assert lost <= SLACK


@pytest.mark.parametrize("some", [120, 430, 12_000])
def test_an_end_or_a_beginning_that_is_cut_off_is_counted(some: int) -> None:
    for got in (SAID[:-some], SAID[some:], np.concatenate((SAID[:-some], np.zeros(4000, np.int16)))):
        lost, doubled = count(SAID, got)
        assert lost == pytest.approx(some, abs=SLACK)
        assert doubled == 0


@pytest.mark.parametrize("some", [5, 20])
def test_a_small_loss_is_not_overlooked(some: int) -> None:
    assert sum(count(SAID, np.concatenate((SAID[:9000], SAID[9000 + some :])))) > 0


def test_a_hole_of_silence_is_lost() -> None:
    hole = SAID.copy()
    hole[5000:5500] = 0
    assert count(SAID, hole)[0] == pytest.approx(500, abs=SLACK)


def test_a_phrase_that_is_said_twice_is_doubled_whole() -> None:
    lost, doubled = count(SAID, np.concatenate((SAID, np.zeros(999, np.int16), SAID)))
    assert lost == 0
    assert doubled == pytest.approx(len(SAID), abs=SLACK)


def test_what_is_not_there_at_all_is_lost_whole() -> None:
    assert count(SAID, np.zeros(0, np.int16)) == (len(SAID), 0)
    assert count(SAID, noise(1.0, RATE, 2)) == (len(SAID), 0)
