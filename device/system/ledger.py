"""The privacy ledger: a line for every interval in which the microphone's sound left the device."""

from __future__ import annotations

import os
import queue
import secrets
import threading
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from device.system.disk import Disk, sync_folder
from device.system.redact import visible

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILE_BYTES = 1 << 20
FILES = 4  # ledger.jsonl, ledger.jsonl.1 … .3
_TICK_S = 0.1  # how exactly an interval is known that a kill cut off
_NOW_BYTES = 1024
_MOST_WAITING = 1000  # lines that wait for a disk which takes none


class Flow(Protocol):
    """Sound on its way out; it grows while the interval lasts."""

    @property
    def why(self) -> str: ...
    @property
    def where(self) -> str: ...
    @property
    def began_at(self) -> float: ...
    @property
    def bytes(self) -> int: ...
    @property
    def seconds(self) -> float: ...


class Ledger:
    """Appends to `folder`/ledger.jsonl (mode 0600) from a thread of its own; the methods only take note.

    An interval has a line when it begins and a whole one when it ends, each synced. Between them `ledger.now`
    holds how far it is, so that a killed process leaves it to the next one. A disk that takes nothing is told
    once to `on_trouble`; the lines wait for it.
    """

    def __init__(
        self,
        folder: Path,
        endpoint: str,
        on_trouble: Callable[[str], None],
        *,
        disk: Disk | None = None,
        file_bytes: int = FILE_BYTES,
    ) -> None:
        self._path = folder / "ledger.jsonl"
        self._now_path = folder / "ledger.now"
        self._endpoint = endpoint
        self._on_trouble = on_trouble
        self._disk = disk or Disk()
        self._file_bytes = file_bytes
        self._facts: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting: deque[bytes] = deque(maxlen=_MOST_WAITING)
        self._open: tuple[str, Flow] | None = None
        self._in_trouble = False
        self._torn = True  # unknown: the last line may have no end
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    # --- from any thread

    def start(self) -> None:
        """Settle what a killed process left, and take note from now on."""
        self._facts.put(self._settle)
        self._thread.start()

    def began(self, flow: Flow) -> None:
        """Sound begins to leave."""
        self._facts.put(lambda: self._begin(flow))

    def sound(self, flow: Flow, pcm: bytes) -> None:
        """Nothing: the flow counts."""

    def ended(self, flow: Flow) -> None:
        """No more of this sound leaves."""
        self._facts.put(lambda: self._end(flow))

    def note(self, text: str) -> None:
        """Write a line about the device itself, such as that sound is being recorded."""
        self._facts.put(lambda: self._append({"at": _utc(time.time()), "note": text}))

    def close(self) -> None:
        """End what is under way, write everything, and end the thread; safe to call twice."""
        if self._thread.is_alive():
            self._facts.put(None)
            self._thread.join(2.0)

    # --- the ledger's thread

    def _run(self) -> None:
        while True:
            try:
                fact = self._facts.get(timeout=_TICK_S if self._open else None)
            except queue.Empty:
                self._tick()
                continue
            if fact is None:
                break
            fact()
        if self._open:
            self._end(self._open[1])

    def _settle(self) -> None:
        left = read_now(self._now_path)
        if left:
            self._append({**left, "cut_off": True})
        self._blank()

    def _begin(self, flow: Flow) -> None:
        if self._open:
            self._end(self._open[1])
        self._open = secrets.token_hex(6), flow
        self._tick()  # before the line: of a kill between the two, the interval is told
        self._append(self._line(ended=False))

    def _end(self, flow: Flow) -> None:
        if self._open and self._open[1] is flow:
            self._append(self._line(ended=True))
            self._open = None
            self._blank()

    def _line(self, *, ended: bool) -> dict[str, Any]:
        assert self._open  # noqa: S101 # both callers have one
        name, flow = self._open
        begun = {
            "id": name,
            "begun": _utc(flow.began_at),
            "why": flow.why,
            "endpoint": self._endpoint,
            "host": visible(flow.where, 255),
        }
        if not ended:
            return begun
        until = max(time.time(), flow.began_at)  # the clock may have been set back
        return {**begun, "ended": _utc(until), "seconds": round(flow.seconds, 3), "bytes": flow.bytes}

    def _tick(self) -> None:
        self._write_now(msgspec.json.encode(self._line(ended=True)))

    def _blank(self) -> None:
        if self._now_path.exists():
            self._write_now(b"")

    def _write_now(self, data: bytes) -> None:
        """Put it in place without waiting for the medium: it is for a kill, and spares the card."""
        with suppress(OSError):  # `_append` tells of a disk in trouble
            fd = os.open(self._now_path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.pwrite(fd, data.ljust(_NOW_BYTES)[:_NOW_BYTES], 0)
            finally:
                os.close(fd)

    def _append(self, fact: dict[str, Any]) -> None:
        self._waiting.append(msgspec.json.encode(fact) + b"\n")
        try:
            self._rotate()
            while self._waiting:
                self._write(self._waiting[0])
                self._waiting.popleft()
        except OSError as error:
            self._torn = True
            self._trouble(error)
            return
        self._in_trouble = False

    def _write(self, line: bytes) -> None:
        fd = self._disk.extend(self._path)
        try:
            if self._torn and not _ends_whole(self._path):
                line = b"\n" + line
            while line:
                line = line[self._disk.write(fd, line) :]
            self._disk.sync(fd)
            self._torn = False
        finally:
            os.close(fd)

    def _rotate(self) -> None:
        if not self._path.exists() or self._path.stat().st_size < self._file_bytes:
            return
        names = generations(self._path)
        for old, new in zip(names[1:], names, strict=False):
            if old.exists():
                self._disk.rename(old, new)
        sync_folder(self._disk, self._path.parent)

    def _trouble(self, error: OSError) -> None:
        if not self._in_trouble:
            self._in_trouble = True
            why = error.strerror or str(error)
            self._on_trouble(
                f"the privacy ledger {self._path} cannot be written ({why}): free or repair the disk"
            )


def generations(path: Path) -> list[Path]:
    """Return the ledger's files, oldest first."""
    return [*(path.with_name(f"{path.name}.{n}") for n in range(FILES - 1, 0, -1)), path]


def read_now(path: Path) -> dict[str, Any] | None:
    """Return the line of the interval that is under way, or was when the process was killed."""
    try:
        return msgspec.json.decode(path.read_bytes().strip(b" \0"), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
