"""A card that may be pulled out: both sides outlive it, and take the next one that is plugged in."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np

from device.audio.pace import Pace
from device.errors import AudioError, FormatError

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.audio.health import Health
    from device.ports import AudioInput, AudioOutput, Frames, Samples

_RETRY_S = 0.5  # doubled after each failure
_RETRY_MOST_S = 5.0
_BLOCKS_PER_S = 150  # 6.7 ms: PortAudio keeps three of them in the card
_STEP_S = 0.02  # how long a speaker without a card waits at once


class _Card(Protocol):
    def close(self) -> None: ...


Card = TypeVar("Card", bound=_Card)


class Plug(Generic[Card]):
    """One side's card, or the lack of it. `hold`, `works` and `broke` are for the one thread that uses it.

    `on_lost(reason)` and `on_back()` follow one another, once each. A card that fails is opened at once;
    only one that cannot be is lost. Then it is tried after 0.5, 1, 2, 4, 5, 5 … s.
    """

    def __init__(
        self, make: Callable[[], Card], on_lost: Callable[[str], None], on_back: Callable[[], None]
    ) -> None:
        self.closing = threading.Event()
        self._make, self._on_lost, self._on_back = make, on_lost, on_back
        self._card: Card | None = None
        self._why: str | None = None  # it is lost; already told
        self._proven = False  # the card has done something since it was opened
        self._wait_s, self._retry_at = _RETRY_S, 0.0

    def open(self) -> None:
        """Look for it now. Raises FormatError: it is there, and will never take what is asked of it."""
        try:
            self._card = self._make()
        except FormatError:
            raise
        except AudioError:
            pass  # it is looked for again, and told, by the thread that needs it

    @property
    def lost(self) -> str | None:
        """Why there is no card; None while there is one."""
        return self._why

    def hold(self) -> Card | None:
        """The card. None: there is none now, and it has been looked for when that was due."""
        if self.closing.is_set():
            raise AudioError("the sound device has been closed")
        if self._card is None and time.monotonic() >= self._retry_at:
            self._look()
        return self._card

    def works(self) -> None:
        """The card has given or taken sound."""
        if self._proven:
            return
        self._proven, self._wait_s = True, _RETRY_S
        if self._why is not None:
            self._why = None
            self._on_back()

    def broke(self, error: AudioError) -> None:
        """The card has failed: let go of it, and look at once whether it can be had again."""
        card, self._card = self._card, None
        if card is not None:
            card.close()
        if self.closing.is_set():
            raise error
        if self._proven:
            self._look(str(error))
        else:
            self._missing(str(error))

    def close(self) -> None:
        """Let go of the card, whatever is done with it meanwhile; safe to call twice."""
        self.closing.set()
        if (card := self._card) is not None:
            card.close()

    def _look(self, why: str | None = None) -> None:
        self._proven = False
        try:
            card = self._make()
        except AudioError as error:
            self._missing(why or str(error))
            return
        self._card = card
        if self.closing.is_set():
            card.close()

    def _missing(self, why: str) -> None:
        self._retry_at = time.monotonic() + self._wait_s
        self._wait_s = min(_RETRY_MOST_S, self._wait_s * 2)
        if self._why is None:
            self._why = why
            self._on_lost(why)


class PlugInput:
    """Implements AudioInput with or without a card: where there is none it gives silence, in real time.

    What was said while a card was being opened is silence, too, so the time of every sample stays right.
    """

    def __init__(self, plug: Plug[AudioInput], rate: int, channels: int, sample_format: str) -> None:
        self.rate, self.channels = rate, channels
        self.health: Health | None = None
        self._plug = plug
        self._wide = sample_format == "s32"
        self._pace = Pace(rate)
        self._counted = 0  # overruns of cards that are gone, and each of them as one
        self._seen = 0  # overruns of this card
        self._given_until = time.monotonic()
        self._behind = True  # silence is owed up to now

    def read(self, frames: int) -> Frames:
        """Shape (frames, channels); raises AudioError only after `close`."""
        card = self._plug.hold()
        now = time.monotonic()
        if card is not None and self._behind:
            self._behind = now - self._given_until > frames / self.rate
        if card is None or self._behind:
            return self._silence(frames)
        try:
            block = card.read(frames)
        except AudioError as error:
            self._lose(error)
            return self._silence(frames)
        self._took(card, block)
        return block

    @property
    def fault(self) -> str | None:
        """What is wrong now: there is no card, or it gives what no microphone gives."""
        if self._plug.lost is not None:
            return f"the microphone is missing: {self._plug.lost}"
        return self.health.reason if self.health else None

    @property
    def latency_s(self) -> float:
        """Nothing: a block ends now, with every driver."""
        return 0.0

    @property
    def overruns(self) -> int:
        """How often samples were lost: told by the driver, by the clock, or by a card that broke."""
        return self._counted + self._seen + self._pace.losses

    def close(self) -> None:
        """Stop; a thread that waits in `read` gets an AudioError."""
        self._plug.close()

    def _took(self, card: AudioInput, block: Frames) -> None:
        now = time.monotonic()
        if card.overruns != self._seen:
            self._pace.restart()  # what the driver tells is not counted twice
        self._given_until, self._seen = now, card.overruns
        self._pace.push(len(block), now)
        if self.health is not None:
            self.health.push(block)
        self._plug.works()

    def _lose(self, error: AudioError) -> None:
        self._counted, self._seen = self._counted + self._seen + 1, 0
        self._behind = True
        self._pace.restart()
        self._plug.broke(error)

    def _silence(self, frames: int) -> Frames:
        self._behind = True
        self._given_until += frames / self.rate
        early = self._given_until - time.monotonic()
        if early > 0:
            self._plug.closing.wait(early)
        shape = frames, self.channels
        return np.zeros(shape, np.int32) if self._wide else np.zeros(shape, np.int16)


class PlugOutput:
    """Implements AudioOutput with or without a card. `ready` tells which: without one the sound should wait.

    What is written all the same is lost, in real time.
    """

    def __init__(self, plug: Plug[AudioOutput], rate: int) -> None:
        self.rate, self.block = rate, rate // _BLOCKS_PER_S
        self._plug = plug
        self._counted = self._seen = 0  # underruns of cards that are gone, and of this one

    def ready(self) -> bool:
        """Whether there is a card. When there is none this takes 20 ms, so that one may ask again."""
        card = self._plug.hold()
        if card is not None and self._plug.lost is not None:
            self.write(np.zeros(self.block, np.int16))  # only what takes sound is a card
        if card is not None and self._plug.lost is None:
            return True
        self._plug.closing.wait(_STEP_S)
        return False

    def write(self, samples: Samples) -> None:
        """Blocks as the card does; raises AudioError only after `close`."""
        card = self._plug.hold()
        if card is None:
            self._plug.closing.wait(len(samples) / self.rate)
            return
        try:
            card.write(samples)
        except AudioError as error:
            self._lose(error)
        else:
            self._seen = card.underruns
            self._plug.works()

    def rest(self) -> bool:
        """As the card does; without one there is nothing to feed."""
        card = self._plug.hold()
        if card is None:
            return True
        try:
            return card.rest()
        except AudioError as error:
            self._lose(error)
            return True

    @property
    def fault(self) -> str | None:
        """What is wrong now: there is no card."""
        return None if self._plug.lost is None else f"the speaker is missing: {self._plug.lost}"

    @property
    def pending(self) -> int:
        """Frames in the card, 0 without one."""
        card = self._plug.hold()
        if card is None:
            return 0
        try:
            return card.pending
        except AudioError as error:
            self._lose(error)
            return 0

    @property
    def underruns(self) -> int:
        """How often a card ran dry."""
        return self._counted + self._seen

    def close(self) -> None:
        """Stop; a thread that waits in `write` gets an AudioError."""
        self._plug.close()

    def _lose(self, error: AudioError) -> None:
        self._counted, self._seen = self._counted + self._seen, 0
        self._plug.broke(error)
