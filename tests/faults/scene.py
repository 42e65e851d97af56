"""A device with a saboteur inside, a quick realtime server, and what one does with them."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from rig.realtime import RATE, RealtimeServer, realtime_server
from rig.supervisor import Run, Supervisor
from tests.servers import until
from tests.stage import CARD_HZ, WavDevice, samples

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

GPIO = '[panel]\ndriver = "gpio"\nbutton = 23\nled = 25\n'
BUTTON = 23
_TONE_SHARE = float(
    1 / (1 - 2 / np.pi * np.arcsin(1000 / 8000))
)  # samples of a tone near zero are not counted


def tone(seconds: float, rate: int) -> NDArray[np.int16]:
    return (8000 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.int16)


class Scene:
    """One device on one server; it is a process of its own, or a supervisor's."""

    def __init__(
        self, device: WavDevice, server: RealtimeServer, supervisor: Supervisor | None = None
    ) -> None:
        self.device, self.server, self.supervisor = device, server, supervisor
        self.orders = device.folder / "sabotage"

    @property
    def pid(self) -> int:
        if self.supervisor and self.supervisor.run:
            return self.supervisor.run.pid
        return self.device.pid

    def status(self) -> dict[str, Any]:
        return self.device.ask("status")

    def reach(self, *states: str, seconds: float = 20) -> None:
        until(lambda: self.status()["state"] in states, seconds)

    def speak(self, seconds: float = 0.4) -> None:
        """Press, say a tone, release once it has been captured."""
        before = self.status()["counters"]["frames_captured"]
        self.device.ask("press")
        self.say(seconds)
        until(lambda: self.status()["counters"]["frames_captured"] > before + seconds * 50 + 2, 20)
        self.device.ask("release")

    def say(self, seconds: float) -> None:
        """Have a tone come to the microphone."""
        with self.device.microphone.open("ab") as file:
            file.write(tone(seconds, CARD_HZ).tobytes())

    def answered(self) -> bool:
        """One press, one answer: hold a turn and tell whether exactly one reply came."""
        before = self.status()["counters"]["replies"]
        self.speak()
        until(lambda: self.status()["counters"]["replies"] > before, 20)
        self.reach("ready")
        return bool(self.status()["counters"]["replies"] == before + 1)

    def strike(self, order: str) -> None:
        """Have the saboteur do it; see his page for what he can do."""
        self.orders.write_text(order)
        os.kill(self.pid, signal.SIGUSR1)

    def freeze(self, part: str) -> None:
        """Have a part freeze, and return once it has."""
        self.strike(f"freeze {part}")
        until(self.orders.with_suffix(".stuck").exists, 10)

    def threads(self) -> list[str]:
        """Return the names of the device's threads."""
        names = self.device.folder / "threads"
        names.unlink(missing_ok=True)
        self.strike(f"list {names}")
        until(lambda: names.exists() and names.read_text())
        return names.read_text().split("\n")

    def said(self) -> str:
        """Return all that the device has logged."""
        return self.device.log.read_text()

    def life(self, number: int) -> Run:
        """Wait for the n-th life under the supervisor to be ready."""
        supervisor = self.supervisor
        assert supervisor
        until(lambda: len(supervisor.runs) > number and supervisor.runs[number].ready_at, 30)
        return supervisor.runs[number]

    def ended(self, number: int) -> Run:
        """Wait for the n-th life under the supervisor to be over."""
        run = self.life(number)
        until(lambda: run.status is not None, 30)
        return run

    def end(self, seconds: float = 20) -> tuple[int, float]:
        """Send SIGTERM; returns the exit status and how many seconds it took."""
        child = self.device._child
        assert child
        began = time.monotonic()
        child.terminate()
        return child.wait(seconds), time.monotonic() - began

    def heard_s(self) -> float:
        """Return how many seconds of the reply's tone the speaker has played."""
        loud = int((np.abs(samples(self.device.speaker)) > 1000).sum())
        return loud / CARD_HZ * _TONE_SHARE

    def stored(self) -> dict[str, Any]:
        """Return the one conversation that is on disk."""
        sessions = json.loads((self.device.state / "sessions.json").read_text())["sessions"]
        (session,) = sessions.values()
        return dict(session)


@contextmanager
def scene(folder: Path, *, reply_s: float = 0.4, more: str = "", start: bool = True) -> Iterator[Scene]:
    """A device as a process."""
    with realtime_server(tone(reply_s, RATE)) as server:
        device = _device(folder, server, more)
        try:
            if start:
                device.start()
            yield Scene(device, server)
        finally:
            device.kill()


@contextmanager
def supervised(
    folder: Path,
    *,
    watchdog_s: float | None = 10.0,
    more: str = "",
    env: Mapping[str, str] | None = None,
) -> Iterator[Scene]:
    """A device that is started, watched and started again as systemd would."""
    with realtime_server(tone(0.4, RATE)) as server:
        device = _device(folder, server, more)
        device.prepare()
        env = {**device._env, **(env or {})}
        with Supervisor(device.command, device.log, watchdog_s=watchdog_s, env=env) as supervisor:
            one = Scene(device, server, supervisor)
            one.life(0)
            yield one


def _device(folder: Path, server: RealtimeServer, more: str) -> WavDevice:
    backend = f'kind = "token"\nurl = "{server.url}"\nrealtime_url = "{server.realtime_url}"\nmodel = "m"'
    device = WavDevice(folder, None, more, backend)
    device._command[device._command.index("device.cli")] = "tests.faults.saboteur"
    device._env["SABOTAGE"] = str(device.folder / "sabotage")
    return device
