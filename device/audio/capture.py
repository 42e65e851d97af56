"""The microphone's thread: card, DSP chain, ring, speech detection."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from device.dsp.filters import Gain, HighPass
from device.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.audio.ring import Ring
    from device.dsp.vad import Vad
    from device.ports import AudioInput, Frames, Samples

_BLOCKS_PER_S = 50
_JOIN_S = 1.0  # a read that hangs is left to itself
_IDLE_BLOCKS_PER_S = 10


class Capture:
    """Reads the card for ever, block by block of 20 ms; 100 ms while idle.

    `channel` is picked from the card's channels, or "mix" for their mean. `on_speech(speaking, at)` tells
    where speech began and ended, in monotonic seconds; `on_block()` follows each block once the ring has it;
    both run in this thread.
    """

    def __init__(
        self,
        source: AudioInput,
        ring: Ring,
        *,
        channel: int | str = 0,
        gain_db: float = 0.0,
        highpass_hz: float | None = 80.0,
        speech: Vad | None = None,
        on_speech: Callable[[bool, float], None] = lambda _speaking, _at: None,
        on_block: Callable[[], None] = lambda: None,
    ) -> None:
        if channel != "mix" and channel not in range(source.channels):
            raise AudioError(f"microphone channel {channel} is not there: 0 to {source.channels - 1} or mix")
        self.frames = 0  # captured since the start
        self.last_block_at = time.monotonic()  # seconds; the watchdog looks at it
        self.muted = False
        self._source, self._ring = source, ring
        self._channel = None if channel == "mix" else int(channel)
        self._highpass = HighPass(source.rate, highpass_hz) if highpass_hz else None
        self._gain = Gain(gain_db)
        self._speech = speech
        self._on_speech, self._on_block = on_speech, on_block
        self._idle = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    @property
    def overruns(self) -> int:
        """How often the card lost samples."""
        return self._source.overruns

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; the card stays open and belongs to whoever opened it."""
        self._stopping = True
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def idle(self, idle: bool) -> None:
        """Nobody needs the sound soon: larger blocks, no speech detection, a fifth of the work."""
        self._idle = idle

    def _run(self) -> None:
        while not self._stopping:
            self._turn()

    def _turn(self) -> None:
        idle = self._idle
        frames = self._source.read(self._source.rate // (_IDLE_BLOCKS_PER_S if idle else _BLOCKS_PER_S))
        now = time.monotonic()
        samples = self._process(frames)
        self._ring.write(samples)
        self._ring.mark(now - self._source.latency_s)
        self.frames += len(samples)
        self.last_block_at = now
        self._detect(samples, now, idle)
        self._on_block()

    def _process(self, frames: Frames) -> Samples:
        if self.muted:
            return np.zeros(len(frames), np.int16)
        full = np.float32(1.0 / 32768.0 if frames.dtype == np.int16 else 1.0 / 2147483648.0)
        picked = frames.mean(axis=1) if self._channel is None else frames[:, self._channel]
        signal = np.multiply(picked, full, dtype=np.float32, casting="unsafe")
        if self._highpass is not None:
            signal = self._highpass.process(signal)
        return self._gain.process(signal)

    def _detect(self, samples: Samples, now: float, idle: bool) -> None:
        if self._speech is None:
            return
        if idle:
            if self._speech.speaking:
                self._on_speech(False, now)
            self._speech.reset()
            return
        size = self._speech.frame
        for start in range(0, len(samples) - size + 1, size):
            change = self._speech.push(samples[start : start + size])
            if change is not None:
                self._on_speech(change, now)
