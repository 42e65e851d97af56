"""Tables for people, JSON for machines, plain lines where there is no terminal."""

from __future__ import annotations

import json

import pytest

from provision.fleet.report import Outcome, Progress, show, summary

GOOD = Outcome("hall", "unchanged", "2.0")
BAD = Outcome("attic", "unreachable", detail="cannot be reached: " + "far away " * 30)


def test_the_table_keeps_a_long_reason_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert show([GOOD, BAD], as_json=False, fleet="house") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["device", "result", "version"]
    assert lines[2].startswith("attic   unreachable")
    assert lines[2].count("far away") == 30
    assert lines[3] == "1 unchanged, 1 unreachable"


def test_json_is_one_line_with_all_facts(capsys: pytest.CaptureFixture[str]) -> None:
    assert show([GOOD], as_json=True, fleet="house", release="2.0") == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    report = json.loads(out)
    assert (report["fleet"], report["ok"], report["release"]) == ("house", True, "2.0")
    assert report["devices"][0]["result"] == "unchanged"


def test_brackets_in_a_reason_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    show([Outcome("hall", "failed", detail="[Errno 2] [bold]x")], as_json=False, fleet="house")
    assert "[Errno 2] [bold]x" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("outcomes", "text"),
    [
        ([GOOD], "nothing to change on 1 device"),
        ([GOOD, GOOD], "nothing to change on 2 devices"),
        ([Outcome("a", "changed"), GOOD, Outcome("b", "changed")], "2 changed, 1 unchanged"),
    ],
)
def test_that_nothing_changed_is_said(outcomes: list[Outcome], text: str) -> None:
    assert summary(outcomes) == text


def test_progress_without_a_terminal_is_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(1) as progress:
        progress.begin("hall", 2)
        progress.step("hall", "send b.tar.gz (40 MB)")
        progress.end(Outcome("hall", "failed", detail="[x] no room"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "hall: send b.tar.gz (40 MB)\nhall: failed: [x] no room\n"
