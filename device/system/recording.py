"""The debugging recording: what was sent and what was played, a pair of WAV files a turn. Off by default."""

from __future__ import annotations

import os
import queue
import threading
import time
import wave
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from device.ports import AudioOutput, Samples

MOST_FILES = 200
MOST_BYTES = 256 << 20
_MOST_WAITING = 5000  # pieces of sound: half a minute of a card that stands still
_FLUSH_S = 0.5
_PAUSE_S = 0.5  # of silence that is kept within what was played


class Flow(Protocol):
    """Sound on its way out."""

    @property
    def why(self) -> str: ...
    @property
    def rate(self) -> int: ...


class Recorder:
    """Writes `folder`/*-sent.wav and *-played.wav (mode 0600) from a thread of its own.

    The other methods take a reference and return at once. The oldest files are deleted beyond `most_files` or
    `most_bytes`. Trouble with the disk is told once to `on_trouble`; the talk goes on.
    """

    def __init__(
        self,
        folder: Path,
        on_trouble: Callable[[str], None],
        *,
        most_files: int = MOST_FILES,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.dropped = 0  # pieces of sound that the disk was too slow for
        self._folder = folder
        self._on_trouble = on_trouble
        self._most_files, self._most_bytes = most_files, most_bytes
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._turns = 0
        self._files: dict[str, _WavFile] = {}  # by "sent" and "played"
        self._silent_s = _PAUSE_S
        self._in_trouble = False
        self._dropped_told = 0
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def began(self, flow: Flow) -> None:  # noqa: ARG002 # the uplink tells it
        """Sound begins to leave: a turn of its own."""
        self._orders.put(self._next_turn)

    def sound(self, flow: Flow, pcm: bytes) -> None:
        """A piece of it, PCM16 mono."""
        self._put(lambda: self._write("sent", pcm, flow.rate))

    def ended(self, flow: Flow) -> None:  # noqa: ARG002 # the same
        """No more of it leaves."""
        self._orders.put(lambda: self._finish("sent"))

    def played(self, samples: Samples, rate: int) -> None:
        """A block on its way into the speaker."""
        self._put(lambda: self._hear(samples, rate))

    def close(self) -> None:
        """Finish the files; safe to call twice."""
        if self._thread.is_alive():
            self._orders.put(None)
            self._thread.join(2.0)

    def _put(self, order: Callable[[], None]) -> None:
        if self._orders.qsize() < _MOST_WAITING:
            self._orders.put(order)
        else:
            self.dropped += 1

    # --- the recorder's thread

    def _run(self) -> None:
        order: Callable[[], None] | None = self._flush
        while order is not None:
            try:
                order()
                self._in_trouble = False
            except OSError as error:
                self._trouble(error)
            order = self._next()
        for which in list(self._files):
            self._finish(which)
        self._tell_dropped()

    def _next(self) -> Callable[[], None] | None:
        try:
            return self._orders.get(timeout=_FLUSH_S if self._files else None)
        except queue.Empty:
            return self._flush

    def _next_turn(self) -> None:
        self._tell_dropped()
        self._finish("played")
        self._turns += 1

    def _tell_dropped(self) -> None:
        if self.dropped > self._dropped_told:
            lost, self._dropped_told = self.dropped - self._dropped_told, self.dropped
            self._on_trouble(
                f"{self._folder} is too slow: {lost} pieces of sound are missing in the recording"
            )

    def _hear(self, samples: Samples, rate: int) -> None:
        if samples.any():
            self._silent_s = 0.0
        else:
            self._silent_s += len(samples) / rate
        if self._silent_s < _PAUSE_S:
            self._write("played", samples.astype("<i2", copy=False).tobytes(), rate)

    def _write(self, which: str, pcm: bytes, rate: int) -> None:
        file = self._files.get(which)
        if file is None:
            file = self._files[which] = self._open(which, rate)
        if file.bytes < self._most_bytes // 8:
            file.add(pcm)

    def _open(self, which: str, rate: int) -> _WavFile:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._make_room()
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        return _WavFile(self._folder / f"{at}-{self._turns:03}-{which}.wav", rate)

    def _make_room(self) -> None:
        files = sorted(self._folder.glob("*.wav"))
        size = sum(path.stat().st_size for path in files)
        # Two files are in the making at most, and each stays below an eighth.
        while files and (len(files) >= self._most_files or size > self._most_bytes * 3 // 4):
            oldest = files.pop(0)
            size -= oldest.stat().st_size
            oldest.unlink()

    def _flush(self) -> None:
        for file in self._files.values():
            file.flush()

    def _finish(self, which: str) -> None:
        file = self._files.pop(which, None)
        if file:
            try:
                file.close()
            except OSError as error:
                self._trouble(error)

    def _trouble(self, error: OSError) -> None:
        if not self._in_trouble:
            self._in_trouble = True
            self._on_trouble(f"{self._folder} takes no recording ({error.strerror}): free the disk")


class _WavFile:
    """PCM16 mono. Its header is true after each flush, so that a kill loses half a second."""

    def __init__(self, path: Path, rate: int) -> None:
        self.bytes = 0
        self._waiting: list[bytes] = []
        self._most = rate  # bytes: half a second
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self._raw = os.fdopen(fd, "w+b", buffering=0)
        self._wave = wave.open(self._raw, "wb")  # noqa: SIM115 # `close` closes it
        self._wave.setparams((1, 2, rate, 0, "NONE", "not compressed"))

    def add(self, pcm: bytes) -> None:
        self._waiting.append(pcm)
        self.bytes += len(pcm)
        if sum(map(len, self._waiting)) >= self._most:
            self.flush()

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._wave.writeframes(b"".join(waiting))

    def close(self) -> None:
        try:
            self.flush()
            self._wave.close()
        finally:
            self._raw.close()


class TappedOutput:
    """An AudioOutput that shows each block to `tap(samples, rate)` on its way into the speaker."""

    def __init__(self, sink: AudioOutput, tap: Callable[[Samples, int], None]) -> None:
        self.rate, self.block = sink.rate, sink.block
        self._sink, self._tap = sink, tap

    def write(self, samples: Samples) -> None:
        """Show, then play."""
        self._tap(samples, self.rate)
        self._sink.write(samples)

    def rest(self) -> bool:
        """As the speaker does."""
        return self._sink.rest()

    @property
    def pending(self) -> int:
        """As the speaker says."""
        return self._sink.pending

    @property
    def underruns(self) -> int:
        """As the speaker says."""
        return self._sink.underruns

    def close(self) -> None:
        """Close the speaker."""
        self._sink.close()
