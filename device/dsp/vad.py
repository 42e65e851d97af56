"""Tells speech from silence, 20 ms at a time: webrtcvad with an energy floor and hysteresis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
import webrtcvad
from msgspec import Meta

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRAME_MS = 20


class VadSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`aggressiveness` as webrtcvad has it; quieter frames than `floor_dbfs` are silence whatever it says.

    Speech begins when `start_ms` of the last `window_ms` are speech, and ends after `end_ms` without any.
    """

    aggressiveness: Annotated[int, Meta(ge=0, le=3)] = 2
    floor_dbfs: Annotated[float, Meta(ge=-90, le=0)] = -50.0
    start_ms: Annotated[int, Meta(ge=20, le=1000)] = 100
    window_ms: Annotated[int, Meta(ge=20, le=1000)] = 160
    end_ms: Annotated[int, Meta(ge=100, le=5000)] = 700


class Vad:
    """Feed it 20 ms frames of mono int16 at `rate` Hz (8, 16, 32 or 48 kHz)."""

    def __init__(self, rate: int, settings: VadSettings) -> None:
        self._rate = rate
        self._detector = webrtcvad.Vad(settings.aggressiveness)
        self._floor = 32768.0**2 * 10 ** (settings.floor_dbfs / 10)  # mean square
        self._need = max(1, settings.start_ms // FRAME_MS)
        self._window = max(self._need, settings.window_ms // FRAME_MS)
        self._patience = settings.end_ms // FRAME_MS
        self._recent = 0  # one bit a frame, the newest lowest
        self._silent = 0
        self.active = False

    def push(self, frame: NDArray[np.int16]) -> bool | None:
        """Take the next frame: True when speech begins, False when it ends, None for no change."""
        spoken = self._is_speech(frame)
        self._recent = (self._recent << 1 | spoken) & ((1 << self._window) - 1)
        self._silent = 0 if spoken else self._silent + 1
        if not self.active and self._recent.bit_count() >= self._need:
            self.active = True
            return True
        if self.active and self._silent >= self._patience:
            self.active = False
            self._recent = 0
            return False
        return None

    def _is_speech(self, frame: NDArray[np.int16]) -> bool:
        level = frame.astype(np.float32)
        if float(level @ level) < self._floor * len(frame):
            return False
        return bool(self._detector.is_speech(frame.tobytes(), self._rate))
