"""A panel without hardware: the control socket presses its button and reads its light."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from device.panel.lights import PATTERNS

if TYPE_CHECKING:
    from collections.abc import Callable


class SimulatedPanel:
    """Driven by method calls from any thread; edges are reported in the caller's thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._on_edge: Callable[[str, bool, float], None] | None = None
        self._pressed = False
        self.pattern = "idle"
        """The light pattern that is being shown."""

    def start(self, on_edge: Callable[[str, bool, float], None]) -> None:
        """Report edges from now on."""
        with self._lock:
            self._on_edge = on_edge

    def show(self, pattern: str) -> None:
        """Remember the pattern; an unknown name is "idle"."""
        self.pattern = pattern if pattern in PATTERNS else "idle"

    def press(self) -> None:
        """Push the button down; pushing a held button changes nothing."""
        self._button(True)

    def release(self) -> None:
        """Let the button go."""
        self._button(False)

    def wake(self) -> None:
        """Pulse the wake line."""
        with self._lock:
            self._report("wake", True)
            self._report("wake", False)

    def close(self) -> None:
        """Report nothing more; safe to call twice."""
        with self._lock:
            self._on_edge = None
        self.pattern = "idle"

    def _button(self, pressed: bool) -> None:
        with self._lock:
            if pressed != self._pressed:
                self._pressed = pressed
                self._report("button", pressed)

    def _report(self, line: str, active: bool) -> None:
        if self._on_edge is not None:
            self._on_edge(line, active, self._clock())
