"""The soak in small, and what it makes of its figures."""

from __future__ import annotations

from typing import Any

import pytest

from bench.soak import Log, judge, outcome, slope, soak, status, verdict


def test_a_quarter_of_a_minute_of_chaos_leaves_no_turn_unanswered() -> None:
    log = soak(0.25)
    assert log.outcomes["unanswered"] == log.outcomes["stuck"] == 0
    assert log.outcomes["answered"] > 0
    assert len(log.figures["rss_mib"]) == sum(log.outcomes.values())


def test_a_slope_and_its_error_are_those_of_least_squares() -> None:
    rise, error = slope([(0.0, 1.0), (1.0, 2.0), (2.0, 4.0), (3.0, 4.0)])
    assert rise == pytest.approx(1.1 * 3600)
    assert error == pytest.approx(0.26458 * 3600, rel=1e-3)
    assert slope([(0.0, 1.0)]) != slope([(0.0, 1.0)])  # nan


def _log(rss: list[tuple[float, float]]) -> Log:
    level = [(float(t), 11.0) for t in range(600)]
    log = Log()
    log.outcomes["answered"] = 600
    log.figures |= {"rss_mib": rss, "threads": level, "descriptors": level, "delay_ms": level}
    return log


def test_what_grows_is_told_and_what_only_wavers_is_not() -> None:
    grows = judge(_log([(float(t), 50.0 + t / 100 + t % 2 / 10) for t in range(600)]))
    assert grows["rss_mib"]["verdict"] == "GROWS"
    assert grows["rss_mib"]["slope_per_h"] == pytest.approx(36, rel=0.05)
    assert status(grows) == 1
    wavers = judge(_log([(float(t), 50.0 + t % 2 / 100) for t in range(600)]))
    assert wavers["rss_mib"]["verdict"] == "flat"
    assert status(wavers) == 0


def test_a_run_that_is_too_short_passes_nothing() -> None:
    short = judge(_log([(60.0, 50.0), (61.0, 50.1), (62.0, 50.0), (63.0, 50.1)]))
    assert short["rss_mib"]["verdict"] == "too short"
    assert status(short) == 2


@pytest.mark.parametrize(
    ("rise", "error", "said"),
    [(0.5, 0.1, "flat"), (0.9, 0.1, "too short"), (1.1, 0.1, "too short"), (1.3, 0.1, "GROWS")],
)
def test_a_slope_is_judged_with_its_error(rise: float, error: float, said: str) -> None:
    assert verdict(rise, error, 1.0) == said
    assert verdict(float("nan"), float("nan"), 1.0) == "too short"


@pytest.mark.parametrize("bad", ["unanswered", "stuck"])
def test_one_turn_without_an_outcome_fails_the_run(bad: str) -> None:
    log = _log([(float(t), 50.0) for t in range(600)])
    log.outcomes[bad] = 1
    assert status(judge(log)) == 1


def _notice(level: str, text: str) -> dict[str, Any]:
    return {"event": "notice", "level": level, "text": text}


STORE = _notice("error", "/x cannot be written (no space): free or repair it; a restart forgets this")
LOST = [{"event": "chime", "sound": "lost"}, _notice("error", "no session within 15 s; it is not kept")]


@pytest.mark.parametrize(
    ("events", "came"),
    [
        ([], None),
        ([STORE], None),
        ([_notice("error", "the speaker is missing: it is out")], None),
        ([{"event": "chime", "sound": "back"}, STORE], None),
        ([STORE, {"event": "state", "state": "speaking"}], "answered"),
        (LOST, "told"),
        ([STORE, *LOST], "told"),
        ([_notice("warning", "no reply within 20 s; press and say it again")], "told"),
        ([{"event": "chime", "sound": "refused"}], None),
    ],
)
def test_only_the_turns_own_reason_counts_as_told(events: list[dict[str, Any]], came: str | None) -> None:
    assert outcome(events) == came


def test_a_full_disk_alone_costs_no_turn() -> None:
    log = soak(0.1, "seed=1 store.full=1")
    assert log.outcomes["answered"] > 0
    assert sum(log.outcomes.values()) == log.outcomes["answered"]
