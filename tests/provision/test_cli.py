"""The face of pressel-fleet: help, usage errors, exit status; a process of its own, as gevent patches it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from rig.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def fleet(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from provision.cli import main; sys.exit(main())"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("words", [[], ["plan"], ["apply"], ["status"], ["run"], ["media"]])
def test_help_has_examples(tmp_path: Path, words: list[str]) -> None:
    done = fleet(tmp_path, *words, "--help")
    assert done.returncode == 0
    assert "examples:\n  pressel-fleet " in done.stdout


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["plan"],
            "pressel-fleet: fleet.toml: there is no such file; name the inventory with --inventory FILE",
        ),
        (["aply"], "invalid choice: 'aply'"),
        (["plan", "--parallel", "0"], "0 is not a number from 1 to 200"),
        (["run"], "the following arguments are required: CMD"),
    ],
)
def test_wrong_usage_is_one_line_and_2(tmp_path: Path, words: list[str], complaint: str) -> None:
    done = fleet(tmp_path, *words)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_without_its_packages_it_says_what_to_install(tmp_path: Path) -> None:
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.modules['pyinfra'] = None; "
    program += "from provision.cli import main; sys.exit(main(['plan']))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "pressel-fleet: pyinfra is not installed: pip install 'pressel[fleet]'\n"


def test_a_device_that_is_not_there_is_one_line_and_1(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(
        '[fleet]\ncompanion = "https://companion.example"\n'
        '[devices.attic]\nhost = "127.0.0.1"\nboard = "i2s-mems-pair"\nssh = { port = 1 }\n'
    )
    done = fleet(tmp_path, "status")
    assert done.returncode == 1
    assert "cannot be reached at 127.0.0.1 port 1: connection refused" in done.stdout
    assert done.stderr == ""
