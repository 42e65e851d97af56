"""What has happened since the start, counted."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Counters:
    """The main loop's counters; capture, uplink and the streams keep their own.

    Each has one writing thread, so that `+=` needs no lock.
    """

    replies: int = 0
    interruptions: int = 0
    reconnects: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return every counter by name."""
        return asdict(self)


class Latencies:
    """Of the last turn, in milliseconds, by name; each mark is set by one thread."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}
        self._marks: dict[str, float] = {}

    def mark(self, name: str, at: float) -> None:
        """Note when something happened, in monotonic seconds."""
        self._marks[name] = at

    def forget(self, name: str) -> None:
        """Take a mark of an older turn away."""
        self._marks.pop(name, None)

    def measure(self, name: str, start: str, end: str) -> None:
        """Set the time between two marks, if the first is there and not the later one."""
        if start in self._marks and self._marks[end] >= self._marks[start]:
            self.ms[name] = round((self._marks[end] - self._marks[start]) * 1000, 1)
