"""The table of faults: every row names its tests, and they exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def _rows() -> list[list[str]]:
    """Return the rows of the tables that begin with "fault"."""
    text = (ROOT / "docs" / "faults.md").read_text()
    tables = re.findall(r"^\| fault \|.*\n\|[-|]+\n((?:\|.*\n?)*)", text, re.MULTILINE)
    lines = [line for table in tables for line in table.splitlines()]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_row_is_whole_and_names_a_test_that_exists() -> None:
    assert len(_rows()) > 80
    for row in _rows():
        assert len(row) == 4, row
        assert all(row), row
        tests = _TEST.findall(row[3])
        assert tests, f"untested: {row[0]}"
        for file, name in tests:
            assert f"def {name}(" in (ROOT / file).read_text(), f"{row[0]}: {file}::{name} is not there"
