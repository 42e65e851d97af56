"""The ports: what the daemon asks of a sound card, a panel and a wire protocol, as types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    Samples = NDArray[np.int16]
    """Mono PCM16, shape (frames,)."""
    Frames = NDArray[np.int16] | NDArray[np.int32]
    """As the card gives it: shape (frames, channels), left-justified."""


class AudioInput(Protocol):
    """A microphone stream that is open and running."""

    rate: int  # Hz
    channels: int

    def read(self, frames: int) -> Frames:
        """Block until `frames` frames have arrived. The array is valid until the next call.

        Raises AudioError when the device has gone.
        """

    @property
    def latency_s(self) -> float:
        """How old the newest sample of a block is when `read` returns it, in seconds."""

    @property
    def overruns(self) -> int:
        """How often the card lost samples because nobody read in time."""

    def close(self) -> None:
        """Stop and release the device; safe to call twice."""


class AudioOutput(Protocol):
    """A loudspeaker stream that is open."""

    rate: int  # Hz
    block: int  # frames; writing in pieces of this size (some ms) keeps little in the card

    def write(self, samples: Samples) -> None:
        """Hand over mono samples, blocking until the driver has taken them. Raises AudioError when gone."""

    def rest(self) -> bool:
        """Nothing to say for a while. True: the driver sleeps until the next write, and needs no silence.

        False: this card must be fed all the time. Call it only when `pending` holds nothing but silence.
        """

    @property
    def pending(self) -> int:
        """Frames taken by `write` and not heard yet; for the thread that writes."""

    @property
    def underruns(self) -> int:
        """How often the card ran dry without having been told to rest."""

    def close(self) -> None:
        """Stop and release the device; safe to call twice."""


class Panel(Protocol):
    """A button, a wake line and a status light."""

    def start(self, on_edge: Callable[[str, bool, float], None]) -> None:
        """Report every debounced edge as (line, active, monotonic seconds); line is "button" or "wake"."""

    def show(self, pattern: str) -> None:
        """Run the named light pattern until the next call; unknown names show as "idle"."""

    def close(self) -> None:
        """Lights off, lines released; safe to call twice."""
