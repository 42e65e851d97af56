"""The demo on the terminal: a live view on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from demo.journal import Event

_COLOURS = {
    "idle": "bright_black",
    "connecting": "yellow",
    "retrying": "red",
    "ready": "green",
    "listening": "bright_blue",
    "awaiting": "magenta",
    "speaking": "dark_orange",
    "no daemon": "bold red",
}
_KEPT = 14  # lines of talk


class Screen(Protocol):
    """Shows events as they come, and the steps of the demo."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""

    def step(self, text: str) -> None:
        """The demo goes on to its next step."""

    def show(self, event: Event) -> None:
        """Something happened; called in any thread."""


class LiveScreen:
    """State, both transcripts, latencies and a bar of the steps, redrawn in place."""

    def __init__(self, steps: int, console: Console | None = None) -> None:
        self._began = time.monotonic()
        self._steps, self._done, self._now = steps, 0, "starting"
        self._state, self._rung = "no daemon", ""
        self._talk: deque[Text] = deque(maxlen=_KEPT)
        self._latencies: dict[str, float] = {}
        console = console or Console(stderr=True)
        self._live = Live(get_renderable=self._draw, console=console, refresh_per_second=10, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def step(self, text: str) -> None:
        """Move the bar on."""
        self._done += 1
        self._now = text

    def show(self, event: Event) -> None:
        """Take what is worth showing."""
        kind = event["event"]
        if kind == "state":
            self._state = event["state"]
        elif kind in ("kill", "start"):
            self._state = "no daemon" if kind == "kill" else "idle"
        elif kind == "session":
            self._rung = event["rung"]
        elif kind == "turn":
            self._latencies = event["latencies"]
        line = line_of(event)
        if line:
            self._talk.append(_coloured(event, f"{event['t'] - self._began:6.1f}  {line}"))

    def _draw(self) -> Group:
        head = Text.assemble(
            (" Pressel ", "reverse bold"),
            "  state ",
            (f" {self._state} ", f"bold {_COLOURS.get(self._state, '')} reverse"),
            f"   session {self._rung or '-'}",
        )
        bar = Table.grid(padding=(0, 1))
        steps = ProgressBar(total=self._steps, completed=min(self._done, self._steps), width=30)
        bar.add_row(steps, f"{min(self._done, self._steps)}/{self._steps}", Text(self._now, style="bold"))
        return Group(
            head, Text(), *self._talk, Text(), Text(_latency_line(self._latencies), style="cyan"), bar
        )


class PlainScreen:
    """One line an event, for logs and pipes."""

    def __init__(self, write: Any = None) -> None:
        self._began = time.monotonic()
        self._write = write or _to_stderr

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def step(self, text: str) -> None:
        """Print the step."""
        self._write(f"--> {text}")

    def show(self, event: Event) -> None:
        """Print what is worth a line."""
        line = line_of(event)
        if event["event"] == "turn":
            line = _latency_line(event["latencies"])
        elif event["event"] == "state":
            line = f"state {event['state']}"
        if line:
            self._write(f"{event['t'] - self._began:6.1f}  {line}")


def make_screen(steps: int) -> Screen:
    """Return the live view on a terminal, plain lines elsewhere; on stderr, as stdout is for the result."""
    return LiveScreen(steps) if sys.stderr.isatty() else PlainScreen()


def line_of(event: Event) -> str:
    """Return an event as one line of talk, "" for what is not worth one."""
    match event["event"]:
        case "transcript" if event["final"]:
            return f"{'you' if event['role'] == 'user' else 'pressel':>8}: {event['text']}"
        case "press" | "release" | "kill" | "start" as kind:
            return {
                "press": "  button: down",
                "release": "  button: up",
                "kill": "   demo: SIGKILL to the daemon",
                "start": "   demo: the daemon is ready",
            }[kind]
        case "interrupted":
            return f"   demo: interrupted, {event['heard_ms'] / 1000:.1f} s of the reply were heard"
        case "session":
            return f" session: {event['rung']} ({event['provider']})"
        case "notice":
            return f"  {event['level']}: {event['text']}"
        case _:
            return ""


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"{text}\n")  # in one piece: two threads write
    sys.stderr.flush()


def _coloured(event: Event, line: str) -> Text:
    if event["event"] == "transcript":
        return Text(line, style="bright_blue" if event["role"] == "user" else "dark_orange")
    if event["event"] in ("kill", "interrupted") or event.get("level") in ("warning", "error"):
        return Text(line, style="bold red")
    return Text(line, style="bright_black")


def _latency_line(latencies: dict[str, float]) -> str:
    if not latencies:
        return "latencies: none yet"
    words = {name.removesuffix("_ms").replace("_", " "): value for name, value in latencies.items()}
    return "latencies: " + ", ".join(f"{name} {value:.0f} ms" for name, value in words.items())
