"""The playback thread: replies from a queue to the speaker, counted sample by sample as they are heard."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from device.dsp.level import volume_gain
from device.dsp.resample import Resampler

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.ports import AudioOutput, Samples

_LONGEST_S = 300  # of sound that waits; more is dropped and counted
_REBUFFER_S = 0.06  # to collect after the queue ran dry in the middle of a reply
_FADE_S = 0.005


@dataclass(frozen=True, slots=True)
class Heard:
    """How far an item was heard when asked: `samples` at `rate` Hz, the wire's."""

    reply_id: str
    item_id: str
    samples: int
    rate: int

    @property
    def ms(self) -> int:
        """The same in whole milliseconds, rounded down."""
        return self.samples * 1000 // self.rate


@dataclass(slots=True)
class _Piece:
    """Sound that waits; without sound, the end of its reply."""

    reply_id: str
    item_id: str
    pcm: Samples | None
    rate: int


@dataclass(slots=True)
class _Written:
    """A stretch of frames given to the card: until which frame, of what, how far into the item."""

    until: int
    reply_id: str
    item_id: str
    samples: int
    rate: int


class Playback:
    """Runs until closed, writing silence between replies. The card holds only a small cushion, `cushion_ms`.

    `on_started(reply_id)`, `on_drained(reply_id)` and `on_death(error)` are called in the playback thread.
    """

    IDLE_FACTOR = 5

    def __init__(
        self,
        sink: AudioOutput,
        *,
        on_started: Callable[[str], None],
        on_drained: Callable[[str], None],
        on_death: Callable[[BaseException], None],
        cushion_ms: int = 20,
        step_ms: int = 10,
    ) -> None:
        self._sink = sink
        self._on_started = on_started
        self._on_drained = on_drained
        self._on_death = on_death
        self._cushion = sink.rate * cushion_ms // 1000
        self._step = sink.rate * step_ms // 1000
        self._silence = np.zeros(self._step, np.int16)
        self._lock = threading.Lock()  # held for a few instructions; the queue's, never while writing
        self._queue: deque[_Piece] = deque()
        self._queued_s = 0.0
        self._chimes: deque[Samples] = deque()
        self._resamplers: dict[int, Resampler] = {}
        self._ready = np.zeros(0, np.int16)  # at the card's rate, before volume
        self._given = 0  # frames given to the card, ever
        self._log: deque[_Written] = deque()
        self._ends: deque[tuple[int, str]] = deque()
        self._now: _Written | None = None
        self._flush = False
        self._starved_at: float | None = None
        self._stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="playback", daemon=True)
        self.volume = 100
        self.idle = False
        self.underruns = 0
        self.dropped_s = 0.0
        self.last_block_at = time.monotonic()

    # --- any thread

    def start(self) -> None:
        """Begin to play."""
        self._thread.start()

    def close(self) -> None:
        """Stop and release the speaker; safe to call twice."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(1.0)
        self._sink.close()

    def play(self, reply_id: str, item_id: str, pcm: bytes, rate: int) -> None:
        """Queue PCM16 mono at `rate` Hz."""
        samples = np.frombuffer(pcm, np.int16)
        with self._lock:
            if self._queued_s + len(samples) / rate > _LONGEST_S:
                self.dropped_s += len(samples) / rate
                return
            self._queue.append(_Piece(reply_id, item_id, samples, rate))
            self._queued_s += len(samples) / rate
        self._wake.set()

    def finish(self, reply_id: str) -> None:
        """No more sound will come for this reply; `on_drained` follows when the last of it was heard."""
        with self._lock:
            self._queue.append(_Piece(reply_id, "", None, 1))
        self._wake.set()

    def chime(self, samples: Samples) -> None:
        """Queue a sound of the device's own, at the card's rate; it goes before any reply."""
        self._chimes.append(samples)
        self._wake.set()

    def flush(self) -> Heard | None:
        """Silence everything; says how far the item that sounds will have been heard by then.

        What the card holds cannot be called back: it counts as heard.
        """
        with self._lock:
            last = self._log[-1] if self._log else None
            heard = Heard(last.reply_id, last.item_id, last.samples, last.rate) if last else None
            self._queue.clear()
            self._queued_s = 0.0
            self._flush = True
        self._wake.set()
        return heard

    # --- the playback thread

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
        except BaseException as error:  # noqa: BLE001 # whatever it is ends the process
            if not self._stopping:
                self._on_death(error)

    def _turn(self) -> None:
        factor = self.IDLE_FACTOR if self.idle and not self._queue else 1
        room = self._cushion * factor - self._sink.pending
        self._report_heard()
        if room <= 0 and not self._flush:
            self._wake.wait(-room / self._sink.rate + 0.001)
            self._wake.clear()
            return
        if self._flush:
            self._fade_out()
        chunk = self._next(self._step)
        self._write(self._silence if chunk is None else chunk, 1 if chunk is not None else factor)

    def _write(self, samples: Samples, times: int = 1) -> None:
        if self.volume < 100 and samples is not self._silence:
            samples = (samples * np.float32(volume_gain(self.volume))).astype(np.int16)
        for _ in range(times):
            self._sink.write(samples)
            self._given += len(samples)
        self.last_block_at = time.monotonic()

    def _next(self, frames: int) -> Samples | None:
        """Return the next `frames` of sound, padded at an end, or None for silence."""
        if self._chimes:
            chime = self._chimes.popleft()
            if len(chime) > frames:
                self._chimes.appendleft(chime[frames:])
            return _padded(chime[:frames], frames)
        if self._starved() or not self._fill(frames):
            return None
        chunk, self._ready = self._ready[:frames], self._ready[frames:]
        if self._now is not None:
            self._advance(len(chunk))
        return _padded(chunk, frames)

    def _fill(self, frames: int) -> bool:
        """Resample queued pieces, of one item, until `frames` are ready; False when there is nothing."""
        while len(self._ready) < frames:
            with self._lock:
                piece = self._queue[0] if self._queue else None
                if piece is not None and self._must_drain(piece):
                    piece = None
                if piece is not None:
                    self._queue.popleft()
                    piece = self._first_part(piece)
            if piece is None:
                break
            self._take(piece)
        return len(self._ready) > 0

    def _first_part(self, piece: _Piece) -> _Piece:
        """Cut 20 ms off a longer piece and put the rest back; called with the lock held."""
        size = piece.rate // 50
        if piece.pcm is None or len(piece.pcm) <= size:
            return piece
        self._queue.appendleft(_Piece(piece.reply_id, piece.item_id, piece.pcm[size:], piece.rate))
        return _Piece(piece.reply_id, piece.item_id, piece.pcm[:size], piece.rate)

    def _must_drain(self, piece: _Piece) -> bool:
        """A piece of another item, or an end, waits until what is ready has been written."""
        same = self._now is not None and piece.pcm is not None and piece.item_id == self._now.item_id
        return len(self._ready) > 0 and not same

    def _take(self, piece: _Piece) -> None:
        if piece.pcm is None:
            self._ends.append((self._given, piece.reply_id))
            self._starved_at = None
            self._now = None
            return
        self._queued_s -= len(piece.pcm) / piece.rate
        if self._now is None or self._now.item_id != piece.item_id:
            if self._now is None or self._now.reply_id != piece.reply_id:
                self._on_started(piece.reply_id)
            self._now = _Written(self._given, piece.reply_id, piece.item_id, 0, piece.rate)
            self._resampler(piece.rate).reset()
        self._ready = np.concatenate((self._ready, self._resampler(piece.rate).process(piece.pcm)))

    def _resampler(self, rate: int) -> Resampler:
        if rate not in self._resamplers:
            self._resamplers[rate] = Resampler(rate, self._sink.rate)
        return self._resamplers[rate]

    def _advance(self, frames: int) -> None:
        now = self._now
        if now is None:
            return
        samples = now.samples + frames * now.rate // self._sink.rate
        self._now = _Written(self._given + frames, now.reply_id, now.item_id, samples, now.rate)
        self._log.append(self._now)
        while len(self._log) > 64:
            self._log.popleft()

    def _starved(self) -> bool:
        """In the middle of a reply the queue ran dry: count it once and collect a little before going on."""
        if self._now is None or len(self._ready):
            self._starved_at = None
            return False
        ended = any(piece.pcm is None for piece in self._queue)
        if not self._queue:
            if self._starved_at is None:
                self._starved_at = time.monotonic()
                self.underruns += 1
            return True
        if self._starved_at is None or ended or self._queued_s >= _REBUFFER_S:
            self._starved_at = None
            return False
        return True

    def _fade_out(self) -> None:
        with self._lock:
            self._flush = False
        fade = self._ready[: int(self._sink.rate * _FADE_S)].astype(np.float32)
        if len(fade):
            self._write((fade * np.linspace(1, 0, len(fade), dtype=np.float32)).astype(np.int16))
        self._ready = np.zeros(0, np.int16)
        self._now = None
        self._starved_at = None
        self._log.clear()
        self._ends.clear()

    def _report_heard(self) -> None:
        if not self._ends:
            return
        at = self._given - self._sink.pending
        while self._ends and self._ends[0][0] <= at:
            _, reply_id = self._ends.popleft()
            self._log.clear()
            self._on_drained(reply_id)


def _padded(samples: Samples, frames: int) -> Samples:
    return (
        samples
        if len(samples) == frames
        else np.concatenate((samples, np.zeros(frames - len(samples), np.int16)))
    )
