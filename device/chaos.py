"""Faults on purpose, at named points, by a seed: `pressel run --chaos SPEC`, for those who develop it.

SPEC is words with blanks between them:

    seed=N               the dice; the same seed and the same calls bring the same faults
    POINT=P[:S]          at each call of the point with probability P, lasting S seconds
    POINT@T[/E][:S]      T seconds after the start, and again every E seconds, lasting S seconds

Without S a freeze, a stall and what `mic` and `speaker` can have last for ever, the others for one call.
`POINTS` says which points there are; `thread.die:NAME` names its thread. Example:

    seed=7 mint.fail=0.2 link.cut@30/60 mic.gone@10:5 thread.die:sender@3
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import random
import re
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from device.errors import AudioError, BackendError, ConfigError, LinkError
from device.net.cancel import limited, within
from device.net.link import Link
from device.system.disk import Disk

if TYPE_CHECKING:
    from pathlib import Path

    from device.core.grant import Grant, GrantRequest
    from device.net.backend import Backend
    from device.net.link import Frame
    from device.ports import AudioInput, AudioOutput, Frames, Samples

log = logging.getLogger(__name__)

POINTS = {
    "mint.fail": "the backend gives no grant",
    "mint.stall": "the backend keeps the device waiting",
    "link.refuse": "the session's socket is refused",
    "link.cut": "the session's socket breaks",
    "link.stall": "what comes in from the session is held back",
    "capture.freeze": "a read of the microphone does not return",
    "playback.freeze": "a write to the speaker does not return",
    "main.freeze": "the main loop stands still; with @ only",
    "thread.die": "a bug ends the thread that is named; with @ only",
    "mic.gone": "the microphone is unplugged",
    "mic.zero": "the microphone gives nothing but zeros",
    "mic.stuck": "the microphone gives nothing but full scale",
    "speaker.gone": "the speaker is unplugged",
    "store.full": "the state folder has no room for the conversations; what else is kept there is",
    "store.readonly": "the state folder takes no conversations; what else is kept there it takes",
}
_BY_TIME_ONLY = ("main.freeze", "thread.die")
_BY_ITSELF = ("main.freeze", "thread.die", "link.cut")  # when its time comes, not at a call
_WORD = re.compile(
    r"(?P<point>[a-z]+\.[a-z]+)(?::(?P<target>[A-Za-z]+))?"
    r"(?:=(?P<chance>[\d.]+)|@(?P<at>[\d.]+)(?:/(?P<every>[\d.]+))?)(?::(?P<lasts>[\d.]+))?"
)
_FOR_EVER = re.compile(r".*\.(freeze|stall|gone|zero|stuck)")
_TICK_S = 0.02
_MINT_LIMIT_S = 15.0  # a device waits no longer for an answer


class ChaosError(Exception):
    """A bug on purpose; nobody catches it."""


@dataclass
class Fault:
    """One word of the SPEC. `due_s`: after the start, None when it goes by `chance`."""

    point: str
    target: str
    chance: float
    due_s: float | None
    every_s: float | None
    lasts_s: float
    dice: random.Random

    def strikes(self, elapsed_s: float) -> bool:
        """Tell whether it happens now."""
        if self.due_s is None:
            return self.dice.random() < self.chance
        if elapsed_s < self.due_s:
            return False
        self.due_s = self.due_s + self.every_s if self.every_s else float("inf")
        return True


def parse(spec: str) -> list[Fault]:
    """Read a SPEC. Raises ConfigError, which names the word and what is known."""
    words = spec.split()
    seeds = [word.removeprefix("seed=") for word in words if word.startswith("seed=")]
    if len(seeds) > 1 or not all(seed.isdecimal() for seed in seeds):
        raise ConfigError("--chaos takes one seed, a whole number: seed=7")
    rest = [word for word in words if not word.startswith("seed=")]
    if not rest:
        raise ConfigError(f"--chaos names no fault; known: {', '.join(POINTS)}")
    return [_fault(word, f"{seeds[0] if seeds else '0'}/{n}") for n, word in enumerate(rest)]


def _fault(word: str, seed: str) -> Fault:
    found = _WORD.fullmatch(word)
    if not found or found["point"] not in POINTS:
        raise ConfigError(
            f"--chaos {word}: write POINT=CHANCE[:SECONDS] or POINT@SECONDS[/EVERY][:SECONDS]; "
            f"known points: {', '.join(POINTS)}"
        )
    point = found["point"]
    if (point == "thread.die") != bool(found["target"]):
        raise ConfigError(f"--chaos {word}: thread.die, and it alone, names a thread: thread.die:capture@5")
    if point in _BY_TIME_ONLY and not found["at"]:
        raise ConfigError(f"--chaos {word}: {point} goes by time: {point}@5")
    try:
        numbers = {
            name: None if found[name] is None else float(found[name])
            for name in ("chance", "at", "every", "lasts")
        }
    except ValueError:
        raise ConfigError(f"--chaos {word}: a number is not one") from None
    if (numbers["chance"] or 0.0) > 1.0:
        raise ConfigError(f"--chaos {word}: a chance is from 0 to 1")
    without = float("inf") if _FOR_EVER.fullmatch(point) else 0.0
    return Fault(
        point,
        found["target"] or "",
        numbers["chance"] or 0.0,
        numbers["at"],
        numbers["every"] or None,
        without if numbers["lasts"] is None else numbers["lasts"],
        random.Random(seed),  # noqa: S311 # dice, not a secret
    )


class Chaos:
    """Wraps the ports' adapters and does what the SPEC says. Raises ConfigError on a bad SPEC."""

    def __init__(self, spec: str) -> None:
        self._spec = spec
        self._faults = parse(spec)
        self._began = time.monotonic()
        self._injected: Counter[str] = Counter()
        self._until: dict[str, float] = {}
        self._lock = threading.Lock()  # of the dice and the counts
        self._link: ChaoticLink | None = None

    def start(self) -> None:
        """Count the time from here on; from the main thread."""
        log.warning("chaos is on: %s", self._spec)
        self._began = time.monotonic()
        alone = [one for one in self._faults if one.point in _BY_ITSELF and one.due_s is not None]
        if not alone:
            return
        signal.signal(signal.SIGUSR2, lambda *_: self.freeze("main.freeze"))
        threading.Thread(target=self._strike_by_itself, args=(alone,), name="chaos", daemon=True).start()

    def status(self) -> dict[str, Any]:
        """Return the SPEC and how often each point struck."""
        with self._lock:
            return {"spec": self._spec, "injected": dict(self._injected)}

    # --- what is wrapped

    def microphone(self, source: AudioInput) -> AudioInput:
        """Wrap an open microphone."""
        return _Microphone(source, self)

    def speaker(self, sink: AudioOutput) -> AudioOutput:
        """Wrap an open speaker."""
        return _Speaker(sink, self)

    def backend(self, backend: Backend) -> Backend:
        """Wrap the source of grants."""
        return _Backend(backend, self)

    def disk(self) -> Disk:
        """Return the system calls of the store, with faults."""
        return _Disk(self)

    def open_link(self, grant: Grant) -> Link:
        """Open a session's socket. Raises LinkError."""
        if self.lasts("link.refuse"):
            raise LinkError("chaos refused the session")
        self._link = ChaoticLink(grant, self)
        return self._link

    # --- what the wrappers ask

    def strikes(self, point: str) -> bool:
        """Roll the dice of a point, once; a fault that lasts is remembered."""
        now = time.monotonic()
        struck = self._due([one for one in self._faults if one.point == point], now)
        if struck:
            self._until[point] = now + max(one.lasts_s for one in struck)
            self._note(struck[0])
        return bool(struck)

    def lasts(self, point: str) -> bool:
        """Tell whether a point's fault has struck, now or before, and is not over."""
        return self.strikes(point) or self.left_s(point) > 0

    def left_s(self, point: str) -> float:
        """How many seconds a point's fault still lasts; 0 or less when it is over."""
        return min(self._until.get(point, 0.0) - time.monotonic(), threading.TIMEOUT_MAX)

    def freeze(self, point: str) -> None:
        """Stand still until the fault of this point is over."""
        left_s = self.left_s(point)
        if left_s > 0:
            threading.Event().wait(left_s)

    def freezes(self, point: str) -> None:
        """Stand still if the fault of this point strikes."""
        if self.strikes(point):
            self.freeze(point)

    def _due(self, faults: list[Fault], now: float) -> list[Fault]:
        """Roll the dice of these; two threads never roll the same ones at once."""
        with self._lock:
            return [one for one in faults if one.strikes(now - self._began)]

    # --- what strikes by itself

    def _strike_by_itself(self, faults: list[Fault]) -> None:
        waiting: list[Fault] = []
        while True:
            threading.Event().wait(_TICK_S)
            waiting += self._due(faults, time.monotonic())
            waiting = [one for one in waiting if not self._act(one)]

    def _act(self, fault: Fault) -> bool:
        """Carry it out; False when there is nothing yet to carry it out on."""
        match fault.point:
            case "main.freeze":
                self._until["main.freeze"] = time.monotonic() + fault.lasts_s
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)
                self._note(fault)
            case "link.cut":
                if self._link is None:
                    return False
                self._note(fault)
                self._link.close(0)
                self._link = None
            case "thread.die":
                return self._kill(fault)
        return True

    def _kill(self, fault: Fault) -> bool:
        """Raise ChaosError in a thread, at its next step. Source: PyThreadState_SetAsyncExc of the C API."""
        for thread in threading.enumerate():
            name = "main" if thread is threading.main_thread() else thread.name
            if name == fault.target or name.startswith(f"{fault.target}-"):
                self._note(fault)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(thread.ident or 0), ctypes.py_object(ChaosError)
                )
                return True
        return False

    def _note(self, fault: Fault) -> None:
        name = f"{fault.point}:{fault.target}" if fault.target else fault.point
        with self._lock:
            self._injected[name] += 1
        lasting = f" for {fault.lasts_s:g} s" if 0 < fault.lasts_s < float("inf") else ""
        log.warning("chaos: %s%s: %s", name, lasting, POINTS[fault.point])


class _Microphone:
    def __init__(self, source: AudioInput, chaos: Chaos) -> None:
        self.rate, self.channels = source.rate, source.channels
        self._source, self._chaos = source, chaos

    def read(self, frames: int) -> Frames:
        self._chaos.freezes("capture.freeze")
        if self._chaos.lasts("mic.gone"):
            raise AudioError("chaos unplugged the microphone")
        block = self._source.read(frames)
        if self._chaos.lasts("mic.zero"):
            return np.zeros_like(block)
        if self._chaos.lasts("mic.stuck"):
            return np.full_like(block, np.iinfo(block.dtype).max)
        return block

    @property
    def latency_s(self) -> float:
        return self._source.latency_s

    @property
    def overruns(self) -> int:
        return self._source.overruns

    def close(self) -> None:
        self._source.close()


class _Speaker:
    def __init__(self, sink: AudioOutput, chaos: Chaos) -> None:
        self.rate, self.block = sink.rate, sink.block
        self._sink, self._chaos = sink, chaos

    def write(self, samples: Samples) -> None:
        self._strike()
        self._sink.write(samples)

    def rest(self) -> bool:
        self._strike()
        return self._sink.rest()

    def _strike(self) -> None:
        self._chaos.freezes("playback.freeze")
        if self._chaos.lasts("speaker.gone"):
            raise AudioError("chaos unplugged the speaker")

    @property
    def pending(self) -> int:
        return self._sink.pending

    @property
    def underruns(self) -> int:
        return self._sink.underruns

    def close(self) -> None:
        self._sink.close()


class _Backend:
    def __init__(self, backend: Backend, chaos: Chaos) -> None:
        self._backend, self._chaos = backend, chaos

    def mint(self, request: GrantRequest, now: float) -> Grant:
        if self._chaos.lasts("mint.stall"):
            self._wait(self._chaos.left_s("mint.stall"))
        if self._chaos.lasts("mint.fail"):
            raise BackendError("chaos gave no grant")
        return self._backend.mint(request, now)

    @staticmethod
    def _wait(stall_s: float) -> None:
        """Wait as for an answer: it can be cancelled, and has its limit."""
        limit_s, over = within(_MINT_LIMIT_S), threading.Event()
        try:
            limited(lambda: over.wait(stall_s), limit_s, over.set)
        except TimeoutError:
            raise BackendError(f"chaos kept the answer back for {limit_s:g} s") from None


class _Disk(Disk):
    def __init__(self, chaos: Chaos) -> None:
        self._chaos = chaos

    def create(self, path: Path) -> int:
        if self._chaos.lasts("store.readonly"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return super().create(path)

    def write(self, fd: int, data: bytes) -> int:
        if self._chaos.lasts("store.full"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(fd, data)


class ChaoticLink(Link):
    """A session's socket that breaks and stalls."""

    def __init__(self, grant: Grant, chaos: Chaos) -> None:
        self._chaos = chaos
        super().__init__(grant)

    def send(self, frame: Frame) -> None:
        """Queue a frame; it may be the last."""
        if self._chaos.strikes("link.cut"):
            self.close(0)
        super().send(frame)

    def receive(self, deadline: float | None = None) -> Frame | None:
        """Block for the next frame; it may be the last."""
        if self._chaos.strikes("link.cut"):
            self.close(0)
        return super().receive(deadline)

    def _arrived(self, wait_s: float) -> bool:
        """Hold back what has come while a stall lasts; the link's own limits go on."""
        if self._closing or self._failure or not self._chaos.lasts("link.stall"):
            return super()._arrived(wait_s)
        threading.Event().wait(min(wait_s, _TICK_S))
        return False
