"""Sound on its way out of the device, as those who keep account of it see it."""

from __future__ import annotations

import time
from typing import Protocol


class Flow:
    """Sound that leaves in one piece, into one session; it grows in the capture thread.

    `bytes`: of PCM16 mono at `rate` Hz, handed to the session, before any codec. `began_at`: epoch seconds.
    """

    __slots__ = ("began_at", "bytes", "rate", "where", "why")

    def __init__(self, why: str, where: str, rate: int) -> None:
        self.why, self.where, self.rate = why, where, rate
        self.began_at = time.time()
        self.bytes = 0

    @property
    def seconds(self) -> float:
        """Of sound."""
        return self.bytes / 2 / self.rate


class Witness(Protocol):
    """Is told of every flow, in the capture thread: it may only take note."""

    def began(self, flow: Flow) -> None: ...
    def sound(self, flow: Flow, pcm: bytes) -> None: ...
    def ended(self, flow: Flow) -> None: ...
