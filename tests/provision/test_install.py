"""install.sh's command line; what it does to a machine is tried in tests/appliance/test_install.py."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INSTALLER = ROOT / "provision/install.sh"


def _run(*options: str, user: str | None = None) -> subprocess.CompletedProcess[str]:
    # As text, so that a user who may not look into this folder can run it too.
    command = ["bash", "-c", INSTALLER.read_text(), "install.sh", *options]
    return subprocess.run(command, cwd="/", user=user, capture_output=True, text=True, check=False)


def test_help_has_examples_and_every_exit_status() -> None:
    done = _run("--help")
    assert done.returncode == 0
    for word in ("examples:", "--board i2s-mems-pair", "exit status:", "3 the new release failed its gate"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--bord", "x"), "unknown option --bord"),
        (("--board",), "--board needs a value"),
        (("--gate", "soon"), '--gate takes whole seconds, not "soon"'),
    ],
)
def test_a_slip_on_the_command_line(options: tuple[str, ...], said: str) -> None:
    done = _run(*options)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr


@pytest.mark.parametrize("action", [(), ("--status",), ("--uninstall", "--purge"), ("--rollback",)])
def test_only_root_may(action: tuple[str, ...]) -> None:
    done = _run(*action, user="nobody" if os.geteuid() == 0 else None)
    assert done.returncode == 4
    assert done.stderr.startswith("install.sh: this must be run by root: sudo")


def test_every_option_of_the_code_is_in_the_help() -> None:
    said = _run("--help").stdout
    for option in ("--board", "--config", "--claim", "--token-file", "--gate", "--dry-run", "--no-start"):
        assert option in said
    for option in ("--no-packages", "--json", "--purge", "--rollback", "--uninstall", "--status", "--reset"):
        assert option in said
