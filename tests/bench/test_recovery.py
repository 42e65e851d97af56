"""What the recovery bench makes of its runs, and that its rig breaks and mends."""

from __future__ import annotations

from math import inf

from bench.recovery import Result, figures, measure


def test_an_answer_that_never_came_is_in_the_figures() -> None:
    row = figures([Result(1.0, 0.25, 0.75, 0, 0), Result(inf, 0.0, inf, 24_000, 0)])
    assert row["seconds"]["max"] == inf
    assert row["n"] == 2
    assert row["lost"] == 24_000


def test_a_cut_in_speech_is_recovered_from_without_a_loss() -> None:
    (result,) = measure(1, "cut in speech")["cut in speech"]
    assert result.seconds < 30
    assert (result.lost, result.doubled) == (0, 0)
