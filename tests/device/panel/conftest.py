"""Panels with a finger on the button: the simulated one, and the real one in a process over the fake chip."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from device.panel.simulated import SimulatedPanel
from rig.gpio import chip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BUTTON, WAKE, LED = 23, 24, 25
PATIENCE_S = 4.0
CHILD = Path(__file__).with_name("gpio_child.py")

Edge = tuple[str, bool, float]


class GpioRig:
    """The GPIO panel in a child process."""

    def __init__(self, fake: chip.FakeChip, **options: Any) -> None:
        self.chip = fake
        self._child = subprocess.Popen(
            [sys.executable, CHILD, json.dumps({"button": BUTTON, "wake": WAKE, "led": LED} | options)],
            env=os.environ | fake.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._edges: queue.Queue[Edge] = queue.Queue()
        self._facts: queue.Queue[dict[str, Any]] = queue.Queue()
        self._log: list[str] = []
        self._readers = [threading.Thread(target=read) for read in (self._read_facts, self._read_log)]
        for reader in self._readers:
            reader.start()
        self.started = self._facts.get(timeout=PATIENCE_S)

    def press(self) -> None:
        self.chip.press(BUTTON)

    def release(self) -> None:
        self.chip.release(BUTTON)

    def wake(self) -> None:
        self.chip.drive(WAKE, 0)
        self.chip.drive(WAKE, 1)

    def order(self, text: str) -> None:
        """Send an order and wait until it has been carried out."""
        assert self._child.stdin is not None
        self._child.stdin.write(f"{text}\n")
        self._child.stdin.flush()
        assert self._facts.get(timeout=PATIENCE_S) == {"done": text.split(maxsplit=1)[0]}

    def show(self, pattern: str) -> None:
        self.order(f"show {pattern}")

    def close(self) -> None:
        self.order("close")

    def edge(self) -> Edge:
        try:
            return self._edges.get(timeout=PATIENCE_S)
        except queue.Empty:
            pytest.fail(f"no edge; the panel's log:\n{''.join(self._log)}")

    def no_more_edges(self) -> bool:
        return self._edges.empty()

    def end(self) -> str:
        """End the process and return its log."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait(PATIENCE_S)
        for reader in self._readers:
            reader.join(PATIENCE_S)
        for stream in (self._child.stdout, self._child.stderr):
            assert stream is not None
            stream.close()
        return "".join(self._log)

    def _read_facts(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            facts = json.loads(line)
            if "line" in facts:
                self._edges.put((facts["line"], facts["active"], facts["at"]))
            else:
                self._facts.put(facts)

    def _read_log(self) -> None:
        assert self._child.stderr is not None
        self._log.extend(self._child.stderr)


class SimulatedRig:
    """The simulated panel, in this process."""

    def __init__(self) -> None:
        self._panel = SimulatedPanel()
        self._edges: queue.Queue[Edge] = queue.Queue()
        self._panel.start(lambda line, active, at: self._edges.put((line, active, at)))
        self.press, self.release, self.wake = self._panel.press, self._panel.release, self._panel.wake
        self.show, self.close, self.end = self._panel.show, self._panel.close, self._panel.close
        self.no_more_edges = self._edges.empty

    def edge(self) -> Edge:
        return self._edges.get(timeout=PATIENCE_S)


@contextmanager
def gpio_rig(
    folder: Path, *, held: tuple[int, ...] = (), busy: tuple[int, ...] = (), **options: Any
) -> Iterator[GpioRig]:
    why = chip.missing()
    if why:
        pytest.skip(why)
    with chip.FakeChip(folder, held=held, busy=busy) as fake:
        rig = GpioRig(fake, **options)
        try:
            yield rig
        finally:
            rig.end()


@pytest.fixture
def make_rig(tmp_path: Path) -> Callable[..., Any]:
    """Return what starts a GPIO panel over a fake chip: `with make_rig(debounce_ms=…) as rig`."""
    return lambda **options: gpio_rig(tmp_path, **options)


@pytest.fixture(params=["simulated", "gpio edges", "gpio polling"])
def panel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GpioRig | SimulatedRig]:
    if request.param == "simulated":
        rig = SimulatedRig()
        yield rig
        rig.end()
        return
    with gpio_rig(tmp_path, edges=request.param == "gpio edges") as gpio:
        yield gpio


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """Return what waits for a fact and gives it back."""

    def wait(fact: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while not (found := fact()):
            assert time.monotonic() < deadline, "it did not happen"
            threading.Event().wait(0.005)
        return found

    return wait
