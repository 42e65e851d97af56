"""The log: key=value for the journal, plain for a terminal; bounded, without secrets, rate-limited.

Sources: the prefixes `<0>` to `<7>`: sd-daemon(3); $JOURNAL_STREAM: systemd.exec(5).
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from device.system.redact import redact, visible

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 10  # of one line in a window
WINDOW_S = 60.0
_LONGEST_TEXT = 3000  # characters of a message or a traceback
_LONGEST_LINE = 2 * _LONGEST_TEXT + 200  # with every backslash doubled
_MOST_KINDS = 1000  # of lines that are told apart in a window
_PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}  # syslog(3)
_NUMBERS = re.compile(r"\d+")


class Plain(logging.Formatter):
    """`WARNING device.daemon: text`, and a traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        """Every line of it can be shown by a terminal."""
        first = _safe(f"{record.levelname} {record.name}: {_text(record)}")
        return "\n".join(visible(line, _LONGEST_LINE) for line in [first, *_trace(self, record).splitlines()])


class KeyValue(logging.Formatter):
    """`level=warning logger=device.daemon msg="text"`, one line whatever it is told.

    `journal`: the priority goes first, and the time, which the journal keeps itself, is left out.
    """

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        """Values are quoted where they hold more than a word."""
        fields = {"level": record.levelname.lower(), "logger": record.name, "msg": _safe(_text(record))}
        if not self._journal:
            at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            fields = {"time": f"{at}.{int(record.msecs):03}Z", **fields}
        trace = _trace(self, record)
        if trace:
            fields["trace"] = trace
        line = " ".join(f"{key}={_value(value)}" for key, value in fields.items())
        return f"<{_PRIORITIES.get(record.levelname, 5)}>{line}" if self._journal else line


class Limited(logging.StreamHandler[TextIO]):
    """Writes at most `most` lines of one kind in a window, and at its end how many more there were.

    Lines are of one kind when they differ in their numbers alone. Nothing is held back for longer than a
    window: a timer ends it, and so does `close`.
    """

    def __init__(self, stream: TextIO, *, most: int = MOST, window_s: float = WINDOW_S) -> None:
        super().__init__(stream)
        self._most, self._window_s = most, window_s
        self._counts: dict[tuple[str, int, str], int] = {}
        self._began_at = time.monotonic()
        self._timer: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, or count it; called with the handler's lock held."""
        now = time.monotonic()
        if now - self._began_at >= self._window_s:
            self._end_window()
        kind = self._kind(record)
        self._counts[kind] = count = self._counts.get(kind, 0) + 1
        if count <= self._most:
            super().emit(record)
        elif self._timer is None:
            self._timer = threading.Timer(self._began_at + self._window_s - now, self._on_time)
            self._timer.daemon = True
            with suppress(RuntimeError):  # no thread to be had: the next line, or the end, tells it
                self._timer.start()

    def close(self) -> None:
        """Tell what was held back."""
        with self._told():
            self._end_window()
        super().close()

    def _kind(self, record: logging.LogRecord) -> tuple[str, int, str]:
        kind = record.name, record.levelno, _NUMBERS.sub("#", _text(record)[:300])
        crowded = len(self._counts) >= _MOST_KINDS and kind not in self._counts
        return (record.name, record.levelno, "…") if crowded else kind

    def _on_time(self) -> None:
        with self._told():
            self._timer = None
            self._end_window()

    def _told(self) -> threading.RLock:
        assert self.lock is not None  # noqa: S101 # logging gives every handler one
        return self.lock

    def _end_window(self) -> None:
        span = time.monotonic() - self._began_at
        held, self._counts = self._counts, {}
        self._began_at = time.monotonic()
        if self._timer:
            self._timer.cancel()
            self._timer = None
        for (name, level, text), count in held.items():
            if count > self._most:
                line = f"… {count - self._most} times more in {span:.0f} s: {text}"
                super().emit(logging.LogRecord(name, level, "", 0, "%s", (line,), None))


def set_up(stream: TextIO | None = None, environ: Callable[[str], str | None] = os.environ.get) -> Limited:
    """Send the log of level info and above to `stream`; when none is given, to where stderr goes now."""
    out = stream or _own_stderr()
    handler = Limited(out)
    handler.setFormatter(Plain() if out.isatty() else KeyValue(journal=_is_journal(out, environ)))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    return handler


def _own_stderr() -> TextIO:
    """Return stderr with a descriptor of its own, which stays when 2 is put aside for a noisy library."""
    try:
        copy = os.dup(sys.stderr.fileno())
    except (OSError, ValueError):  # closed, or not a file
        return sys.stderr
    return os.fdopen(copy, "w", encoding="utf-8", errors="backslashreplace", buffering=1)


def _is_journal(stream: TextIO, environ: Callable[[str], str | None]) -> bool:
    """Tell whether the stream is what $JOURNAL_STREAM names, as "device:inode"."""
    try:
        facts = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ("JOURNAL_STREAM") == f"{facts.st_dev}:{facts.st_ino}"


def _text(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # a wrong format is a bug, but no reason to lose the line
        return f"{record.msg} {record.args}"


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return _safe(formatter.formatException(record.exc_info)) if record.exc_info else ""


def _safe(text: str) -> str:
    """Return text without secrets, bounded in its middle: the end has the error, or the mend."""
    return _without_middle(redact(_without_middle(text, 4 * _LONGEST_TEXT)), _LONGEST_TEXT)


def _without_middle(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    head, tail = most // 3, most - most // 3
    return f"{text[:head]} … {len(text) - most} characters … {text[-tail:]}"


def _value(text: str) -> str:
    shown = visible(text.replace("\\", "\\\\"), _LONGEST_LINE)
    if re.fullmatch(r'[^\s"=\\]+', shown):
        return shown
    return '"' + shown.replace('"', '\\"') + '"'
