"""Whatever goes wrong with a connection is one line with the mend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from paramiko import ChannelException
from pyinfra.api.exceptions import ConnectError, PyinfraError

from provision.fleet.explain import explain, why_silent
from provision.fleet.facts import NO_SUDO
from tests.provision.targets import target

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("error", "complaint"),
    [
        (ConnectError("Could not resolve hostname (x)"), "cannot be reached at h port 22: "),
        (
            ConnectError("Authentication error (username=ops)"),
            "ops is not let in at h port 22: put the key's",
        ),
        (ConnectError("SSH host key error (Host key for h does not match.)"), "-R 'h'"),
        (PyinfraError("Private key file (k) is encrypted, set x"), "has a passphrase: load it with ssh-add"),
        (OSError("odd"), "odd (h port 22)"),
        (EOFError(), "the SSH connection broke"),
        (ChannelException(2, "Connect failed"), "lets ops in and opens no session"),
        (ConnectError("Unable to establish SFTP connection."), "takes no files"),
    ],
)
def test_an_error_is_a_line_that_says_what_to_do(tmp_path: Path, error: Exception, complaint: str) -> None:
    said = explain(target(tmp_path), error)
    assert complaint in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ([], "runs no commands"),
        (["This account is not available."], "runs no commands"),
        (["here", NO_SUDO], "ops may not use sudo without a password"),
        (["here"], "did not say its state within"),
    ],
)
def test_why_a_connected_device_does_not_say_its_state(said: list[str], complaint: str) -> None:
    assert complaint in why_silent(lambda _command: said, "ops")


def test_a_device_that_answers_nothing_is_not_waited_for() -> None:
    def ask(_command: str) -> list[str]:
        raise TimeoutError

    assert why_silent(ask, "ops") == "it lets ops in and answers nothing"


def test_the_systems_own_words_are_taken_from_below(tmp_path: Path) -> None:
    refused = ConnectError("Could not connect ([Errno None] Unable to connect)")
    refused.__context__ = ConnectionRefusedError(111, "Connection refused")
    assert explain(target(tmp_path), refused).endswith("connection refused")
