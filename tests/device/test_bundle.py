"""The bundle, with secrets planted wherever one may lie: unpacked and searched for each."""

from __future__ import annotations

import json
import stat
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from device import bundle
from device.bundle import pack
from device.errors import StateError
from device.system.control import ControlServer
from device.system.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "plantedPassword1"
QUERY = "plantedQuery22"
TOKEN = "plantedToken333 with spaces"
VARIABLE = "plantedVariable4"
SESSION = "sess_plantedSession5"
WORDS = "planted private words"
EVENT = "plantedEvent7777"
LOGGED = "plantedLogged888"
EARLIER = ("plantedEarlier_1", "x9q7z", "sess_plantedEarlier3", "0b3c8a4e-98f1-4c5e-9d43-6a1f0e2b7c55")
CLAIM, REFUSED = "plantedClaim9", "plantedRefused10"
KEY, NEXT_KEY = "plantedKey+abc/def/ghi=11", "plantedNextKey+abc/def/ghi=12"
SECRETS = (
    CLAIM,
    REFUSED,
    KEY,
    NEXT_KEY,
    PASSWORD,
    QUERY,
    TOKEN,
    VARIABLE,
    SESSION,
    WORDS,
    EVENT,
    LOGGED,
    *EARLIER,
    "plantedPrompt",
)

FILES = {
    *("README.txt", "config.json", "versions.json", "status.json"),
    *("events-now.json", "events.json", "events-before.json", "ledger.json"),
    *("log.txt", "cards.txt", "devices.json"),
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    file = tmp_path / "c.toml"
    file.write_text(
        'board = "simulated"\n'
        f'[backend]\nurl = "https://ada:{PASSWORD}@companion.example/base?key={QUERY}"\n'
        f'token_file = "{token}"\n'
        f'[session]\ninstructions = "plantedPrompt"\n[state]\ndir = "{tmp_path}/state"\n'
    )
    return file


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "sessions.json").write_text(
        json.dumps(
            {
                "version": 1,
                "sessions": {
                    "d/p": {"session_id": SESSION, "provider": "openai", "turns": [{"text": WORDS}]}
                },
            }
        )
    )
    ring = Recent(folder / "events.json")
    ring.note({"event": "transcript", "role": "user", "text": WORDS})
    ring.note({"event": "notice", "text": f"wss://host/?token={EVENT} refused; session {SESSION} of {TOKEN}"})
    for earlier in EARLIER:
        ring.note({"event": "session", "session_id": earlier, "endpoint": "default"})
        ring.note({"event": "notice", "level": "info", "text": f"session {earlier} is open (fresh)"})
        ring.note(
            {"event": "notice", "level": "warning", "text": f"{earlier[:3]}: lost {EARLIER[0]}, {EARLIER[2]}"}
        )
    ring.save("a fault")
    (folder / "claim.json").write_text(json.dumps({"url": "https://c.example", "claim": CLAIM}))
    (folder / "claim.json.refused").write_text(json.dumps({"url": "https://c.example", "claim": REFUSED}))
    for name, key in (("identity.key", KEY), ("identity.key.new", NEXT_KEY)):
        (folder / name).write_text(f"-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n")
    begun = {"id": "a", "begun": "2026-11-21T10:00:00Z", "why": "button", "endpoint": "e", "host": "h"}
    ended = {"ended": "2026-11-21T10:00:02Z", "seconds": 2.0, "bytes": 96_000}
    (folder / "ledger.jsonl").write_text(json.dumps({**begun, **ended}) + "\n")
    return folder


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journalctl that has logged what it should not."""
    program = tmp_path / "bin" / "journalctl"
    program.parent.mkdir()
    program.write_text(
        f"#!/bin/sh\necho 'claim {CLAIM}, {REFUSED} and {KEY}{NEXT_KEY}'\n"
        f"echo 'Authorization: Bearer {LOGGED}'\necho '{TOKEN} {VARIABLE} {PASSWORD} {SESSION}'\n"
        f"echo 'msg=\"session logonly_{EARLIER[1]} is open (live)\"'\n"
        f"echo 'msg=\"logonly_{EARLIER[1]} {EARLIER[2]} {EARLIER[3]} was refused\"'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("MY_API_KEY", VARIABLE)


@pytest.fixture
def running(state: Path) -> Iterator[None]:
    """A daemon's socket whose status holds a session id and a fault with a secret."""
    fault = f"https://ada:{PASSWORD}@companion.example refused {TOKEN}"
    status = {"ok": True, "state": "ready", "session": {"id": SESSION}, "fault": fault}
    events = {"ok": True, "events": [{"event": "session", "session_id": SESSION}, {"event": "of this run"}]}
    answers = {"status": status, "events": events}
    server = ControlServer(state / "control.sock", lambda request: answers[request["cmd"]])
    server.start()
    yield
    server.close()


def unpack(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        found = {}
        for entry in archive.getmembers():
            file = archive.extractfile(entry)
            assert file
            assert entry.mode == 0o600
            found[entry.name.removeprefix("pressel-bundle/")] = file.read().decode()
        return found


@pytest.mark.usefixtures("journal", "running")
def test_no_planted_secret_is_in_it_and_what_is_needed_is(config: Path, tmp_path: Path) -> None:
    out, said = tmp_path / "out.tar.gz", list[str]()
    names = pack(config, None, out, said.append)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    files = unpack(out)
    assert set(files) == set(names) == set(said) == FILES
    for secret in SECRETS:
        for name, text in files.items():
            assert secret not in text, f"{secret} is in {name}"
    settings = json.loads(files["config.json"])
    assert "companion.example" in settings["backend.url"]["value"]
    assert settings["talk.tail_ms"] == {"value": 250, "from": "default"}
    assert settings["session.instructions"]["value"] == "13 characters"
    assert json.loads(files["status.json"])["state"] == "ready"
    events = json.loads(files["events.json"])
    assert events["why"] == "a fault"
    assert events["events"][0]["characters"] == len(WORDS)
    assert {"event": "of this run"} in json.loads(files["events-now.json"])["events"]
    assert "session [removed] is open" in files["events.json"]
    assert "session [removed] is open" in files["log.txt"]
    assert json.loads(files["ledger.json"])["days"]["2026-11-21"]["seconds"] == 2.0
    versions = json.loads(files["versions.json"])
    assert {"pressel", "python", "kernel", "system", "board"} <= set(versions)
    assert "numpy" in versions["packages"]
    assert "Bearer [removed]" in files["log.txt"]


def test_a_device_that_cannot_even_read_its_configuration_is_reported(config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text() + "[broken\n")
    pack(config, None, tmp_path / "out.tar.gz", lambda _name: None)
    files = unpack(tmp_path / "out.tar.gz")
    assert "cannot be read" in json.loads(files["config.json"])["error"]
    assert not [secret for secret in SECRETS for text in files.values() if secret in text]


@pytest.mark.usefixtures("state")
def test_without_a_daemon_the_status_says_so(config: Path, tmp_path: Path) -> None:
    pack(config, None, tmp_path / "out.tar.gz", lambda _name: None)
    status = json.loads(unpack(tmp_path / "out.tar.gz")["status.json"])
    assert status["running"] is False
    assert "not running" in status["why"]
    assert "not running" in json.loads(unpack(tmp_path / "out.tar.gz")["events-now.json"])["why"]


def test_a_part_that_hangs_is_replaced_by_the_reason(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs() -> str:
        raise subprocess.TimeoutExpired("journalctl", 15)

    monkeypatch.setattr(bundle, "_log", hangs)
    pack(config, None, tmp_path / "out.tar.gz", lambda _name: None)
    assert unpack(tmp_path / "out.tar.gz")["log.txt"].startswith("not to be had: ")


def test_a_place_that_takes_no_file_is_one_line_and_leaves_nothing(config: Path, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="name another with --out"):
        pack(config, None, tmp_path / "none" / "out.tar.gz", lambda _name: None)
    (tmp_path / "folder").mkdir()
    with pytest.raises(StateError, match="cannot be written"):
        pack(config, None, tmp_path / "folder", lambda _name: None)
    assert not list(tmp_path.glob(".*tmp"))
