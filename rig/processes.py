"""The companion and the daemon as real processes on a folder of their own, ready when they say so."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from device.errors import StateError
from device.system.control_client import Watch, request, watch

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parent.parent
_PATIENCE_S = 30.0


class ProcessError(Exception):
    """A process that did not come up; the text is one line and holds the last line of its log."""


class Process(ABC):
    """One child with a log file. Use it as a context manager; it is gone afterwards, whatever happened."""

    def __init__(
        self, name: str, command: list[str], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name, self.log = name, log
        self._command = command
        self._env = {**(os.environ if env is None else env), "PYTHONUNBUFFERED": "1"}
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id. Raises ProcessError when it has not been started."""
        if self._child is None:
            raise ProcessError(f"{self.name} has not been started")
        return self._child.pid

    def start(self) -> None:
        """Start it and return once it is ready; the log is continued. Raises ProcessError."""
        with self.log.open("ab") as log:
            before = log.tell()
            self._child = subprocess.Popen(
                self._command, env=self._env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._wait_until_ready(before)
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout_s: float = 10.0) -> int | None:
        """Ask it to end and return its exit status; kills it when it does not. Safe to call twice."""
        child = self._child
        if child is None:
            return None
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
        return child.returncode

    def kill(self) -> None:
        """SIGKILL: no farewell, nothing saved."""
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(signal.SIGKILL)
            self._child.wait()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._child is not None and self._child.poll() is None

    def last_line(self) -> str:
        """Return the last line of its log, "" when there is none."""
        lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    @abstractmethod
    def ready(self, said: str) -> bool:
        """Tell whether it is ready; `said` is what this run has written to the log."""

    def _wait_until_ready(self, before: int) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            if self.ready(_tail(self.log, before)):
                return
            if not self.alive:
                raise ProcessError(f"{self.name} ended at once: {self.last_line() or 'without a word'}")
            time.sleep(0.02)
        raise ProcessError(f"{self.name} was not ready within {_PATIENCE_S:.0f} s: {self.last_line()}")


class Simulator(Process):
    """A realtime service's stand-in on a free port of loopback; `url` is known once it runs."""

    def __init__(self, folder: Path, service: str, *mistakes: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.url = ""
        memory = folder / f"{service}-memory"
        memory.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "companion.simulators", service, "--folder", str(memory)]
        command += ["--port", str(free_port())]  # the same one after a restart
        for mistake in mistakes:
            command += ["--mistake", mistake]
        super().__init__(f"the {service} simulator", command, folder / f"{service}.log")

    def ready(self, said: str) -> bool:
        """It is ready when it has printed its URL."""
        found = re.search(r"http://127\.0\.0\.1:\d+", said)
        self.url = found.group(0) if found else ""
        return bool(found)


class Companion(Process):
    """`pressel-companion serve` on a free port of loopback, one device enrolled.

    `url` is known once it runs; `token_file` holds the device's token. `tables` is TOML: the endpoint
    "default" and the providers' tables. `local` is TOML for `[providers.local]`, one `key = value` a line.
    """

    def __init__(
        self, folder: Path, local: str = "", tables: str = '[endpoints.default]\nprovider = "local"'
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = folder / "companion.toml"
        self.token_file = folder / "device-token"
        self.url = ""
        self.config.write_text(
            f'listen = "127.0.0.1:{free_port()}"\n'  # the same one after a restart
            'tokens_file = "tokens.json"\nstate_dir = "companion-state"\nmints_per_minute = 600\n\n'
            f"{tables}\n\n[providers.local]\n{local}\n"
        )
        command = [sys.executable, "-m", "companion", "serve", "--config", str(self.config)]
        super().__init__("the companion", command, folder / "companion.log")

    def start(self) -> None:
        """Enrol the device, once, and serve."""
        if not self.token_file.exists():
            self._enrol("demo-device")
        super().start()

    def ready(self, said: str) -> bool:
        """It is ready when it has printed its URL and takes a connection there."""
        found = re.search(r"http://127\.0\.0\.1:(\d+)", said)
        if not found:
            return False
        self.url = found.group(0)
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(found.group(1))), 1.0):
            return True
        return False

    def _enrol(self, name: str) -> None:
        command = [sys.executable, "-m", "companion", "token", "new", name, "--config", str(self.config)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        token = re.search(r"pressel_[\w-]+", done.stdout)
        if done.returncode or not token:
            why = (done.stderr.strip().splitlines() or ["it printed no token"])[-1]
            raise ProcessError(f"the companion enrols no device: {why}")
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(f"{token.group(0)}\n")


class Device(Process):
    """`pressel run` on the simulated board, talking to `companion`, or to what `backend` says (TOML).

    `audio` is TOML that goes below the board's values: sections such as `[audio.input]`. `env` is a virtual
    card's. `chaos`: faults on purpose, see device/chaos.py. `folder` must be short: a socket's path
    has at most 107 bytes.
    """

    def __init__(
        self,
        folder: Path,
        companion: Companion | None,
        audio: str = "",
        env: Mapping[str, str] | None = None,
        *,
        backend: str = "",
        chaos: str | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = folder / "device.toml"
        self.state = folder / "device-state"
        self.socket = self.state / "control.sock"
        self._companion = companion
        self._backend = backend
        self.audio = audio
        command = [sys.executable, "-m", "device.cli", "run", "--config", str(self.config)]
        command += ["--chaos", chaos] if chaos else []
        super().__init__("the daemon", command, folder / "device.log", env)

    @property
    def command(self) -> list[str]:
        """What a supervisor would start."""
        return list(self._command)

    def start(self) -> None:
        """Write the configuration and start; ready when the control socket answers."""
        self.prepare()
        super().start()

    def prepare(self) -> None:
        """Write the configuration and make the state folder."""
        backend = self._backend
        if self._companion:
            backend = f'url = "{self._companion.url}"\ntoken_file = "{self._companion.token_file}"\n{backend}'
        self.config.write_text(
            f'board = "simulated"\n\n[backend]\n{backend}\n\n[state]\ndir = "{self.state}"\n\n{self.audio}\n'
        )
        self.state.mkdir(mode=0o700, exist_ok=True)

    def ready(self, _said: str) -> bool:
        """It is ready when the control socket answers."""
        with contextlib.suppress(StateError):
            return bool(self.ask("status", timeout_s=2.0).get("ok"))
        return False

    def ask(
        self, command: str, timeout_s: float = 5.0, more: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Send one command, with `more` in it, to the control socket and return the answer; StateError."""
        return request(self.socket, {"cmd": command, **(more or {})}, timeout_s)

    def watch(self, timeout_s: float | None = None) -> Watch:
        """Return the stream of events from now on."""
        return watch(self.socket, timeout_s)


def wav_audio(microphone: Path, speaker: Path, rate_hz: int = 48_000) -> str:
    """Return the TOML for a device that has WAV files (mono, 16 bits) for a sound card."""
    return (
        f'[audio]\ndriver = "wav"\n'
        f'[audio.input]\ndevice = "{microphone}"\nformat = "s16"\n'
        f"rate_hz = {rate_hz}\nchannels = 1\nchannel = 0\n"
        f'[audio.output]\ndevice = "{speaker}"\nrate_hz = {rate_hz}\n'
    )


def free_port() -> int:
    """Return a port of loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _tail(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")
