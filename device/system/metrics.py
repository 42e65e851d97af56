"""The daemon's counters; each is written by one thread only."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass
class Counters:
    """Events counted by the main loop; frames are counted where they pass."""

    replies: int = 0
    interruptions: int = 0
    reconnects: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return name and count."""
        return asdict(self)
