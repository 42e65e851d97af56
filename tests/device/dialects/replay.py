"""Recorded conversations, played through a dialect without a socket.

A recording is JSON lines. First `{"grant": {...}, "turns": [...]}`; then what happened, one step a line:
`{"in": "a text frame"}`, `{"in_b64": "a binary frame"}` or `{"call": "end_turn", "args": []}` (bytes as
`{"b64": ".."}`); after each step that has an effect `{"out": ["what the dialect made of it", ..]}`.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from device.core.grant import Grant
from device.core.sessions import Turn
from device.dialects.dialect import Dialect, ReplyAudio, Send
from device.errors import ProtocolError
from device.net.attempt import DIALECTS

if TYPE_CHECKING:
    from collections.abc import Iterable

RECORDINGS = sorted((Path(__file__).parent / "fixtures").glob("*.jsonl"))
Line = dict[str, Any]
Frame = str | bytes

_LONGEST = 300


def load(path: Path) -> tuple[Line, list[Line]]:
    """Return a recording's first line and its steps, each with its "out"."""
    head, *rest = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    steps: list[Line] = []
    for line in rest:
        if "out" in line:
            steps[-1]["out"] = line["out"]
        else:
            steps.append({**line, "out": []})
    return head, steps


def dump(path: Path, head: Line, steps: Iterable[Line]) -> None:
    """Write a recording; what the dialect makes of each step is found by playing it."""
    lines, dialect = [head], make(head)
    for step in steps:
        lines.append({key: value for key, value in step.items() if key != "out"})
        out = play(dialect, step)
        lines += [{"out": out}] if out else []
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def make(head: Line) -> Dialect:
    """Return the dialect of a recording, as at its beginning."""
    grant = msgspec.convert(head["grant"], Grant)
    turns = msgspec.convert(head.get("turns", []), tuple[Turn, ...])
    return DIALECTS[grant.dialect](1, grant, turns, 0.0)


def play(dialect: Dialect, step: Line) -> list[str]:
    """Play one step and return what came of it."""
    if "call" in step:
        answer = getattr(dialect, step["call"])(*map(_argument, step.get("args", [])))
        return [describe(one) for one in answer] if isinstance(answer, list) else [describe(answer)]
    try:
        return [describe(one) for one in dialect.decode(frame_of(step))]
    except ProtocolError as error:
        return [f"ProtocolError: {error}"]


def frame_of(step: Line) -> Frame:
    """Return the frame that came in."""
    return step["in"] if "in" in step else base64.b64decode(step["in_b64"])


def step_of(frame: Frame) -> Line:
    """Return the step of a frame that came in."""
    return {"in": frame} if isinstance(frame, str) else {"in_b64": base64.b64encode(frame).decode()}


def describe(one: Any) -> str:
    """Return one thing that a dialect gave, as a short string."""
    match one:
        case Send(frame):
            return f"send {describe(frame)}"
        case ReplyAudio(reply, item, sound, mime):
            return f"sound {len(sound)} bytes of {item} in {reply}{f' as {mime}' if mime else ''}"
        case str() if len(one) > _LONGEST:
            return f"{one[:_LONGEST]}… ({len(one)} characters)"
        case bytes():
            return f"{len(one)} bytes {one[:8].hex()}"
        case str():
            return one
    return repr(one)


def _argument(given: Any) -> Any:
    return base64.b64decode(given["b64"]) if isinstance(given, dict) else given
