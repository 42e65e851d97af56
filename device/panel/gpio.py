"""The panel on a Pi's GPIO lines, through the RPi.GPIO API (rpi-lgpio, or the classic package)."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.errors import PanelError
from device.panel.apa102 import Chain, Spi, clock_out
from device.panel.debounce import Debounce
from device.panel.lights import Light

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

HEADER_LINES = range(28)
I2S_LINES = {18: "bit clock", 19: "word clock", 20: "microphone data", 21: "speaker data"}
POLL_S = 0.010


@dataclass
class _Line:
    name: str
    number: int
    active_low: bool
    contact: Debounce
    broken: bool = False


class GpioPanel:
    """Button, optional wake line and optional status light on BCM line numbers.

    The light is an LED on a line, or a chain of APA102 LEDs.

    Changes are debounced here, because `bouncetime` means two different things in the two packages (RPi.GPIO
    reports at once, then is deaf; rpi-lgpio waits until the line has been stable). `edges` asks for edge
    detection (True) or for reading the lines every 10 ms (False). Left open it is edge detection with the
    classic package only: lgpio's wakes up 2000 times a second, which costs more than the readings do, and it
    may miss its own start signal. Where edge detection is refused (classic package, kernel 6.6 or later) the
    lines are read too. Inputs are pulled away from their active level. Raises PanelError.
    """

    def __init__(
        self,
        *,
        button: int,
        wake: int | None = None,
        led: int | None = None,
        active_low: bool = True,
        wake_active_low: bool = True,
        led_active_low: bool = False,
        chain: Chain | None = None,
        debounce_ms: float = 20,
        edges: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        wires = {"chain.data": chain.data, "chain.clock": chain.clock} if chain else {}
        _check_numbers({"button": button, "wake": wake, "led": led, **wires})
        self._clock = clock
        self._gpio = _load()
        self._claimed: list[int] = []
        self._due = threading.Condition()
        self._on_edge: Callable[[str, bool, float], None] | None = None
        self._polling = hasattr(self._gpio, "lgpio") if edges is None else not edges
        self._closed = False
        self._thread = threading.Thread(target=self._watch, name="panel", daemon=True)
        self._lines: dict[int, _Line] = {}
        self._light: Light | None = None
        self._spi: Spi | None = None
        try:
            self._open_chip()
            self._claim_input("button", button, active_low, debounce_ms)
            if wake is not None:
                self._claim_input("wake", wake, wake_active_low, debounce_ms)
            if chain is not None:
                self._light = self._open_chain(chain)
            elif led is not None:
                self._light = self._claim_led(led, led_active_low)
        except PanelError:
            self.close()
            raise

    @property
    def mode(self) -> str:
        """How changes are found: "edges" or "polling"."""
        return "polling" if self._polling else "edges"

    def start(self, on_edge: Callable[[str, bool, float], None]) -> None:
        """Report every debounced edge; `on_edge` is called from the driver's thread and must return at once.

        A line that is active already reports only its release.
        """
        self._on_edge = on_edge
        for line in self._lines.values():
            if line.contact.active:
                log.warning("panel: the %s on GPIO %d is active already: miswired?", line.name, line.number)
        if not self._polling:
            self._detect_edges()
        how = f"reading every {POLL_S * 1000:.0f} ms" if self._polling else "edge detection"
        log.info("panel: GPIO %s by %s", ", ".join(map(str, self._lines)), how)
        self._thread.start()

    def show(self, pattern: str) -> None:
        """Run the named light pattern until the next call."""
        if self._light is not None:
            self._light.show(pattern)

    def close(self) -> None:
        """Light off, lines released; safe to call twice."""
        with self._due:
            if self._closed:
                return
            self._closed = True
            self._due.notify()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
        if self._light is not None:
            self._light.close()
        if self._spi is not None:
            self._spi.close()
        self._forget_edges()
        if self._claimed:
            self._gpio.cleanup(self._claimed)

    def _open_chip(self) -> None:
        self._gpio.setwarnings(False)
        try:
            self._gpio.setmode(self._gpio.BCM)
        except Exception as error:
            raise PanelError(
                f"the GPIO chip cannot be opened ({error}): add this user to the group gpio,"
                ' or set panel.driver = "simulated"'
            ) from error

    def _claim_input(self, name: str, number: int, active_low: bool, debounce_ms: float) -> None:
        gpio = self._gpio
        pull = gpio.PUD_UP if active_low else gpio.PUD_DOWN
        self._claim(name, number, gpio.IN, pull_up_down=pull)
        line = _Line(name, number, active_low, Debounce(debounce_ms))
        line.contact.active = self._read(line)
        self._lines[number] = line

    def _claim_led(self, number: int, active_low: bool) -> Light:
        self._claim("led", number, self._gpio.OUT, initial=active_low)
        return Light(lambda on: self._gpio.output(number, on != active_low))

    def _open_chain(self, chain: Chain) -> Light:
        data, clock = chain.data, chain.clock
        if data is None or clock is None:
            self._spi = spi = Spi(chain.device)
            return Light(lambda on: spi.send(chain.frame(on)))
        for name, line in (("chain.data", data), ("chain.clock", clock)):
            self._claim(name, line, self._gpio.OUT, initial=False)
        return Light(lambda on: clock_out(chain.frame(on), data, clock, self._gpio.output))

    def _claim(self, name: str, number: int, direction: int, **how: Any) -> None:
        try:
            self._gpio.setup(number, direction, **how)
        except Exception as error:
            raise PanelError(
                f"GPIO {number} (panel.{name}) cannot be had ({error}): stop what uses it"
                " (gpioinfo names it), or choose another line"
            ) from error
        self._claimed.append(number)

    def _detect_edges(self) -> None:
        try:
            for number in self._lines:
                self._gpio.add_event_detect(number, self._gpio.BOTH, callback=self._edge)
        except Exception as error:  # noqa: BLE001  # RuntimeError or lgpio.error: polling is left
            self._forget_edges()
            self._polling = True
            log.warning("panel: no edge detection: %s", error)

    def _forget_edges(self) -> None:
        for number in self._lines:
            self._gpio.remove_event_detect(number)

    def _read(self, line: _Line) -> bool:
        """Return whether the line is active; one that cannot be read is not, and that is said once."""
        try:
            return bool(self._gpio.input(line.number)) != line.active_low
        except Exception as error:  # noqa: BLE001  # lgpio.error, RuntimeError: going on without the line
            if not line.broken:
                log.error("panel: GPIO %d (%s) cannot be read: %s", line.number, line.name, error)  # noqa: TRY400
            line.broken = True
            return False

    def _edge(self, number: int) -> None:
        """Take one edge, in the driver's thread."""
        at = self._clock()
        line = self._lines[number]
        with self._due:
            if not self._closed:
                self._report(line, line.contact.edge(self._read(line), at))
                self._due.notify()

    def _watch(self) -> None:
        while not self._closed:
            with self._due:
                self._look()
                if not self._polling:
                    self._due.wait(self._patience())
            if self._polling:
                time.sleep(POLL_S)  # measured: a third less CPU than waiting for a condition

    def _look(self) -> None:
        for line in self._lines.values():
            now, contact = self._clock(), line.contact
            if now >= contact.deadline:
                self._report(line, contact.reread(self._read(line), now))
            elif self._polling and (active := self._read(line)) != contact.active:
                self._report(line, contact.edge(active, now))

    def _patience(self) -> float:
        """Return the seconds until a line wants to be read."""
        return max(min(line.contact.deadline for line in self._lines.values()) - self._clock(), 0)

    def _report(self, line: _Line, change: tuple[bool, float] | None) -> None:
        if change is None or self._on_edge is None:
            return
        try:
            self._on_edge(line.name, *change)
        except Exception:
            log.exception("panel: the %s's edge was lost", line.name)


def _check_numbers(lines: dict[str, int | None]) -> None:
    taken: dict[int, str] = {}
    for name, number in lines.items():
        if number is None:
            continue
        if number in I2S_LINES:
            raise PanelError(
                f"GPIO {number} (panel.{name}) is the I2S {I2S_LINES[number]}: choose a line outside 18 to 21"
            )
        if number not in HEADER_LINES:
            raise PanelError(
                f"GPIO {number} (panel.{name}) is not on the header: choose a BCM number from 0 to 27"
            )
        if number in taken:
            raise PanelError(
                f"GPIO {number} is both panel.{taken[number]} and panel.{name}: give each its own line"
            )
        taken[number] = name


def _load() -> Any:
    """Import RPi.GPIO, which off a Pi raises at import."""
    home = Path.cwd()
    try:
        from RPi import GPIO  # noqa: PLC0415  # only where a board has a panel on GPIO
    except (
        ImportError,
        AttributeError,
    ) as error:  # AttributeError: the empty lgpio stub of PyPI on Python 3.13
        raise PanelError(
            f"RPi.GPIO is not usable ({error}): sudo apt-get install python3-rpi-lgpio"
        ) from error
    except OSError as error:
        raise PanelError(
            f"GPIO needs a writable working folder for its pipe ({error}): set LG_WD to one"
        ) from error
    except Exception as error:
        raise PanelError(f'no GPIO on this machine ({error}): set panel.driver = "simulated"') from error
    else:
        return GPIO
    finally:
        os.chdir(home)  # lgpio moves to LG_WD when it is imported
