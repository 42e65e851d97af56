"""Reads the privacy ledger, of a daemon that runs or of one that does not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from device.system.ledger import generations, read_now

if TYPE_CHECKING:
    from pathlib import Path

How = Literal["whole", "cut off", "under way"]


class Interval(msgspec.Struct, frozen=True):
    """Sound that left the device. Of one that was cut off, `ended`, `seconds` and `bytes` are the least.

    They are None when not even that is known: the power went.
    """

    id: str
    begun: datetime  # UTC
    why: str
    endpoint: str
    host: str
    how: How = "cut off"
    ended: datetime | None = None
    seconds: float | None = None
    bytes: int | None = None


class Note(msgspec.Struct, frozen=True):
    """A line about the device itself. `at`: UTC."""

    at: datetime
    note: str


class Account(msgspec.Struct, frozen=True):
    """What the ledger tells, oldest first; `broken` lines could not be read."""

    intervals: list[Interval]
    notes: list[Note]
    broken: int


def read_ledger(folder: Path, *, running: bool, since: datetime | None = None) -> Account:
    """Read every generation. `running`: whether a daemon has the folder; `since`: an aware time.

    Raises OSError when a file that is there cannot be read.
    """
    intervals: dict[str, Interval] = {}
    notes: list[Note] = []
    broken = 0
    lines = [line for path in generations(folder / "ledger.jsonl") for line in _lines(path)]
    for line in lines:
        fact = _fact(line)
        if isinstance(fact, Interval):
            _enter(intervals, fact)
        elif fact:
            notes.append(fact)
        else:
            broken += 1
    now = read_now(folder / "ledger.now")
    under_way = _interval(now, "under way" if running else "cut off") if now else None
    if under_way:
        _enter(intervals, under_way)
    first = since or datetime.min.replace(tzinfo=UTC)
    kept = sorted((one for one in intervals.values() if one.begun >= first), key=lambda one: one.begun)
    return Account(kept, [note for note in notes if note.at >= first], broken)


def _enter(intervals: dict[str, Interval], one: Interval) -> None:
    """Of several lines of one interval the one that says most counts."""
    known = intervals.get(one.id)
    if known is None or (known.how != "whole" and one.seconds is not None):
        intervals[one.id] = one


def _lines(path: Path) -> list[bytes]:
    try:
        return [line for line in path.read_bytes().split(b"\n") if line.strip()]
    except FileNotFoundError:
        return []


def _fact(line: bytes) -> Interval | Note | None:
    try:
        values = msgspec.json.decode(line, type=dict[str, Any])
        if "note" in values:
            return msgspec.convert(values, Note)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return _interval(values, "cut off" if "ended" not in values or values.get("cut_off") else "whole")


def _interval(values: dict[str, Any], how: How) -> Interval | None:
    try:
        return msgspec.convert({**values, "how": how}, Interval)
    except msgspec.ValidationError:
        return None
