"""Reads the journal as a story: spans of states, presses and the dead daemon, and who said what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demo.journal import Event

_LETTERS_PER_S = 15  # words run ahead of the sound; nobody could say how far a killed reply was heard


@dataclass(frozen=True)
class Span:
    """A stretch of time, monotonic seconds, and what it was."""

    start: float
    end: float
    name: str


@dataclass(frozen=True)
class Line:
    """What one side said; `start` is when its sound began."""

    start: float
    role: str
    text: str


@dataclass
class Story:
    """Everything the picture shows and the check asks for."""

    states: list[Span] = field(default_factory=list)
    presses: list[Span] = field(default_factory=list)
    dead: list[Span] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    interruptions: list[tuple[float, int]] = field(default_factory=list)  # when, heard_ms
    sessions: list[tuple[float, str]] = field(default_factory=list)  # when, rung
    end: float = 0.0

    def restarted_at(self) -> float | None:
        """When the daemon was ready again after the last kill."""
        return self.dead[-1].end if self.dead else None


def tell(events: list[Event]) -> Story:
    """Make the story of a journal in order of time."""
    reader = _Reader()
    for event in events:
        handler = getattr(reader, f"on_{event['event']}", None)
        if handler:
            handler(event)
    story = reader.story
    story.end = max((float(event["t"]) for event in events), default=0.0)
    reader.close_state(story.end)
    return story


class _Reader:
    def __init__(self) -> None:
        self.story = Story()
        self._state: tuple[float, str] | None = None
        self._pressed_at: float | None = None
        self._killed_at: float | None = None
        self._voiced_at: float | None = None
        self._heard_at: float | None = None
        self._partial = ""

    def close_state(self, now: float) -> None:
        if self._state:
            self.story.states.append(Span(self._state[0], now, self._state[1]))
        self._state = None

    def on_start(self, event: Event) -> None:
        if self._killed_at is not None:
            self.story.dead.append(Span(self._killed_at, event["t"], "no daemon"))
        self._killed_at = None
        self._state = (event["t"], "idle")

    def on_kill(self, event: Event) -> None:
        self.close_state(event["t"])
        self._killed_at = event["t"]
        if self._voiced_at is not None and self._partial:
            words = self._partial[: int((event["t"] - self._voiced_at) * _LETTERS_PER_S)].rsplit(" ", 1)[0]
            self.story.lines.append(Line(self._voiced_at, "assistant", f"{words} …"))
        self._voiced_at, self._partial = None, ""

    def on_state(self, event: Event) -> None:
        self.close_state(event["t"])
        self._state = (event["t"], event["state"])
        if event["state"] == "speaking":
            self._voiced_at = event["t"]

    def on_press(self, event: Event) -> None:
        self._pressed_at = self._heard_at = event["t"]

    def on_said(self, event: Event) -> None:
        self._heard_at = event["t"]

    def on_release(self, event: Event) -> None:
        if self._pressed_at is not None:
            self.story.presses.append(Span(self._pressed_at, event["t"], "button"))
        self._pressed_at = None

    def on_interrupted(self, event: Event) -> None:
        self.story.interruptions.append((event["t"], event["heard_ms"]))

    def on_session(self, event: Event) -> None:
        self.story.sessions.append((event["t"], event["rung"]))

    def on_transcript(self, event: Event) -> None:
        if event["role"] == "user":
            if event["final"]:
                start = event["t"] if self._heard_at is None else self._heard_at
                self.story.lines.append(Line(start, "user", event["text"]))
        elif event["final"]:
            start = event["t"] if self._voiced_at is None else self._voiced_at
            self.story.lines.append(Line(start, "assistant", event["text"]))
            self._voiced_at, self._partial = None, ""
        else:
            self._partial = ("" if event.get("whole") else self._partial) + event["text"]
