"""The host's end of the line to the hand inside the virtual Pi; see guest/usr/local/lib/vpi/agent.py."""

from __future__ import annotations

import base64
import itertools
import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_STEP_S = 0.05


class GuestError(Exception):
    """The guest does not answer, or could not do what it was asked; the text is one line."""


@dataclass(frozen=True)
class Done:
    """How a command in the guest ended: exit status, and both its streams as they came."""

    status: int
    raw: bytes

    @property
    def output(self) -> str:
        """What it wrote, as text."""
        return self.raw.decode(errors="replace")


class Agent:
    """Asks the guest. `path` is QEMU's socket; one client at a time is served, others wait for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._line: socket.socket | None = None
        self._heard = b""
        self._numbers = itertools.count(1)

    def close(self) -> None:
        """Hang up; safe to call twice, and the next question dials again."""
        if self._line is not None:
            self._line.close()
        self._line, self._heard = None, b""

    def ask(self, do: str, timeout_s: float = 30.0, **more: Any) -> dict[str, Any]:
        """Ask one thing and return the answer; the guest's clock is set by the way. Raises GuestError."""
        number = f"{os.getpid()}.{next(self._numbers)}"
        try:
            self._dial().sendall(
                json.dumps({"id": number, "do": do, "time": time.time(), **more}).encode() + b"\n"
            )
            answer = self._wait(number, time.monotonic() + timeout_s)
        except OSError as error:
            self.close()
            raise GuestError(f"the guest does not answer ({do}): {error}") from error
        if "error" in answer:
            raise GuestError(f"the guest could not {do}: {answer['error']}")
        return answer

    def begin(self, command: str, given: bytes = b"") -> Job:
        """Start a shell command in the guest, as root, and return at once."""
        return Job(self, self.ask("start", command=command, input=base64.b64encode(given).decode())["job"])

    def run(self, command: str, given: bytes = b"", timeout_s: float = 120.0) -> Done:
        """Run a shell command in the guest, as root, to its end."""
        return self.begin(command, given).wait(timeout_s)

    def watch(self, line: int, seconds: float) -> Job:
        """Take down a line's levels from now on."""
        return Job(self, self.ask("watch", line=line, seconds=seconds)["job"])

    def _dial(self) -> socket.socket:
        if self._line is None:
            self._line = socket.socket(socket.AF_UNIX)
            self._line.connect(str(self._path))
        return self._line

    def _wait(self, number: str, deadline: float) -> dict[str, Any]:
        line = self._dial()
        while True:
            *lines, self._heard = self._heard.split(b"\n")
            for text in lines:
                with suppress(ValueError):  # the tail of an answer to somebody who hung up
                    answer: dict[str, Any] = json.loads(text)
                    if answer.get("id") == number:
                        return answer
            line.settimeout(max(deadline - time.monotonic(), 0.001))
            data = line.recv(1 << 16)
            if not data:
                raise ConnectionError("it is off")
            self._heard += data


class Job:
    """Something that takes its time in the guest."""

    def __init__(self, agent: Agent, number: int) -> None:
        self._agent, self._number = agent, number

    def wait(self, timeout_s: float = 120.0) -> Done:
        """Return how the command ended. Raises GuestError."""
        found = self._end(timeout_s)
        return Done(found["status"], base64.b64decode(found["output"]))

    def levels(self, timeout_s: float = 120.0) -> list[tuple[float, int]]:
        """Return what was watched: (guest's monotonic seconds, level) at every change."""
        return [(at, level) for at, level in self._end(timeout_s)["levels"]]

    def _end(self, timeout_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while "running" in (found := self._agent.ask("job", job=self._number)):
            if time.monotonic() > deadline:
                raise GuestError(f"a command in the guest has not ended within {timeout_s:.0f} s")
            time.sleep(_STEP_S)
        return found
