"""The command as a process: its words, its exit status, its end, and what it never prints."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from companion.local.memory import Memory
from tests.companion.talk import WAIT_S, config_file, session, speech

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = [sys.executable, "-m", "companion"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=WAIT_S)


class Served:
    def __init__(self, process: subprocess.Popen[str], url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self.log = log


@contextlib.contextmanager
def served(folder: Path, *more: str) -> Iterator[Served]:
    log = folder / "log"
    arguments = [*COMMAND, "serve", "--config", str(config_file(folder)), "--json", *more]
    with (
        log.open("w") as err,
        subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=err, text=True) as process,
    ):
        try:
            assert process.stdout
            yield Served(process, json.loads(process.stdout.readline())["url"], log)
        finally:
            process.kill()


def grant(one: Served, token: str) -> dict[str, Any]:
    answer = httpx.post(f"{one.url}/v1/sessions", json={}, headers={"Authorization": f"Bearer {token}"})
    body: dict[str, Any] = answer.json()
    return body


def test_enrol_serve_and_end_in_time_without_a_secret_in_the_log(tmp_path: Path) -> None:
    token = json.loads(run("token", "new", "hall", "--config", str(config_file(tmp_path)), "--json").stdout)[
        "token"
    ]
    with served(tmp_path, "--port", "0") as one:
        granted = grant(one, token)
        with pytest.raises(InvalidStatus):
            connect(f"{one.url.replace('http', 'ws')}/v1/realtime?client_secret={granted['auth']['value']}")
        with session(granted) as client:
            one.process.send_signal(signal.SIGTERM)
            asked = time.monotonic()
            with pytest.raises(ConnectionClosed):
                client.socket.recv(timeout=WAIT_S)
            assert one.process.wait(WAIT_S) == 0
            assert time.monotonic() - asked < 10
        log = one.log.read_text()
    assert "hall: fresh session" in log
    for secret in (token, granted["auth"]["value"]):
        assert secret not in log
    assert "Traceback" not in log


def test_what_was_said_while_the_models_load_is_saved_when_the_command_ends(tmp_path: Path) -> None:
    token = json.loads(run("token", "new", "hall", "--config", str(config_file(tmp_path)), "--json").stdout)[
        "token"
    ]
    with served(tmp_path) as one:
        granted = grant(one, token)
        with session(granted) as client:
            client.append(speech("my name is peter"))
            client.send("input_audio_buffer.commit")
            committed = client.until("input_audio_buffer.committed")
            one.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed):
                client.until("never")
            assert one.process.wait(WAIT_S) == 0
        assert "Traceback" not in one.log.read_text()
    saved = Memory(tmp_path / "state" / "sessions").load(granted["session_id"], "hall")
    assert saved
    assert [item.id for item in saved.items] == [committed["item_id"]]


def test_it_serves_within_a_second_or_so_while_the_models_load(tmp_path: Path) -> None:
    begun = time.monotonic()
    with served(tmp_path) as one:
        assert httpx.get(f"{one.url}/v1/health").status_code == 200
        assert time.monotonic() - begun < 5
        assert "ready in" not in one.log.read_text()


def test_plain_words_without_json(tmp_path: Path) -> None:
    config = str(config_file(tmp_path))
    made = run("token", "new", "hall", "--config", config)
    assert made.stdout.startswith("pressel_")
    assert len(made.stdout.split()) == 1
    assert "only its hash is kept" in made.stderr
    assert run("token", "list", "--config", config).stdout == "hall\n"
    assert json.loads(run("token", "list", "--config", config, "--json").stdout) == {"devices": ["hall"]}
    assert run("token", "revoke", "hall", "--config", config).stdout == "hall is revoked\n"
    arguments = [*COMMAND, "serve", "--config", config]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("pressel-companion listens on http://127.0.0.1:")
        process.kill()


def test_the_configuration_of_the_folder_is_taken_where_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    gone = run("token", "new", "hall")
    assert gone.stderr == (
        "pressel-companion: cannot read companion.toml: there is no such file; name it with --config\n"
    )
    config_file(tmp_path)
    assert run("token", "new", "hall").returncode == 0
    assert (tmp_path / "tokens.json").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["serve", "--config", "gone.toml"], "cannot read gone.toml"),
        (["serve", "--config", "{config}", "--port", "70000"], "--port 70000"),
        (["serve", "--config", "{config}", "--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
        (["token", "new", "a b", "--config", "{config}"], '"a b"'),
        (["token", "revoke", "hall", "--config", "{config}"], 'no device "hall"'),
    ],
)
def test_a_configuration_that_cannot_be_used_ends_with_78(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    config = str(config_file(tmp_path))
    done = run(*(argument.format(config=config) for argument in arguments))
    assert done.returncode == 78
    assert done.stdout == ""
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [[], ["serve"], ["token", "new"]])
def test_help_has_examples(arguments: list[str]) -> None:
    done = run(*arguments, "--help")
    assert done.returncode == 0
    assert "examples:\n  pressel-companion token new kitchen" in done.stdout
