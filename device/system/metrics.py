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
