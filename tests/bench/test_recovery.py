"""How the recovery bench counts what is lost, and that its rig breaks and mends."""

from __future__ import annotations

from math import inf

import numpy as np

from bench.recovery import WINDOW, Result, figures, measure, missing
from bench.talk import noise
from rig.realtime import RATE

SAID = noise(1.0, RATE, 1)


def test_what_arrived_whole_has_lost_nothing_wherever_it_begins() -> None:
    before = np.zeros(777, np.int16)
    assert missing(SAID, SAID) == 0
    assert missing(SAID, np.concatenate((before, SAID, before))) == 0


def test_samples_that_are_left_out_or_doubled_are_counted() -> None:
    at = 5 * WINDOW
    assert missing(SAID, np.concatenate((SAID[:at], SAID[at + 40 :]))) == 40
    assert missing(SAID, np.concatenate((SAID[:at], SAID[at - 40 :]))) == 40
    assert missing(SAID, SAID[3 * WINDOW :]) == 3 * WINDOW
    assert missing(SAID, np.zeros(0, np.int16)) == len(SAID)
    assert missing(SAID, noise(1.0, RATE, 2)) == len(SAID)


def test_an_answer_that_never_came_is_in_the_figures() -> None:
    row = figures([Result(1.0, 0.25, 0.75, 0), Result(inf, 0.0, inf, 0)])
    assert row["seconds"]["max"] == inf
    assert row["n"] == 2


def test_a_cut_in_speech_is_recovered_from_without_a_loss() -> None:
    (result,) = measure(1, "cut in speech")["cut in speech"]
    assert result.seconds < 30
    assert result.lost == 0
