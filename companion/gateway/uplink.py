"""The device's sound on its way to RTP: a frame each 20 ms of the clock, and orders that wait for the sound.

PURE: seconds are given. RTP is sent in real time and never ends, so between the words there is silence. What
the device sends in a burst (speech that was kept while the session was opened) goes out in real time and so
arrives late; a pause in it is shortened until the delay is gone, words never are.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

RATE_HZ = 24_000
FRAME_MS = 20
FRAME_BYTES = RATE_HZ * FRAME_MS // 1000 * 2
SILENCE = bytes(FRAME_BYTES)

FRAME_S = FRAME_MS / 1000
# So late may a frame be before silence takes its place. While someone speaks: the jitter of the device's
# network. Else one frame: the first word then goes out when it comes, not at the next tick.
GRACE_S = 0.06
_IDLE_GRACE_S = FRAME_S
_IDLE_AFTER_S = 0.2
# A commit goes after the last sound by this much: the provider's jitter buffer must have let it through.
SETTLE_S = 0.1
# Above this delay, pauses are shortened to _PAUSE_FRAMES.
_BEHIND_BYTES = 5 * FRAME_BYTES
_PAUSE_FRAMES = 10
_QUIET = 200  # of 32767: peak below which a frame is a pause
MOST_BYTES = 60 * RATE_HZ * 2


class Due(NamedTuple):
    """What is due now: first the orders, then a frame, if there is one; look again in `wait_s`."""

    orders: list[str]
    frame: bytes | None
    wait_s: float


class TooFarAheadError(Exception):
    """The device is more than a minute ahead of real time."""


class Uplink:
    """Sound and orders in, paced. `now`: seconds, monotonic. Silent until `unmute`."""

    def __init__(self, now: float) -> None:
        self._queue: deque[bytearray | list[str]] = deque()  # sound, or orders that wait for the sound before
        self._ready: list[str] = []
        self._next_at = now  # the real-time line: when the next frame's first sample was "spoken"
        self._sound_until = now - SETTLE_S
        self._quiet_frames = _PAUSE_FRAMES
        self._bytes = 0
        self._muted = True

    def unmute(self) -> None:
        """Let the sound go from now on."""
        self._muted = False

    def sound(self, pcm: bytes) -> None:
        """Queue PCM16 mono, 24 kHz. Raises TooFarAheadError."""
        if self._bytes + len(pcm) > MOST_BYTES:
            raise TooFarAheadError
        last = self._queue[-1] if self._queue else None
        if isinstance(last, bytearray):
            last += pcm
        else:
            self._queue.append(bytearray(pcm))
        self._bytes += len(pcm)

    def order(self, text: str, *, after_sound: bool = False) -> None:
        """Queue an event: for now, or for when the sound before it has gone out. Orders keep their order."""
        waiting = [entry for entry in self._queue if isinstance(entry, list)]
        if after_sound:
            self._queue.append([text])
        elif waiting:
            waiting[-1].append(text)
        else:
            self._ready.append(text)

    def drop_sound(self) -> None:
        """Forget the sound since the last order that waits for sound."""
        if self._queue and isinstance(self._queue[-1], bytearray):
            self._bytes -= len(self._queue.pop())

    @property
    def delay_s(self) -> float:
        """How much later than it came the sound goes out."""
        return self._bytes / (RATE_HZ * 2)

    def poll(self, now: float) -> Due:
        """Return what is due; a frame is to be sent at once."""
        self._release(now)
        orders, self._ready = self._ready, []
        self._keep_up(now)
        frame = self._frame(now)
        if frame is None:
            return Due(orders, None, self._wait_s(now))
        self._next_at += FRAME_S
        return Due(orders, frame, 0.0)

    def _release(self, now: float) -> None:
        while self._queue and isinstance(self._queue[0], list) and now >= self._sound_until + SETTLE_S:
            entry = self._queue.popleft()
            assert isinstance(entry, list)  # noqa: S101 - the loop has looked
            self._ready += entry

    def _keep_up(self, now: float) -> None:
        """After the process stood still, the line goes on from here instead of sending a burst."""
        if now - self._next_at > 10 * FRAME_S:
            self._next_at = now

    def _frame(self, now: float) -> bytes | None:
        if now < self._next_at:
            return None
        starved = now >= self._next_at + self._grace_s(now)
        self._shorten_pauses()
        head = self._queue[0] if self._queue else None
        if isinstance(head, bytearray) and not self._muted:
            whole = len(head) >= FRAME_BYTES
            if whole or starved or len(self._queue) > 1:  # the last piece before an order, or before a gap
                return self._take(head, now)
        return SILENCE if starved else None

    def _grace_s(self, now: float) -> float:
        return GRACE_S if now < self._sound_until + _IDLE_AFTER_S else _IDLE_GRACE_S

    def _take(self, head: bytearray, now: float) -> bytes:
        frame = bytes(head[:FRAME_BYTES])
        del head[:FRAME_BYTES]
        self._bytes -= len(frame)
        if not head:
            self._queue.popleft()
        self._sound_until = now + FRAME_S
        self._quiet_frames = self._quiet_frames + 1 if _quiet(frame) else 0
        return frame.ljust(FRAME_BYTES, b"\0")

    def _shorten_pauses(self) -> None:
        head = self._queue[0] if self._queue else None
        if not isinstance(head, bytearray) or self._muted:
            return
        while (
            len(head) > _BEHIND_BYTES and self._quiet_frames >= _PAUSE_FRAMES and _quiet(head[:FRAME_BYTES])
        ):
            del head[:FRAME_BYTES]
            self._bytes -= FRAME_BYTES

    def _wait_s(self, now: float) -> float:
        head = self._queue[0] if self._queue else None
        at = self._next_at + self._grace_s(now)
        if isinstance(head, list):
            at = min(at, self._sound_until + SETTLE_S)
        elif head is not None and not self._muted and (len(head) >= FRAME_BYTES or len(self._queue) > 1):
            at = self._next_at
        return max(0.0, at - now)


def _quiet(frame: bytes | bytearray) -> bool:
    return int(np.abs(np.frombuffer(bytes(frame), "<i2").astype(np.int32)).max(initial=0)) < _QUIET
