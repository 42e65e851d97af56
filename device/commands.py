"""What `pressel ctl` may ask of the daemon, and the answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from device.core import events as e

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.core.sessions import Turn

Answer = dict[str, Any]
SLOW = frozenset({"check"})
"""Of the commands, those that ask the network: `answer` waits."""
_LONGEST_TEXT = 2000
_EDGES = {
    "press": (("button", True),),
    "release": (("button", False),),
    "tap": (("button", True), ("button", False)),
    "wake": (("wake", True),),
}


class Controlled(Protocol):
    """The daemon, as a command sees it; all of it may be called from any thread."""

    def edge(self, line: str, active: bool, at: float) -> None: ...
    def post(self, event: e.Event) -> None: ...
    def stop(self) -> None: ...
    def status(self) -> Answer: ...
    def events(self) -> list[Answer]: ...
    def set_volume(self, percent: int) -> None: ...
    def check(self) -> Answer: ...
    @property
    def turns(self) -> tuple[Turn, ...]: ...


def answer(daemon: Controlled, request: Answer) -> Answer:
    """Carry out one request, `{"cmd": …}`, and return the answer; a bad one is told what is known."""
    name = request.get("cmd")
    if not isinstance(name, str) or name not in _COMMANDS:
        return {"ok": False, "error": f"unknown command {name!r}; known: {', '.join(sorted(_COMMANDS))}"}
    try:
        return {"ok": True, **(_COMMANDS[name](daemon, request) or {})}
    except ValueError as error:
        return {"ok": False, "error": str(error)}


def _panel(daemon: Controlled, request: Answer) -> None:
    for line, active in _EDGES[request["cmd"]]:
        daemon.edge(line, active, time.monotonic())


def _transcript(daemon: Controlled, _request: Answer) -> Answer:
    return {"turns": [{"role": turn.role, "text": turn.text} for turn in daemon.turns]}


def _volume(daemon: Controlled, request: Answer) -> Answer:
    value = request.get("value")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 100:
        raise ValueError("volume takes a whole number from 0 to 100")
    daemon.set_volume(value)
    return {"volume": value}


def _say(daemon: Controlled, request: Answer) -> None:
    text = request.get("text")
    if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST_TEXT:
        raise ValueError(f"say takes 1 to {_LONGEST_TEXT} characters of text")
    daemon.post(e.Typed(" ".join(text.split())))


_COMMANDS: dict[str, Callable[[Controlled, Answer], Answer | None]] = {
    **dict.fromkeys(_EDGES, _panel),
    "check": lambda daemon, _request: daemon.check(),
    "status": lambda daemon, _request: daemon.status(),
    "events": lambda daemon, _request: {"events": daemon.events()},
    "transcript": _transcript,
    "volume": _volume,
    "say": _say,
    "mute": lambda daemon, _request: daemon.post(e.MuteSet(on=True)),
    "unmute": lambda daemon, _request: daemon.post(e.MuteSet(on=False)),
    "forget": lambda daemon, _request: daemon.post(e.Forgotten()),
    "quit": lambda daemon, _request: daemon.stop(),
}
