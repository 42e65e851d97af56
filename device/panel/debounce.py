"""One contact's bouncing edges into clean ones, with the time passed in."""

from __future__ import annotations

Change = tuple[bool, float]
"""(active, monotonic seconds of the edge that caused it)."""


class Debounce:
    """Reports the first edge at once, then ignores the contact until the window has passed.

    At the window's end, and from then on every `recheck_ms`, the owner reads the line and calls `reread`: an
    edge that was ignored, or lost on the way, is made up for. No contact stays stuck.
    """

    def __init__(self, window_ms: float, *, recheck_ms: float = 50, active: bool = False) -> None:
        self._window_s = window_ms / 1000
        self._recheck_s = recheck_ms / 1000
        self._quiet_from = float("-inf")
        self._ignored_at: float | None = None
        self.active = active
        self.deadline = float("-inf")
        """When to call `reread`, in monotonic seconds."""

    def edge(self, active: bool, at: float) -> Change | None:
        """Take the line as it was read right after an edge; None when it is a bounce or no news."""
        if at < self._quiet_from:
            self._ignored_at = at
            return None
        return self._open_window(active, at, at)

    def reread(self, active: bool, now: float) -> Change | None:
        """Take the line as it is at `deadline`; a change is dated to the edge that was ignored for it."""
        if now < self.deadline:
            return None
        seen, self._ignored_at = self._ignored_at, None
        if active != self.active:
            return self._open_window(active, now, now if seen is None else seen)
        self.deadline = now + self._recheck_s
        return None

    def _open_window(self, active: bool, now: float, at: float) -> Change | None:
        self._quiet_from = self.deadline = now + self._window_s
        if active == self.active:
            return None  # a spike that was over before it could be read: look again at the window's end
        self.active = active
        return active, at
