"""A small made-up demo for the tests: its events and its two recordings, without any process."""

from __future__ import annotations

from typing import Any

import numpy as np

from demo.sound import RATE, Recording, at_card_rate, merged
from rig.speech import SPOKEN_HZ, say

STORY = "Once upon a time a lighthouse keeper found a bottle with a letter in it …"


def events(rung: str = "live", *, cut: bool = True) -> list[dict[str, Any]]:
    """The whole course: name, story, interruption, kill, name."""
    rows: list[tuple[float, str, dict[str, Any]]] = [
        (10.0, "start", {}),
        *_turn(11.0, "my name is peter", "Nice to meet you, Peter."),
        (
            11.3,
            "session",
            {"rung": "fresh", "session_id": "sess_1", "provider": "local", "endpoint": "default"},
        ),
        *_turn(17.0, "tell me a story", STORY, long=True),
        (23.5, "press", {}),
        (23.6, "state", {"state": "listening", "from": "speaking"}),
        (25.0, "release", {}),
        (25.1, "state", {"state": "awaiting", "from": "listening"}),
        (25.6, "state", {"state": "speaking", "from": "awaiting"}),
        (27.0, "kill", {}),
        (27.9, "start", {}),
        *_turn(28.5, "what is my name", "Your name is Peter."),
        (28.9, "session", {"rung": rung, "session_id": "sess_1", "provider": "local", "endpoint": "default"}),
    ]
    if cut:
        rows.append((23.55, "interrupted", {"heard_ms": 3100}))
    return [
        {"event": kind, "t": t, "at": t, **facts} for t, kind, facts in sorted(rows, key=lambda row: row[0])
    ]


def _turn(
    at: float, said: str, answer: str, *, long: bool = False
) -> list[tuple[float, str, dict[str, Any]]]:
    rows: list[tuple[float, str, dict[str, Any]]] = [
        (at, "press", {}),
        (at + 0.01, "state", {"state": "listening", "from": "ready"}),
        (at + 0.1, "said", {"text": said}),
        (at + 2.0, "release", {}),
        (at + 2.1, "state", {"state": "awaiting", "from": "listening"}),
        (at + 2.3, "transcript", {"role": "user", "text": said, "final": True}),
        (at + 2.5, "state", {"state": "speaking", "from": "awaiting"}),
        (at + 2.6, "transcript", {"role": "assistant", "text": answer, "final": True}),
    ]
    return rows if long else [*rows, (at + 4.6, "state", {"state": "ready", "from": "speaking"})]


def speaker(last: str = "Your name is Peter.", *, silent_after_cut: bool = True) -> Recording:
    """What the speaker played: two answers, a piece of the story, and `last` after the restart."""
    story = "Once upon a time a lighthouse keeper found a bottle."
    parts = [(13.5, "Nice to meet you, Peter."), (19.5, story), (25.6, "The end."), (31.0, last)]
    if not silent_after_cut:
        parts.append((23.9, "The letter was old."))
    return merged([voice(at, text) for at, text in parts], 9.0, 34.0)


def microphone() -> Recording:
    """What was said to the device."""
    parts = [(11.1, "my name is Peter"), (17.1, "tell me a story"), (28.6, "what is my name")]
    return merged([voice(at, text) for at, text in parts], 9.0, 34.0)


def voice(at: float, text: str) -> Recording:
    """Return a text spoken at a time."""
    return Recording(at_card_rate(say(text), SPOKEN_HZ) if text else np.zeros(0, np.int16), RATE, at)
