"""The loudspeaker's thread: replies and chimes to the card, in step with what is heard."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from device.audio.replies import Heard, Replies

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.ports import AudioOutput, Samples

__all__ = ["Heard", "Playback"]

_JOIN_S = 1.0
_IDLE_BLOCKS = 8  # of silence at once while idle, on a card that must be fed


class Playback:
    """Plays replies one after the other; every method may be called from any thread and returns at once.

    `on_started(reply_id)` follows the first block of a reply into the card, `on_drained(reply_id)` the last
    sample out of it once `finish` was called; neither comes after a flush. Both run in this thread, without a
    lock held. While `ready()` is False there is no card, and what is to be played waits: what went nowhere
    was not heard.
    """

    def __init__(
        self,
        sink: AudioOutput,
        *,
        ready: Callable[[], bool] = lambda: True,
        on_started: Callable[[str], None] = lambda _reply: None,
        on_drained: Callable[[str], None] = lambda _reply: None,
    ) -> None:
        self.rate = sink.rate  # Hz
        self.last_block_at = time.monotonic()  # seconds; the watchdog looks at it, once a second when at rest
        self.resting = False  # the card's clock stands still, as it may until there is something to say
        self._sink, self._ready = sink, ready
        self._on_started, self._on_drained = on_started, on_drained
        self._replies = Replies(sink.rate, sink.block)
        self._changed = threading.Condition()
        self._fade: Samples | None = None
        self._chime = np.zeros(0, np.int16)
        self._written = 0  # frames handed to the card
        self._sound_end = 0  # of them, up to the last that was not silence
        self._clock = (time.monotonic(), 0)  # when the card was at which position
        self._gain = self._target = np.float32(1.0)
        self._volume = 100
        self._idle = self._stopping = False
        self._silence = np.zeros(sink.block, np.int16)
        self._thread = threading.Thread(target=self._run, name="playback", daemon=True)

    @property
    def volume(self) -> int:
        """0 to 100. The amplitude is its cube, which the ear finds even: 50 is 18 dB below 100."""
        return self._volume

    @volume.setter
    def volume(self, volume: int) -> None:
        self._volume = max(0, min(100, volume))
        self._target = np.float32((self._volume / 100) ** 3)

    @property
    def frames(self) -> int:
        """Frames handed to the card since the start, silence as well."""
        return self._written

    @property
    def underruns(self) -> int:
        """How often a reply ran dry before its end, or the card did."""
        return self._replies.underruns + self._sink.underruns

    @property
    def dropped_s(self) -> float:
        """Seconds of sound that found no room, 300 s ahead."""
        return self._replies.dropped_s

    def start(self) -> None:
        """Begin to play."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; the card stays open and belongs to whoever opened it."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def idle(self, idle: bool) -> None:
        """Nothing will be said soon: a card that must be fed gets its silence in larger pieces."""
        self._idle = idle

    def play(self, reply_id: str, item_id: str, pcm: bytes, rate: int) -> None:
        """Queue mono PCM16, little-endian, of `rate` Hz; nothing of a flushed or drained reply is played."""
        samples = np.frombuffer(pcm, "<i2", count=len(pcm) // 2)
        with self._changed:
            self._replies.push(reply_id, item_id, samples, rate)
            self._changed.notify()

    def finish(self, reply_id: str) -> None:
        """No more sound comes for this reply."""
        with self._changed:
            self._replies.finish(reply_id)
            self._changed.notify()

    def flush(self) -> Heard | None:
        """Fall silent within the card's small cushion; returns what will have been heard by then."""
        with self._changed:
            heard, fade = self._replies.cut(self._written)
            self._fade = fade if fade is not None else self._fade
            return heard

    def heard(self) -> Heard | None:
        """Where the listener is now; None when no reply is playing or waiting."""
        with self._changed:
            return self._replies.heard(self._position())

    def chime(self, samples: Samples) -> None:
        """Play mono PCM16 of the card's `rate` at once, over a reply if need be; it ends an older chime."""
        with self._changed:
            self._chime = samples
            self._changed.notify()

    def _position(self) -> int:
        # The card tells where it is in steps; between them the clock does.
        at, position = self._clock
        return min(self._written, position + int((time.monotonic() - at) * self.rate))

    def _run(self) -> None:
        while not self._stopping:
            self._turn()

    def _turn(self) -> None:
        if not self._ready():
            self.last_block_at = time.monotonic()
            return
        with self._changed:
            block, started = self._next_block()
            # A pause between two words may end at any moment; a rest is for when nothing is expected.
            quiet = block is None and not self._replies and self._position() >= self._sound_end
        self.resting = quiet and self._sink.rest()
        if self.resting:
            self._sleep()
            return
        self._write(self._silent() if block is None else block)
        if started is not None:
            self._on_started(started)
        with self._changed:
            drained = self._replies.settle(self._position())
        if drained is not None:
            self._on_drained(drained)

    def _sleep(self) -> None:
        with self._changed:
            if not (self._replies or len(self._chime) or self._stopping):
                self._changed.wait(1.0)
        self.last_block_at = time.monotonic()

    def _next_block(self) -> tuple[Samples | None, str | None]:
        block, self._fade = self._fade, None
        started = None
        if block is None:
            block = self._replies.next_block(self._written)
            started = self._replies.started if block is not None else None
        if len(self._chime):
            block = self._mixed(block)
        if block is not None:
            self._written += len(block)
            self._sound_end = self._written
            block = self._at_volume(block)
        return block, started

    def _silent(self) -> Samples:
        many = self._idle and not self._replies
        silence = np.zeros(len(self._silence) * _IDLE_BLOCKS, np.int16) if many else self._silence
        with self._changed:
            self._written += len(silence)
        return silence

    def _write(self, block: Samples) -> None:
        self._sink.write(block)
        now = time.monotonic()
        self._clock = (now, self._written - self._sink.pending)
        self.last_block_at = now

    def _mixed(self, block: Samples | None) -> Samples:
        size = len(self._silence)
        tone, self._chime = self._chime[:size], self._chime[size:]
        loud = np.zeros(size, np.int32)
        loud[: len(tone)] = tone
        if block is not None:
            loud += block
        return np.clip(loud, -32768, 32767).astype(np.int16)

    def _at_volume(self, block: Samples) -> Samples:
        before, self._gain = self._gain, self._target
        if before == self._gain:
            return block if before == 1.0 else (block * before).astype(np.int16)
        ramp = np.linspace(before, self._gain, len(block), dtype=np.float32)  # a step would click
        return (block * ramp).astype(np.int16)
