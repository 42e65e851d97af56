"""The demo's journal: every event with its time, written to events.jsonl, shown, and waited for."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from device.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Event = dict[str, Any]
Test = Callable[[Event], bool]


class DemoError(Exception):
    """The demo cannot go on; the text is one plain line."""


class Journal:
    """Events of the daemon and of the demo itself, in the order in which they came. Safe from any thread."""

    def __init__(self, path: Path, show: Callable[[Event], None]) -> None:
        self.events: list[Event] = []
        self._show = show
        self._changed = threading.Condition()
        self._file = path.open("w", encoding="utf-8")

    def close(self) -> None:
        """Finish the file; safe to call twice."""
        with self._changed:
            self._file.close()

    def note(self, kind: str, **facts: Any) -> Event:
        """Write down something that the demo did: press, release, said, kill, start, recording."""
        event = {"event": kind, "t": time.monotonic(), "at": time.time(), **facts}
        self.take(event)
        return event

    def take(self, event: Event) -> None:
        """Write down one event."""
        with self._changed:
            if self._file.closed:
                return
            self.events.append(event)
            self._file.write(json.dumps(event) + "\n")
            self._file.flush()
            self._show(event)
            self._changed.notify_all()

    def follow(self, events: Iterable[Event]) -> None:
        """Take the daemon's events in a thread of its own, until it goes."""

        def run() -> None:
            try:
                for event in events:
                    self.take(event)
            except StateError as error:
                self.note("notice", level="error", text=str(error))
            self.note("gone")

        threading.Thread(target=run, name="demo-watch", daemon=True).start()

    def mark(self) -> int:
        """Return the place of the next event, to wait for things from here on."""
        with self._changed:
            return len(self.events)

    def wait(self, what: str, fits: Test, since: int, within_s: float = 20.0) -> Event:
        """Return the first event from place `since` on that fits. Raises DemoError after `within_s`."""
        found = self._wait(fits, since, time.monotonic() + within_s)
        if found is None:
            raise DemoError(f"waited {within_s:.0f} s for {what} in vain")
        return found

    def stays_away(self, fits: Test, since: int, until: float) -> bool:
        """Wait until monotonic time `until`, or less: False as soon as an event fits."""
        return self._wait(fits, since, until) is None

    def _wait(self, fits: Test, since: int, deadline: float) -> Event | None:
        with self._changed:
            while True:
                for event in self.events[since:]:
                    if fits(event):
                        return event
                since = len(self.events)
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)


def is_state(*states: str) -> Test:
    """Return a test for the daemon coming into one of `states`."""
    return lambda event: event["event"] == "state" and event["state"] in states


def is_kind(kind: str, **facts: Any) -> Test:
    """Return a test for an event of `kind` with all these facts."""
    return lambda event: event["event"] == kind and all(event.get(key) == facts[key] for key in facts)


def read_events(path: Path) -> list[Event]:
    """Read an events.jsonl; a torn last line is left out."""
    events = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return sorted(events, key=lambda event: float(event["t"]))
