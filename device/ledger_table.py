"""What `pressel ledger` prints: every interval in which sound left the device, and the sum of each day."""

from __future__ import annotations

from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from device.errors import ConfigError, StateError
from device.system.control_client import request
from device.system.ledger_reader import read_ledger
from device.system.redact import visible

if TYPE_CHECKING:
    from device.system.ledger_reader import Account, Interval

_SILENCE = "silence"


def account_of(folder: Path, since: str | None = None) -> Account:
    """Read the ledger in a state folder, from the local date or time `since` on.

    Raises ConfigError for what is no date, StateError for files that cannot be read.
    """
    try:
        first = datetime.fromisoformat(since).astimezone() if since else None
    except ValueError:
        raise ConfigError(f"--since {since!r} is no date: write it as 2026-01-31") from None
    try:
        return read_ledger(folder, running=_runs(folder), since=first)
    except OSError as error:
        why = error.strerror or str(error)
        raise StateError(f"the ledger in {folder} cannot be read ({why}): use sudo, or its owner") from None


def table(account: Account) -> list[str]:
    """Return the lines for people, in local time."""
    lines = []
    for day, of_day in groupby(account.intervals, key=lambda one: one.begun.astimezone().date()):
        intervals = list(of_day)
        lines += [str(day), *map(_row, intervals), _sum(intervals), ""]
    lines += [f"{note.at.astimezone():%Y-%m-%d %H:%M:%S}  {visible(note.note)}" for note in account.notes]
    if not account.intervals:
        lines.append("no sound has left this device in that time")
    return lines


def facts(account: Account) -> dict[str, Any]:
    """Return the same as JSON values, with the sum of each day (local dates)."""
    whole: dict[str, Any] = msgspec.to_builtins(account)
    return {**whole, "days": totals(account)}


def totals(account: Account) -> dict[str, dict[str, float]]:
    """Return times, seconds and bytes by local date; of cut off intervals the least."""
    days: dict[str, dict[str, float]] = {}
    for one in account.intervals:
        day = days.setdefault(str(one.begun.astimezone().date()), {"times": 0, "seconds": 0.0, "bytes": 0})
        day["times"] += 1
        day["seconds"] = round(day["seconds"] + (one.seconds or 0.0), 3)
        day["bytes"] += one.bytes or 0
    return days


def notice(account: Account) -> str | None:
    """Return a line about what could not be read."""
    return f"{account.broken} lines of the ledger are broken and were passed over" if account.broken else None


def _row(one: Interval) -> str:
    least = "" if one.how == "whole" else "≥ "
    ended = f"{one.ended.astimezone():%H:%M:%S}" if one.ended else "?"
    seconds = f"{least}{one.seconds:.2f} s" if one.seconds is not None else "? s"
    size = f"{least}{one.bytes} bytes" if one.bytes is not None else "? bytes"
    how = "" if one.how == "whole" else f"  ({one.how})"
    shown = f"{one.begun.astimezone():%H:%M:%S}  {ended:<8}  {seconds:>11}  {size:>16}"
    return f"  {shown}  {visible(f'{one.host} ({one.endpoint})')}  {visible(one.why)}{how}"


def _sum(intervals: list[Interval]) -> str:
    seconds = sum(one.seconds or 0.0 for one in intervals)
    size = sum(one.bytes or 0 for one in intervals)
    speech = sum(one.seconds or 0.0 for one in intervals if not one.why.startswith(_SILENCE))
    silent = "" if speech == seconds else f", {seconds - speech:.2f} s of it silence made by the device"
    least = "" if all(one.how == "whole" for one in intervals) else "at least "
    times = f"{len(intervals)} time{'' if len(intervals) == 1 else 's'}"
    return f"  {times}, {least}{seconds:.2f} s, {size} bytes{silent}"


def _runs(folder: Path) -> bool:
    try:
        return bool(request(Path(folder) / "control.sock", {"cmd": "status"}, timeout_s=2))
    except StateError:
        return False
