"""The verdict: it holds for a good run, and each fault has its own plain line."""

from __future__ import annotations

import pytest

from demo.check import check
from tests.demo import scenes


def test_a_good_run_has_no_faults() -> None:
    facts, faults = check(scenes.events(), scenes.speaker(), "Peter")
    assert faults == []
    assert "peter" in facts["heard_after_restart"].split()
    assert facts["rungs"] == ["fresh", "live"]
    assert facts["interrupted_after_ms"] == 3100
    assert facts["down_s"] == pytest.approx(0.9)


@pytest.mark.parametrize("said", ["I do not know your name.", ""])
def test_a_recording_without_the_name_fails(said: str) -> None:
    _, faults = check(scenes.events(), scenes.speaker(said), "Peter")
    assert len(faults) == 1
    assert "without the name 'Peter'" in faults[0]


def test_the_name_before_the_kill_does_not_count() -> None:
    facts, faults = check(scenes.events(), scenes.speaker("The end."), "Peter")
    assert "peter" not in facts["heard_after_restart"]
    assert faults


def test_a_story_that_was_never_cut_fails() -> None:
    _, faults = check(scenes.events(cut=False), scenes.speaker(), "Peter")
    assert faults == ["the story was not interrupted"]


def test_a_speaker_that_goes_on_after_the_cut_fails() -> None:
    _, faults = check(scenes.events(), scenes.speaker(silent_after_cut=False), "Peter")
    assert faults == ["the speaker went on after the interruption"]


def test_the_rung_is_named_as_it_was() -> None:
    facts, faults = check(scenes.events("seeded"), scenes.speaker(), "Peter", "seeded")
    assert (facts["rungs"], faults) == (["fresh", "seeded"], [])


def test_a_lower_rung_than_the_service_can_offer_fails() -> None:
    _, faults = check(scenes.events("seeded"), scenes.speaker(), "Peter", "live")
    assert faults == ["after the restart the session was seeded, not live"]


def test_no_kill_is_no_demo() -> None:
    events = [event for event in scenes.events() if event["event"] not in ("kill", "start")]
    _, faults = check(events, scenes.speaker(), "Peter")
    assert "the daemon was never killed and started again" in faults
