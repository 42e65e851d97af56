"""The demo's own verdict, from what was recorded and not from what was intended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from demo.story import tell
from rig.speech import hear

if TYPE_CHECKING:
    from demo.sound import Recording, Samples
    from demo.story import Story

_SETTLE_S = 0.25  # after a cut: the press's own way through card and recorder
_SILENCE_RMS = 30.0  # of 32767
_AFTER_RESTART_S = 0.2
_WINDOW_S = 0.5


def check(
    events: list[dict[str, Any]], speaker: Recording, name: str, after_restart: str = "live"
) -> tuple[dict[str, Any], list[str]]:
    """Return the facts of the run and its faults, one plain line each; no faults: the demo holds.

    `after_restart`: the rung that the service can offer; on "fresh" it may not know the name, and says so.
    """
    story = tell(events)
    since = story.restarted_at()
    heard = (
        hear(speaker.cut(since + _AFTER_RESTART_S, speaker.end), speaker.rate) if since is not None else ""
    )
    rungs = [rung for _, rung in story.sessions]
    latencies = [event["latencies"] for event in events if event["event"] == "turn"]
    facts: dict[str, Any] = {
        "heard_after_restart": heard,
        "name": name,
        "rungs": rungs,
        "interrupted_after_ms": story.interruptions[0][1] if story.interruptions else None,
        "silent_after_interruption": _silent_after(story, speaker),
        "down_s": round(story.dead[-1].end - story.dead[-1].start, 2) if story.dead else None,
        "latencies": latencies[-1] if latencies else {},
        "transcript": [{"role": line.role, "text": line.text} for line in story.lines],
    }
    return facts, list(_faults(facts, after_restart))


def _faults(facts: dict[str, Any], after_restart: str) -> list[str]:
    faults = []
    said = facts["heard_after_restart"] or "nothing"
    known = facts["name"].lower() in facts["heard_after_restart"].split()
    if facts["down_s"] is None:
        faults.append("the daemon was never killed and started again")
    elif not known and after_restart != "fresh":
        faults.append(f"after the restart the speaker said {said!r}, without the name {facts['name']!r}")
    elif not facts["heard_after_restart"]:
        faults.append("after the restart the speaker said nothing")
    if facts["rungs"][1:] and facts["rungs"][-1] != after_restart:
        faults.append(f"after the restart the session was {facts['rungs'][-1]}, not {after_restart}")
    if facts["interrupted_after_ms"] is None:
        faults.append("the story was not interrupted")
    elif not facts["silent_after_interruption"]:
        faults.append("the speaker went on after the interruption")
    if facts["down_s"] is not None and len(facts["rungs"]) < 2:
        faults.append("no session was opened after the restart")
    return faults


def _silent_after(story: Story, speaker: Recording) -> bool:
    """Whether the speaker was silent from the first interruption to the next reply."""
    if not story.interruptions:
        return False
    begin = story.interruptions[0][0] + _SETTLE_S
    replies = [span.start for span in story.states if span.name == "speaking" and span.start > begin]
    return _rms(speaker.cut(begin, min([*replies, begin + _WINDOW_S]))) < _SILENCE_RMS


def _rms(pcm: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(pcm.astype(np.float64))))) if len(pcm) else 0.0
