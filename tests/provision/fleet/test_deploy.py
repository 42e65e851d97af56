"""The script that a device runs, and how its words are read."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from provision.fleet.deploy import exit_status, failure, gate_script, install_script, reasons, room_script
from provision.fleet.planning import Plan
from tests.provision.targets import target

if TYPE_CHECKING:
    from pathlib import Path


def plan(folder: Path) -> Plan:
    return Plan(
        target(folder), "1.0", ("update 1.0 to 2.0",), files={"config.toml": "", "claim.json": "secret"}
    )


def test_the_script_names_files_and_never_their_content(tmp_path: Path) -> None:
    script = install_script(plan(tmp_path), "b.tar.gz", "/var/cache/run", 60)
    assert "--config /var/cache/run/config.toml --claim /var/cache/run/claim.json" in script
    assert "--token-file" not in script
    assert "board=i2s-mems-pair" in script
    assert "--gate 60" in script
    assert "secret" not in script
    assert subprocess.run(["sh", "-n", "-c", script], check=False).returncode == 0


def test_the_folder_of_a_run_is_the_logins_alone() -> None:
    script = room_script("/var/cache/pressel-fleet/run-1", "b.tar.gz")
    assert "install -d -m 700" in script
    assert subprocess.run(["sh", "-n", "-c", script], check=False).returncode == 0


def test_a_gate_has_at_least_a_second() -> None:
    assert gate_script(0).endswith("gate --seconds 1")


def test_the_gates_words_are_told_and_what_happened_then() -> None:
    lines = [
        "changed release 2.0",
        "gate: 4 s",
        "the companion: unauthorized",
        "changed current is release 1.0",
    ]
    lines += ["exit 3", "install.sh: release 2.0 failed its gate: 1.0 runs again"]
    assert reasons(lines) == ["the companion: unauthorized", "release 2.0 failed its gate: 1.0 runs again"]


@pytest.mark.parametrize(
    ("lines", "result", "detail"),
    [
        (["gate: 4 s", "deaf", "exit 3", "install.sh: back"], "rolled back", "deaf; back"),
        (["exit 4", "install.sh: no room"], "failed", "install: no room"),
        ([], "failed", "install: it gave no reason, or took too long"),
        (["sudo: unable to resolve host x"], "failed", "install: it gave no reason, or took too long"),
    ],
)
def test_a_failure_is_one_line(tmp_path: Path, lines: list[str], result: str, detail: str) -> None:
    outcome = failure(plan(tmp_path), "install", lines)
    assert (outcome.result, outcome.detail, outcome.version) == (result, detail, "1.0")


def test_no_exit_line_means_that_it_never_ended() -> None:
    assert exit_status(["exit 3"]) == 3
    assert exit_status(["exit strategy", "changed x"]) is None
