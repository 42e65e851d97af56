"""The ledger for people and for programs."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest

from device.errors import ConfigError, StateError
from device.ledger_table import account_of, facts, notice, table, totals

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def line(name: str, begun: str, **more: object) -> str:
    base = {"id": name, "begun": f"{begun}Z", "why": "button", "endpoint": "default", "host": "api.example"}
    return json.dumps({**base, **more})


def end(at: str, seconds: float) -> dict[str, object]:
    return {"ended": f"{at}Z", "seconds": seconds, "bytes": int(seconds * 48_000)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [
        line("a", "2026-11-21T02:00:00", **end("2026-11-21T02:00:02", 2.0)),
        line("b", "2026-11-21T15:00:00", **end("2026-11-21T15:00:03", 3.0)),
        line("c", "2026-11-21T16:00:00", why="silence while …", **end("2026-11-21T16:00:01", 1.0)),
        line("d", "2026-11-21T17:00:00", host="evil\x1b[2J", cut_off=True, **end("2026-11-21T17:00:01", 0.5)),
        line("e", "2026-11-21T18:00:00"),
        '{"at": "2026-11-21T18:30:00Z", "note": "debugging recording is on"}',
        "not a line",
    ]
    (tmp_path / "ledger.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_people_get_local_time_and_the_sum_of_each_day(folder: Path) -> None:
    account = account_of(folder)
    lines = table(account)
    assert lines[0] == "2026-11-20"
    assert lines[1].split()[:4] == ["21:00:00", "21:00:02", "2.00", "s"]
    assert lines[2].strip() == "1 time, 2.00 s, 96000 bytes"
    assert lines[4] == "2026-11-21"
    cut, unknown = lines[7], lines[8]
    assert "≥ 0.50 s" in cut
    assert "(cut off)" in cut
    assert "\x1b" not in cut
    assert "? s" in unknown
    assert (
        lines[9].strip() == "4 times, at least 4.50 s, 216000 bytes, 1.00 s of it silence made by the device"
    )
    assert lines[-1] == "2026-11-21 13:30:00  debugging recording is on"
    assert notice(account) == "1 lines of the ledger are broken and were passed over"


def test_programs_get_json_that_says_the_same(folder: Path) -> None:
    whole = json.loads(json.dumps(facts(account_of(folder))))
    assert [one["how"] for one in whole["intervals"]] == ["whole", "whole", "whole", "cut off", "cut off"]
    assert whole["days"]["2026-11-21"] == {"times": 4, "seconds": 4.5, "bytes": 216_000}
    assert whole["broken"] == 1


def test_since_is_a_local_date(folder: Path) -> None:
    assert list(totals(account_of(folder, "2026-11-21"))) == ["2026-11-21"]
    assert table(account_of(folder, "2026-11-22"))[0] == "no sound has left this device in that time"
    with pytest.raises(ConfigError, match="write it as 2026-01-31"):
        account_of(folder, "yesterday")


def test_a_ledger_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    os.mkdir(tmp_path / "ledger.jsonl")  # noqa: PTH102 # a folder in its place: root may read every file
    with pytest.raises(StateError, match="cannot be read"):
        account_of(tmp_path)
