"""Speech to text: the port, and pocketsphinx with the US English model of its wheel."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from companion.local.audio import EAR_BYTES_PER_MS

if TYPE_CHECKING:
    from pocketsphinx import Decoder

# The decoder holds the interpreter's lock while it works: 100 ms of sound keep it for about 12 ms.
SLICE_BYTES = 100 * EAR_BYTES_PER_MS


class Recogniser(Protocol):
    """Hears one utterance at a time, while it is being said."""

    def feed(self, pcm: bytes) -> None:
        """Hear more: 16 kHz PCM16, any length."""
        ...

    def finish(self) -> str:
        """End the utterance and return its words in lower case, "" for none."""
        ...

    def reset(self) -> None:
        """Forget what was fed since the last finish."""
        ...


class Sphinx:
    """A Recogniser on one pocketsphinx decoder."""

    def __init__(self) -> None:
        from pocketsphinx import Decoder  # noqa: PLC0415 - 30 MB of model belong to the first session, not to start

        self._decoder: Decoder = Decoder(samprate=16_000, loglevel="FATAL")
        self._first_mean: str = self._decoder.get_cmn(False)
        self._open = False

    def feed(self, pcm: bytes) -> None:
        if not self._open:
            self._decoder.start_utt()
            self._open = True
        for at in range(0, len(pcm), SLICE_BYTES):
            self._decoder.process_raw(pcm[at : at + SLICE_BYTES])

    def finish(self) -> str:
        if not self._open:
            return ""
        self._open = False
        self._decoder.end_utt()
        best = self._decoder.hyp()
        return str(best.hypstr) if best else ""

    def reset(self) -> None:
        if self._open:
            self._open = False
            self._decoder.end_utt()

    def forget_speaker(self) -> None:
        """Drop what was learnt of the last speaker's level and channel."""
        self.reset()
        self._decoder.set_cmn(self._first_mean)


class Sphinxes:
    """Decoders that are lent to sessions; loading one takes half a second and about 90 MB."""

    def __init__(self) -> None:
        self._free: list[Sphinx] = []
        self._lock = threading.Lock()

    def take(self) -> Sphinx:
        """Return a free decoder, or load one."""
        with self._lock:
            if self._free:
                return self._free.pop()
        return Sphinx()

    def give_back(self, decoder: Sphinx) -> None:
        """Keep a decoder for the next session."""
        decoder.forget_speaker()
        with self._lock:
            self._free.append(decoder)
