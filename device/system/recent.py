"""The last events with their times: kept in memory, written on exit and on a fault, for a bug report."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from device.system.disk import Disk, sync_folder, write_file
from device.system.redact import redact_all, visible

if TYPE_CHECKING:
    from pathlib import Path

MOST = 200
_LONGEST_TEXT = 400
_PAUSE_S = 1.0  # between two writes for errors in the log: a flood of them spares the card
_TOLD = {"notice", "log"}  # the device's own words; the text of all others is somebody's


class Recent(logging.Handler):
    """A ring of the last 200 events; as a handler of the log it takes warnings and errors as well.

    An error in the log is a fault, and written at once: the process may be about to end. What somebody said
    is kept as a number of characters. `save` writes `events.json` (mode 0600), and keeps
    what the run before had left as `events.json.1`.
    """

    def __init__(self, path: Path, disk: Disk | None = None) -> None:
        super().__init__(logging.WARNING)
        self._path = path
        self._disk = disk or Disk()
        self._events: deque[dict[str, Any]] = deque(maxlen=MOST)
        self._saving = threading.Lock()
        self._asked = threading.Event()
        self._kept_older = False
        self._error_at = float("-inf")

    def note(self, event: dict[str, Any]) -> None:
        """Keep an event; any thread."""
        self._events.append(event)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line of the log, unless it is the text of an event that is kept anyway."""
        if not getattr(record, "shown", False):
            text = record.getMessage()
            if record.exc_info and record.exc_info[1]:
                text += f" ({type(record.exc_info[1]).__name__})"
            self.note({"event": "log", "at": record.created, "level": record.levelname.lower(), "text": text})
            if record.levelno >= logging.ERROR and time.monotonic() - self._error_at > _PAUSE_S:
                self._error_at = time.monotonic()
                self.save(text)

    def events(self) -> list[dict[str, Any]]:
        """Return the events, oldest first, as they may be shown to others."""
        return [_shareable(event) for event in self._events.copy()]

    def save(self, why: str) -> None:
        """Write them now. A disk that takes nothing is passed over: the log says so elsewhere."""
        with self._saving, suppress(OSError):
            whole = {"saved_at": time.time(), "why": visible(why, _LONGEST_TEXT), "events": self.events()}
            fresh = self._path.with_suffix(".json.tmp")
            write_file(self._disk, fresh, msgspec.json.encode(redact_all(whole), enc_hook=str) + b"\n")
            if not self._kept_older and self._path.exists():
                self._disk.rename(self._path, self._path.with_suffix(".json.1"))
            self._kept_older = True
            self._disk.rename(fresh, self._path)
            sync_folder(self._disk, self._path.parent)

    def save_soon(self, why: str) -> None:
        """Have them written by a thread of its own; of several calls at once one writes."""
        if not self._asked.is_set():
            self._asked.set()
            threading.Thread(target=self._save_asked, args=(why,), name="events", daemon=True).start()

    def _save_asked(self, why: str) -> None:
        self._asked.clear()
        self.save(why)


def _shareable(event: dict[str, Any]) -> dict[str, Any]:
    return dict(_shown(event.get("event"), key, value) for key, value in event.items())


def _shown(kind: Any, key: str, value: Any) -> tuple[str, Any]:
    if key == "text" and kind not in _TOLD:
        return "characters", len(str(value))
    if key == "turns":
        return key, len(value)
    return key, visible(value, _LONGEST_TEXT) if isinstance(value, str) else value
