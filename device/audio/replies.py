"""The replies that wait to be played, cut into the card's blocks, and how much of each was heard."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from device.audio.live import Live
from device.dsp.resample import Resampler

if TYPE_CHECKING:
    from device.ports import Samples

LIMIT_S = 300.0
_REPLIES_MOST = 32
_CHUNKS_MOST = 20_000  # of a reply; 300 s are 6,000 of 50 ms
_JOINED_PER_S = 20  # smaller ones are put together, so that crumbs take no more room than pieces
_PIECES_PER_S = 10  # resampled 100 ms at a time: a fifth of the calls
_FIRST_PER_S = 50  # but not at the start, which is in a hurry
_START_S = 0.02  # enough to begin with; a server sends faster than speech
_REFILL_S = 0.06  # waited for after the first time that a reply ran dry, then double
_REFILL_MOST_S = 0.24
_ROUNDING_S = 1e-6
_GIVEN_UP_S = 20  # a reply of which nothing more has come for so long is over


class Heard(msgspec.Struct, frozen=True):
    """How far into an item of a reply the listener is."""

    reply_id: str
    item_id: str
    samples: int  # of this item, at `rate`
    rate: int  # Hz, as it came over the wire

    @property
    def ms(self) -> int:
        """The same in whole milliseconds, rounded down: a provider refuses more than there is."""
        return self.samples * 1000 // self.rate


class _Mark(NamedTuple):
    """Which wire samples lie at a position of the card."""

    start: int  # card frames since the stream began
    frames: int
    heard: Heard  # at `start`
    wire_frames: int


class _Reply:
    def __init__(self, reply_id: str) -> None:
        self.id = reply_id
        self.chunks: deque[tuple[str, Samples, int]] = deque()
        self.waiting_s = 0.0  # of sound in `chunks`
        self.finished = False
        self.flowing = False
        self.needs_s = _START_S
        self.item = Heard(reply_id, "", 0, 1)  # the next wire sample to be taken
        self.end = 0  # card position after its last sample so far

    def append(self, item_id: str, samples: Samples, rate: int) -> None:
        self.waiting_s += len(samples) / rate
        if self.chunks:
            last_id, last, last_rate = self.chunks[-1]
            if (last_id, last_rate) == (item_id, rate) and len(last) < rate // _JOINED_PER_S:
                self.chunks[-1] = item_id, np.concatenate((last, samples)), rate
                return
        self.chunks.append((item_id, samples, rate))


class Replies:
    """Not thread-safe: `Playback` holds the lock. Positions are card frames since the stream began."""

    def __init__(self, rate: int, block: int) -> None:
        self.underruns = 0  # gaps heard because a reply had run dry
        self.dropped_s = 0.0  # of sound, beyond `LIMIT_S`
        self.started: str | None = None  # the reply whose first block was the last one taken
        self._rate, self._block = rate, block
        self._queue: deque[_Reply] = deque()
        self._gone: deque[str] = deque(maxlen=32)  # over: what still comes for them is dropped
        self._ready = np.zeros(0, np.int16)
        self._marks: deque[_Mark] = deque(maxlen=256)
        self._resampler = Resampler(rate, rate)
        self._live = Live()

    def __bool__(self) -> bool:
        return bool(self._queue)

    def push(self, reply_id: str, item_id: str, samples: Samples, rate: int) -> None:
        """Queue sound of an item; what comes after the reply's end is dropped."""
        reply = self._reply(reply_id)
        if reply is None or reply.finished or not len(samples):
            return
        seconds = len(samples) / rate
        waiting_s = sum(other.waiting_s for other in self._queue)
        if waiting_s + seconds > LIMIT_S or len(reply.chunks) >= _CHUNKS_MOST:
            self.dropped_s += seconds
            return
        reply.append(item_id, samples, rate)

    def finish(self, reply_id: str) -> None:
        """Nothing more comes for this reply."""
        if (reply := self._reply(reply_id)) is not None:
            reply.finished = True

    def next_block(self, position: int) -> Samples | None:
        """The block to be played at `position`, None when there is nothing (yet)."""
        self.started = None
        if not self._queue or not self._flows(reply := self._queue[0]):
            return None
        if not reply.finished:  # the rest of one that is whole gets shorter by itself
            self._live.observe(reply.waiting_s + len(self._ready) / self._rate, self._block / self._rate)
        while len(self._ready) < self._block and reply.chunks:
            self._refill(reply, position + len(self._ready))
        block, self._ready = self._ready[: self._block], self._ready[self._block :]
        if len(block):
            reply.end = position + len(block) + len(self._ready)
        return block if len(block) == self._block else self._last(reply, block)

    def settle(self, position: int) -> str | None:
        """The reply whose last sample lies before `position`, if one has just been heard to its end."""
        if not self._queue:
            return None
        reply = self._queue[0]
        if reply.chunks or len(self._ready) or position < reply.end:
            return None
        given_up = reply.item.item_id != "" and position - reply.end > _GIVEN_UP_S * self._rate
        if not (reply.finished or given_up):  # the end of a reply may be lost on its way
            return None
        self._queue.popleft()
        self._gone.append(reply.id)
        return reply.id

    def cut(self, position: int) -> tuple[Heard | None, Samples | None]:
        """Drop everything: what will have been heard, and a last block that fades out."""
        if not self._queue:
            return None, None
        begun = self._queue[0].item.item_id != ""
        block = self.next_block(position) if begun else None
        fade = None
        if block is not None:
            fade = (block * np.linspace(1.0, 0.0, len(block), dtype=np.float32)).astype(np.int16)
            position += len(block) // 2  # half of a fade counts as heard
        heard = self.heard(position)
        self._gone.extend(reply.id for reply in self._queue)
        self._queue.clear()
        self._ready = self._ready[:0]
        return heard, fade

    def heard(self, position: int) -> Heard | None:
        """Where in the reply the card is at `position`; None when no reply is playing or waiting."""
        if not self._queue:
            return None
        reply = self._queue[0]
        for mark in reversed(self._marks):
            if mark.start <= position and mark.heard.reply_id == reply.id:
                share = min(1.0, (position - mark.start) / max(1, mark.frames))
                samples = mark.heard.samples + int(share * mark.wire_frames)
                return msgspec.structs.replace(mark.heard, samples=samples)
        first = next(iter(reply.chunks), None)
        if reply.item.item_id:  # taken, but not one sample has been heard
            return Heard(reply.id, self._first_item(reply), 0, reply.item.rate)
        return Heard(reply.id, first[0], 0, first[2]) if first else None

    def _first_item(self, reply: _Reply) -> str:
        return next(mark.heard.item_id for mark in self._marks if mark.heard.reply_id == reply.id)

    def _reply(self, reply_id: str) -> _Reply | None:
        if reply_id in self._gone:
            return None
        for reply in self._queue:
            if reply.id == reply_id:
                return reply
        if len(self._queue) >= _REPLIES_MOST:
            return None
        self._queue.append(_Reply(reply_id))
        return self._queue[-1]

    def _flows(self, reply: _Reply) -> bool:
        enough = reply.finished or reply.waiting_s > reply.needs_s - _ROUNDING_S
        if not reply.flowing and reply.chunks and enough:
            reply.flowing = True
            if reply.item.samples:  # a gap was heard, and what follows is less sure to come in time
                self.underruns += 1
                reply.needs_s = min(_REFILL_MOST_S, reply.needs_s * 2)
        return reply.flowing

    def _refill(self, reply: _Reply, position: int) -> None:
        item_id, samples, rate = reply.chunks.popleft()
        if reply.item.item_id == "":
            self.started = reply.id
            self._resampler.reset()
            self._live.restart()
        if self._resampler.from_hz != rate:
            self._resampler = Resampler(rate, self._rate)
        if reply.item.item_id != item_id:
            reply.item = Heard(reply.id, item_id, 0, rate)
        size = rate // (_PIECES_PER_S if reply.item.samples else _FIRST_PER_S)
        piece, rest = samples[:size], samples[size:]
        if len(rest):
            reply.chunks.appendleft((item_id, rest, rate))
        out = self._live.process(self._resampler.process(piece))
        self._marks.append(_Mark(position, len(out), reply.item, len(piece)))
        reply.item = Heard(reply.id, item_id, reply.item.samples + len(piece), rate)
        reply.waiting_s -= len(piece) / rate
        self._ready = np.concatenate((self._ready, out)) if len(self._ready) else out

    def _last(self, reply: _Reply, block: Samples) -> Samples | None:
        # The reply has run dry or ended: the rest of a block is silence.
        reply.flowing = False
        reply.needs_s = max(_REFILL_S, reply.needs_s)
        self._live.restart()
        if not len(block):
            return None
        return np.concatenate((block, np.zeros(self._block - len(block), np.int16)))
