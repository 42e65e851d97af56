"""Whatever comes in, a dialect raises nothing but ProtocolError, in one line, and goes on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device.core.events import Event
from device.core.grant import Grant
from device.dialects.dialect import Decoded, Dialect, ReplyAudio, Send
from device.errors import ProtocolError
from device.net.attempt import DIALECTS
from tests.device.dialects.replay import RECORDINGS, Frame, Line, frame_of, load, make, play

if TYPE_CHECKING:
    from collections.abc import Callable

often = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
_VALUES: list[Any] = [
    None, True, False, 0, -1, 7.5, 1e308, -(2**70), "", "x", "a\x00\u2028\ud7ff\x1b[31m", "%%%", "AAAA",
    "A" * 500,
    [], {}, [[]], [None], {"type": None}, {"id": [1]}, [{"type": "function_call"}],
]  # fmt: skip
_CALLS: list[tuple[str, list[Any]]] = [
    ("end_turn", []), ("request_reply", []), ("discard_turn", []), ("refuse_reply", ["r"]), ("ping", []),
    ("interrupt", ["i", 10]), ("interrupt", [None, 0]), ("refuse_tool", ["c"]), ("say", ["hello"]),
    ("opening", []), ("reopened", []), ("redial", [1006]), ("redial", [None]), ("closing", []),
]  # fmt: skip


def feed(dialect: Dialect, frame: Frame) -> None:
    """Decode a frame; all that may come of it is events, sound, frames, or one line."""
    found: list[Decoded] = []
    line = ""
    try:
        found = dialect.decode(frame)
    except ProtocolError as error:
        line = str(error)
    assert "\n" not in line
    assert len(line) < 700
    assert all(isinstance(one, Event | ReplyAudio | Send) for one in found)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value within a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, one in inner for path in places(one, (*at, key)))]


def changed(value: Any, path: tuple[Any, ...], new: Any, *, drop: bool) -> Any:
    """Return a JSON value with one of its values replaced, or left out."""
    if not path:
        return new
    key, *rest = path
    inner = changed(value[key], tuple(rest), new, drop=drop)
    if isinstance(value, list):
        return [inner if place == key else one for place, one in enumerate(value)]
    if drop and not rest:
        return {name: one for name, one in value.items() if name != key}
    return {**value, key: inner}


def parsed(frame: Frame) -> Any:
    """Return a text frame's JSON; None for what is none: recordings hold broken frames too."""
    try:
        return json.loads(frame) if isinstance(frame, str) else None
    except json.JSONDecodeError:
        return None


@st.composite
def damage(draw: Callable[..., Any], frame: Frame) -> Frame:
    """Draw a frame that is near to a real one."""
    message = parsed(frame)
    if draw(st.booleans()) and message is not None:
        path = draw(st.sampled_from(places(message)))
        return json.dumps(changed(message, path, draw(st.sampled_from(_VALUES)), drop=draw(st.booleans())))
    start = draw(st.integers(0, len(frame)))
    stop = draw(st.integers(start, min(len(frame), start + 20)))
    if isinstance(frame, str):
        text: str = draw(st.text(max_size=10))
        return frame[:start] + text + frame[stop:]
    more: bytes = draw(st.binary(max_size=10))
    return frame[:start] + more + frame[stop:]


@pytest.mark.parametrize("path", RECORDINGS, ids=[path.stem for path in RECORDINGS])
@often
@given(data=st.data())
def test_a_damaged_frame_in_a_conversation(path: Any, data: st.DataObject) -> None:
    head, steps = load(path)
    heard = [place for place, step in enumerate(steps) if "call" not in step]
    at = data.draw(st.sampled_from(heard))
    dialect = make(head)
    for step in steps[:at]:
        play(dialect, step)
    for _ in range(data.draw(st.integers(1, 3))):
        near = frame_of(steps[data.draw(st.sampled_from(heard))])
        feed(dialect, data.draw(damage(near)))
    call, given_args = data.draw(st.sampled_from(_CALLS))
    getattr(dialect, call)(*given_args)
    for step in steps[at:]:
        go_on(dialect, step)


def go_on(dialect: Dialect, step: Line) -> None:
    if "call" in step:
        play(dialect, step)
    else:
        feed(dialect, frame_of(step))


@pytest.mark.parametrize("name", DIALECTS)
@often
@given(frames=st.lists(st.one_of(st.text(max_size=300), st.binary(max_size=300)), max_size=5))
def test_any_frame_at_all(name: str, frames: list[Frame]) -> None:
    dialect = DIALECTS[name](1, Grant(name, "ws://x"), (), 0.0)  # type: ignore[arg-type]  # a key is a name
    dialect.opening()
    for frame in frames:
        feed(dialect, frame)
