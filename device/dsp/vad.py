"""Where speech begins and ends: webrtcvad behind a level floor, with hysteresis."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from device.dsp.filters import level_dbfs
from device.errors import AudioError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Samples = NDArray[np.int16]

FRAME_MS = 20
_RATES = (8_000, 16_000, 32_000, 48_000)
_SINK = 0.2  # share of the way that the noise estimate falls in one frame
_RISE_DB = 0.04  # that it rises in one frame: 2 dB a second, so that speech hardly lifts it


class VadSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All numbers of the detector."""

    aggressiveness: Annotated[int, Meta(ge=0, le=3)] = 2  # webrtcvad's: 0 calls most frames speech
    energy_floor_dbfs: Annotated[float, Meta(ge=-90, le=0)] = -50.0  # a quieter frame is never speech
    noise_margin_db: Annotated[float, Meta(ge=0, le=30)] = 6.0  # that it must stand above the noise; 0: off
    start_ms: Annotated[int, Meta(ge=20, le=1000)] = 160  # the window in which speech must show to begin
    start_ratio: Annotated[float, Meta(ge=0.1, le=1)] = 0.6  # the share of that window which must be speech
    end_ms: Annotated[int, Meta(ge=100, le=5000)] = 700  # of silence that end it


class Vad:
    """Speech or not, 20 ms at a time."""

    def __init__(self, rate: int, settings: VadSettings) -> None:
        if rate not in _RATES:
            raise AudioError(f"speech detection works at {_listed(_RATES)} Hz, not at {rate}")
        self.frame = rate * FRAME_MS // 1000  # samples
        self.speaking = False
        self._rate = rate
        self._settings = settings
        self._engine = _engine(settings.aggressiveness)
        self._window: deque[bool] = deque(maxlen=max(1, settings.start_ms // FRAME_MS))
        self._end_frames = max(1, settings.end_ms // FRAME_MS)
        self.reset()

    def reset(self) -> None:
        """Forget the past: nobody speaks, and the noise is yet unknown."""
        self.speaking = False
        self._window.clear()
        self._quiet_frames = 0
        self._noise_dbfs = 0.0

    def push(self, frame: Samples) -> bool | None:
        """Judge one frame of `frame` samples: True when speech begins, False when it ends, None otherwise."""
        self._window.append(self._is_speech(frame))
        needed = self._settings.start_ratio * (self._window.maxlen or 1)
        if not self.speaking:
            self.speaking = sum(self._window) >= needed
            self._quiet_frames = 0
            return True if self.speaking else None
        # A single click in the silence after speech must not prolong it.
        heard = self._window[-1] and sum(self._window) >= needed / 2
        self._quiet_frames = 0 if heard else self._quiet_frames + 1
        if self._quiet_frames < self._end_frames:
            return None
        self.speaking = False
        self._window.clear()
        return False

    def _is_speech(self, frame: Samples) -> bool:
        level = level_dbfs(frame)
        gap = level - self._noise_dbfs
        self._noise_dbfs += gap * _SINK if gap < 0 else min(gap, _RISE_DB)
        margin = self._settings.noise_margin_db
        if level < self._settings.energy_floor_dbfs or (margin > 0 and gap < margin):
            return False
        return self._engine.is_speech(frame.tobytes(), self._rate)


class _Engine:
    """The part of webrtcvad that is used, typed."""

    def __init__(self, aggressiveness: int) -> None:
        import webrtcvad  # noqa: PLC0415  (push-to-talk alone needs no detector)

        self._vad = webrtcvad.Vad(aggressiveness)

    def is_speech(self, pcm: bytes, rate: int) -> bool:
        return bool(self._vad.is_speech(pcm, rate))


def _engine(aggressiveness: int) -> _Engine:
    try:
        return _Engine(aggressiveness)
    except ImportError as error:
        raise AudioError(
            "speech detection needs webrtcvad, which is missing: pip install webrtcvad-wheels"
        ) from error


def _listed(rates: tuple[int, ...]) -> str:
    return ", ".join(map(str, rates[:-1])) + f" or {rates[-1]}"
