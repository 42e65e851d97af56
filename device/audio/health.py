"""A microphone that is open but dead: nothing but zeros, one value, or stuck at full scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from device.ports import Frames

_LOOKS_PER_S = 5
_FRAMES = 64  # of a block that are looked at: what is constant is so in any few
_RAIL = 0.99  # of full scale
_LONGEST_S = 3600.0

Fault = Literal["zeros", "one value", "full scale"]


class Health:
    """Looks at a block five times a second. In no room is a real microphone exactly constant.

    `channel`: the one in use, None for the mean of all. Dead for `limit_s`, `on_change(reason)` follows, and
    `on_change(None)` once it lives again. One that came back by itself may be gated, or have a switch: its
    next silence is told after twice the time, up to an hour. For one thread; 0 s never tells.
    """

    def __init__(
        self, rate: int, channel: int | None, limit_s: float, on_change: Callable[[str | None], None]
    ) -> None:
        self.reason: str | None = None
        self.deaths = 0  # since the start
        self._rate, self._channel = rate, channel
        self._limit_s, self._on_change = limit_s, on_change
        self._frames = self._next = 0  # since the start; when to look again
        self._dead_from: int | None = None
        self._last: NDArray[np.int32 | np.int16] | None = None

    def push(self, frames: Frames) -> None:
        """A block as the card gives it, shape (frames, channels)."""
        self._frames += len(frames)
        if self._frames < self._next or not self._limit_s:
            return
        self._next = self._frames + self._rate // _LOOKS_PER_S
        faults = self._faults(frames[:: max(1, len(frames) // _FRAMES)])
        used = faults if self._channel is None else faults[self._channel : self._channel + 1]
        if None in used:
            self._live()
            return
        self._dead_from = self._frames if self._dead_from is None else self._dead_from
        if self.reason is None and self._frames - self._dead_from >= self._limit_s * self._rate:
            self.deaths += 1
            self.reason = self._explain(used, faults)
            self._on_change(self.reason)

    def _live(self) -> None:
        self._dead_from = None
        if self.reason is not None:
            self.reason = None
            self._limit_s = min(_LONGEST_S, self._limit_s * 2)
            self._on_change(None)

    def _faults(self, frames: Frames) -> list[Fault | None]:
        """What is wrong with each channel, None where it lives."""
        before, self._last = self._last, frames[-1].copy()
        rail = int(np.iinfo(frames.dtype).max * _RAIL)
        railed = np.all((frames >= rail) | (frames <= -rail), axis=0).tolist()
        same = np.all(frames == (frames[0] if before is None else before), axis=0).tolist()
        return [
            "full scale" if railed[n] else _constant(int(value), frames.dtype) if same[n] else None
            for n, value in enumerate(frames[-1])
        ]

    def _explain(self, used: list[Fault | None], faults: list[Fault | None]) -> str:
        alive = [str(number) for number, fault in enumerate(faults) if fault is None]
        if alive:
            return (
                f"microphone channel {self._channel} is dead ({_SAYS[used[0]]}), {', '.join(alive)} lives: "
                "set audio.input.channel, or check that microphone's left/right pin"
            )
        return f"the microphone is dead: {_SAYS[used[0]]}; {_MENDS[used[0]]}"


_SAYS: dict[Fault | None, str] = {
    "zeros": "it gives nothing but zeros",
    "one value": "it gives one and the same value",
    "full scale": "it is stuck at full scale",
}
_MENDS: dict[Fault | None, str] = {
    "zeros": "check its data and clock wires, the overlay, and a switch that mutes it",
    "one value": "check its data and clock wires, and the overlay",
    "full scale": "check its data wire for a short, and the gain in the mixer",
}


def _constant(value: int, dtype: np.dtype[np.int16] | np.dtype[np.int32]) -> Fault:
    # An I2S line that nobody drives reads as zeros, or as ones: -1 in the bits that the microphone has.
    ones = -1 if dtype == np.int16 else -(1 << 16)
    return "zeros" if ones <= value <= 0 else "one value"
