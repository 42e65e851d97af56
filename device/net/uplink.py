"""The user's turn on its way out: from the microphone's ring, resampled, into whichever session is open.

The turn is kept as positions in the ring, so what was said before the session opened is sent when it does,
and a turn whose session broke is sent again from its first sample. All work is done by `pump`, in the capture
thread; the other methods only post an order to it.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from device.net.flow import Flow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from device.net.flow import Witness
    from device.ports import Samples

_MOST_BLOCKS = 25  # a pump: half a second of backlog every 20 ms
_SILENCE = "silence while a reply is awaited"


class Source(Protocol):
    """The microphone's ring: mono samples by absolute position."""

    @property
    def written(self) -> int: ...
    @property
    def oldest(self) -> int: ...
    def read(self, start: int, count: int) -> Samples: ...
    def position_at(self, at: float) -> int: ...


class Resampler(Protocol):
    """A streaming rate converter."""

    def process(self, samples: Samples) -> Samples: ...


class Outlet(Protocol):
    """An open session, as the uplink sees it."""

    @property
    def input_rate(self) -> int: ...
    @property
    def where(self) -> str: ...
    def send_audio(self, pcm: bytes) -> None: ...
    def end_turn(self) -> None: ...
    def discard_turn(self) -> None: ...


class Uplink:
    """Sends one turn at a time. `rate`: the ring's, in Hz; `on_sent(mark, at)`: see `pump`.

    `witnesses` are told what leaves.
    """

    def __init__(
        self,
        source: Source,
        rate: int,
        make_resampler: Callable[[int, int], Resampler],
        on_sent: Callable[[str, float], None],
        *,
        after_release_ms: int = 20,
        witnesses: Sequence[Witness] = (),
    ) -> None:
        self._witnesses = witnesses
        self._flow: Flow | None = None
        self._why = ""
        self._again = False
        self._source = source
        self._rate = rate
        self._block = rate // 50
        self._make_resampler = make_resampler
        self._on_sent = on_sent
        self._after_release_s = after_release_ms / 1000
        self._orders: deque[Callable[[], None]] = deque()
        self._filled: Outlet | None = None
        self._silent_from = 0
        self._start: int | None = None
        self._end: int | None = None
        self._cursor = 0
        self._outlet: Outlet | None = None
        self._resampler: Resampler | None = None
        self._committed = False
        self._first_sent = False
        self.frames_sent = 0
        self.frames_dropped = 0

    # --- orders, from any thread

    def begin(self, at: float, lead_ms: int, why: str = "button") -> None:
        """Open a turn at a monotonic time minus `lead_ms`; `why` it is sent, for the witnesses."""

        def order() -> None:
            self._end_flow()
            self._why, self._again = why, False
            start = self._source.position_at(at) - lead_ms * self._rate // 1000
            self._start = max(start, self._source.oldest)
            self._end = None
            self._rewind()
            self._outlet = None

        self._orders.append(order)

    def attach(self, outlet: Outlet) -> None:
        """Send the turn, from its first sample, into this session."""

        def order() -> None:
            self._end_flow()
            self._again = self._again or self._first_sent
            self._outlet = outlet
            self._rewind()

        self._orders.append(order)

    def detach(self) -> None:
        """Keep the turn for another session."""

        def order() -> None:
            self._end_flow()
            self._outlet = None

        self._orders.append(order)

    def end(self, at: float) -> None:
        """Close the turn at a monotonic time: the rest is sent, then committed."""

        def order() -> None:
            self._end = self._source.position_at(at + self._after_release_s)

        self._orders.append(order)

    def reopen(self) -> None:
        """Take the end back, if it has not been sent."""
        self._orders.append(lambda: setattr(self, "_end", None))

    def advance(self, at: float, lead_ms: int) -> None:
        """Begin a new turn, at a monotonic time minus `lead_ms`, without a break in what is being sent."""

        def order() -> None:
            if self._start is not None:
                begun = self._source.position_at(at) - lead_ms * self._rate // 1000
                self._start = min(max(self._start, begun), self._cursor)

        self._orders.append(order)

    def close(self) -> None:
        """Send no more of this turn."""
        self._orders.append(self._drop)

    def fill(self, outlet: Outlet | None) -> None:
        """Send silence, at the pace of the microphone, whenever no turn is being sent; None: no more."""

        def order() -> None:
            if outlet is not self._filled:
                if self._flow and self._flow.why == _SILENCE:
                    self._end_flow()
                self._filled, self._silent_from = outlet, self._source.written

        self._orders.append(order)

    def discard(self) -> None:
        """Send no more, and have the server drop what it got and was not told to answer."""

        def order() -> None:
            if self._outlet and self._cursor != self._start and not self._committed:
                self._outlet.discard_turn()
            self._drop()

        self._orders.append(order)

    # --- the capture thread

    def pump(self) -> None:
        """Carry out the orders and send what is due. Called once a block.

        `on_sent` is told "first" and "commit" with the monotonic seconds at which they were handed over.
        """
        while self._orders:
            self._orders.popleft()()
        if self._start is None or self._outlet is None or self._resampler is None or self._committed:
            self._fill()
            return
        self._silent_from = self._source.written
        self._skip_lost()
        limit = self._source.written if self._end is None else min(self._source.written, self._end)
        for _ in range(_MOST_BLOCKS):
            count = min(self._block, limit - self._cursor)
            if count <= 0 or (count < self._block and self._end != limit):
                break
            self._send(count)
        if self._end is not None and self._cursor >= self._end:
            self._outlet.end_turn()
            self._end_flow()
            self._committed = True
            self._on_sent("commit", time.monotonic())

    def _fill(self) -> None:
        if self._filled is None:
            return
        while self._source.written - self._silent_from >= self._block:
            self._silent_from += self._block
            self._hand_over(self._filled, bytes(2 * (self._filled.input_rate // 50)), _SILENCE)

    def _send(self, count: int) -> None:
        assert self._outlet  # noqa: S101 # pump has checked it
        assert self._resampler  # noqa: S101 # the same
        samples = self._resampler.process(self._source.read(self._cursor, count))
        self._hand_over(
            self._outlet, samples.tobytes(), f"{self._why}, sent again" if self._again else self._why
        )
        self._cursor += count
        self.frames_sent += 1
        if not self._first_sent:
            self._first_sent = True
            self._on_sent("first", time.monotonic())

    def _hand_over(self, outlet: Outlet, pcm: bytes, why: str) -> None:
        flow = self._flow
        if flow is None or flow.why != why:
            self._end_flow()
            flow = self._flow = Flow(why, outlet.where, outlet.input_rate)
            for witness in self._witnesses:
                witness.began(flow)
        outlet.send_audio(pcm)
        flow.bytes += len(pcm)
        for witness in self._witnesses:
            witness.sound(flow, pcm)

    def _end_flow(self) -> None:
        flow, self._flow = self._flow, None
        if flow:
            for witness in self._witnesses:
                witness.ended(flow)

    def _skip_lost(self) -> None:
        """The ring has gone over samples that were never sent: count them, go on behind them."""
        lost = self._source.oldest - self._cursor
        if lost > 0:
            self.frames_dropped += -(-lost // self._block)
            self._cursor = self._source.oldest

    def _rewind(self) -> None:
        self._cursor = self._start or 0
        self._committed = False
        self._first_sent = False
        self._resampler = self._make_resampler(self._rate, self._outlet.input_rate) if self._outlet else None

    def _drop(self) -> None:
        self._end_flow()
        self._start = self._end = self._outlet = None
