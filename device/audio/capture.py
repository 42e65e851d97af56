"""The capture thread: block by block from the microphone into the ring, the voice detector and the uplink."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from device.dsp.level import Conditioner

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.audio.ring import Ring
    from device.dsp.vad import Vad
    from device.ports import AudioInput


class Capture:
    """Runs until closed. `idle`: nobody waits for the sound, so it may come in longer steps.

    `on_speech(began, at)`, `on_block()` and `on_death(error)` are called in the capture thread.
    """

    IDLE_BLOCKS = 5

    def __init__(
        self,
        source: AudioInput,
        ring: Ring,
        *,
        channel: int | str,
        gain_db: float,
        highpass_hz: float,
        speech: Vad,
        on_speech: Callable[[bool, float], None],
        on_block: Callable[[], None],
        on_death: Callable[[BaseException], None],
    ) -> None:
        self._source = source
        self._ring = ring
        self._block = source.rate // 50
        self._conditioner = Conditioner(
            source.rate, channel=channel, gain_db=gain_db, highpass_hz=highpass_hz
        )
        self._speech = speech
        self._on_speech = on_speech
        self._on_block = on_block
        self._on_death = on_death
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self.muted = False
        self.idle = False
        self.frames_captured = 0
        self.last_block_at = time.monotonic()

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def close(self) -> None:
        """Stop and release the microphone; safe to call twice."""
        self._stopping = True
        if self._thread.is_alive():
            self._thread.join(1.0)
        self._source.close()

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._step(self.IDLE_BLOCKS if self.idle else 1)
        except BaseException as error:  # noqa: BLE001 # whatever it is ends the process
            if not self._stopping:
                self._on_death(error)

    def _step(self, blocks: int) -> None:
        frames = self._source.read(blocks * self._block)
        now = time.monotonic()
        samples = self._conditioner.process(frames)
        if self.muted:
            samples[:] = 0
        self._ring.write(samples, now, self._source.latency_s)
        self.last_block_at = now
        self.frames_captured += blocks
        for start in range(0, len(samples), self._block):
            change = self._speech.push(samples[start : start + self._block])
            if change is not None:
                self._on_speech(change, now)
        self._on_block()
