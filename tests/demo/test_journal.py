"""The journal writes every event down and waits for facts with a limit."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from demo.journal import DemoError, Journal, is_kind, is_state, read_events

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_noted_can_be_read_and_was_shown(tmp_path: Path) -> None:
    shown: list[str] = []
    journal = Journal(tmp_path / "e.jsonl", lambda event: shown.append(event["event"]))
    journal.note("press")
    journal.take({"event": "state", "t": 0.5, "state": "ready", "from": "idle"})
    journal.close()
    journal.note("late")
    assert shown == ["press", "state"]
    assert [event["event"] for event in read_events(tmp_path / "e.jsonl")] == ["state", "press"]


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").write_text('{"event": "press", "t": 1}\n{"event": "rel')
    assert [event["event"] for event in read_events(tmp_path / "e.jsonl")] == ["press"]


def test_waiting_finds_what_comes_in_another_thread(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "e.jsonl", lambda _: None)
    old = {"event": "state", "t": 0.0, "state": "ready"}
    journal.take(old)
    here = journal.mark()
    new = {"event": "state", "t": 9.0, "state": "ready"}
    thread = threading.Thread(target=journal.follow, args=([new],))
    thread.start()
    assert journal.wait("ready", is_state("ready"), here) is new
    journal.wait("the end", is_kind("gone"), here)
    thread.join()
    journal.close()


def test_waiting_in_vain_is_one_plain_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "e.jsonl", lambda _: None)
    with pytest.raises(DemoError, match=r"^waited 0 s for a reply in vain$"):
        journal.wait("a reply", is_state("speaking"), 0, within_s=0.01)
    journal.close()


def test_staying_away_ends_early_when_it_comes(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "e.jsonl", lambda _: None)
    assert journal.stays_away(is_kind("press"), 0, time.monotonic() + 0.01)
    journal.note("press")
    began = time.monotonic()
    assert not journal.stays_away(is_kind("press"), 0, began + 60)
    assert time.monotonic() - began < 30
    journal.close()
