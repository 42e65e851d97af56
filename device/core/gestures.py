"""Edges of the button and the wake line into what the user means: pressed, released, held, woken."""

from __future__ import annotations

from device.core.events import Event, Held, Pressed, Released, Woken


class Gestures:
    """Feed it debounced edges; call `expire` at `deadline`. Repeated edges in one direction say nothing."""

    def __init__(self, hold_ms: int) -> None:
        self._hold_s = hold_ms / 1000
        self._down = False
        self.deadline: float | None = None

    def edge(self, line: str, *, active: bool, at: float) -> Event | None:
        """Take one edge; `at` in monotonic seconds."""
        if line == "wake":
            return Woken(at) if active else None
        if active == self._down:
            return None
        self._down = active
        self.deadline = at + self._hold_s if active else None
        return Pressed(at) if active else Released(at)

    def expire(self, now: float) -> Event | None:
        """Report a long press, once a press."""
        if self.deadline is None or now < self.deadline:
            return None
        self.deadline = None
        return Held()
