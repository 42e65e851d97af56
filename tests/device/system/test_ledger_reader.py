"""Reading the ledger: what it tells of lines that are missing, broken or older than asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from device.system.ledger_reader import read_ledger

if TYPE_CHECKING:
    from pathlib import Path

BEGUN = '{"id":"%s","begun":"2026-11-%02dT10:00:00.000Z","why":"button","endpoint":"e","host":"h"%s}\n'
END = ',"ended":"2026-11-21T10:00:05.000Z","seconds":5.0,"bytes":240000'


def test_no_ledger_is_an_empty_one(tmp_path: Path) -> None:
    account = read_ledger(tmp_path, running=False)
    assert (account.intervals, account.notes, account.broken) == ([], [], 0)


def test_an_interval_without_an_end_was_cut_off_and_is_not_guessed_at(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_text(BEGUN % ("a", 21, ""))
    [interval] = read_ledger(tmp_path, running=True).intervals
    assert (interval.how, interval.seconds, interval.ended) == ("cut off", None, None)


def test_an_end_tells_all_when_the_beginning_has_gone_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_text(BEGUN % ("a", 21, END))
    [interval] = read_ledger(tmp_path, running=False).intervals
    assert (interval.how, interval.seconds, interval.bytes) == ("whole", 5.0, 240_000)


def test_what_is_older_than_asked_for_is_left_out_across_generations(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl.1").write_text(BEGUN % ("a", 19, END))
    (tmp_path / "ledger.jsonl").write_text(BEGUN % ("b", 20, END))
    since = datetime(2026, 11, 20, tzinfo=UTC)
    assert [one.id for one in read_ledger(tmp_path, running=False, since=since).intervals] == ["b"]
    assert [one.id for one in read_ledger(tmp_path, running=False).intervals] == ["a", "b"]


def test_lines_that_make_no_sense_are_counted_and_passed_over(tmp_path: Path) -> None:
    lines = ["\0\0\0\0", "[]", '{"id":1}', '{"note":1,"at":"x"}', "\xff"]
    (tmp_path / "ledger.jsonl").write_bytes(
        "\n".join(lines).encode("latin-1") + b"\n" + (BEGUN % ("a", 21, END)).encode()
    )
    account = read_ledger(tmp_path, running=False)
    assert account.broken == 5
    assert len(account.intervals) == 1
