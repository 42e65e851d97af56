"""Enrolment with both commands as processes: from a claim to a talk, refused when revoked, and back again."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from rig.processes import Companion
from tests.servers import serving, until
from tests.stage import Stage, notice, wav_stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def companion(tmp_path: Path) -> Iterator[Companion]:
    with Companion(tmp_path / "companion") as running:
        yield running


def desk(companion: Companion, *arguments: str) -> Any:
    """Run a command of the companion's and return what it prints."""
    command = [sys.executable, "-m", "companion", *arguments, "--config", str(companion.config), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def lay_claim(companion: Companion, folder: Path, *more: str) -> str:
    """Put a claim where an installer would put it; returns the claim."""
    state = folder / "device" / "device-state"
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    desk(companion, "claims", "new", "hall", "--out", str(state / "claim.json"), *more)
    claim: str = json.loads((state / "claim.json").read_text())["claim"]
    return claim


def stage(folder: Path, url: str) -> Any:
    return wav_stage(folder, None, backend=f'url = "{url}"')


def identity(one: Stage) -> dict[str, str] | None:
    found: dict[str, str] | None = one.device.ask("status")["identity"]
    return found


class Tap:
    """Hands requests on to the companion, and keeps what an eavesdropper would have of them."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[tuple[str, str, bytes]] = []  # path, Authorization, body


@contextmanager
def tap(companion: Companion) -> Iterator[Tap]:
    facts = Tap()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            shown = self.headers.get("Authorization", "")
            facts.seen.append((self.path, shown, body))
            answer = httpx.request(
                self.command, companion.url + self.path, content=body, headers={"Authorization": shown}
            )
            self.send_response(answer.status_code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST  # noqa: N815 - the name that the library calls

        def log_message(self, *args: Any) -> None:
            pass

    with serving(Handler) as facts.url:
        yield facts


def test_from_a_claim_to_a_talk_then_revoked_and_taken_back(tmp_path: Path, companion: Companion) -> None:
    claim = lay_claim(companion, tmp_path)
    with stage(tmp_path, companion.url) as one:
        until(lambda: identity(one), 10)
        (device,) = desk(companion, "devices", "list")["devices"]
        assert identity(one) == {"name": "hall", "device_id": device["device_id"]}
        state = one.device.state
        assert {path.name for path in state.glob("claim*")} == set()
        assert (state / "identity.key").stat().st_mode & 0o777 == 0o600
        assert "peter" in one.ask("my name is peter")[1]
        assert one.device.ask("check") == {"ok": True, "device": "hall"}
        desk(companion, "devices", "revoke", "hall")
        refused = one.device.ask("check")
        assert refused["ok"] is False
        assert "was revoked" in refused["error"]
        one.device.kill()
        one.device.start()
        with one.device.watch(20) as events:
            one.device.ask("press")
            line = notice(events, "revoked")
            one.device.ask("release")
        assert "pressel-companion claims new hall" in line
        second = lay_claim(companion, tmp_path)
        understood, heard = one.ask("what is my name")  # the running daemon takes it up
        assert "name" in understood.lower()
        assert "peter" in heard
        logs = one.device.log.read_text() + companion.log.read_text()
    for secret in (claim, second, "BEGIN PRIVATE KEY"):
        assert secret not in logs
    assert "Traceback" not in logs


def test_what_an_eavesdropper_has_is_of_no_use(tmp_path: Path, companion: Companion) -> None:
    lay_claim(companion, tmp_path)
    with tap(companion) as wire:
        claim_file = tmp_path / "device" / "device-state" / "claim.json"
        claim_file.write_text(json.dumps({**json.loads(claim_file.read_text()), "url": wire.url}))
        with stage(tmp_path, wire.url) as one:
            until(lambda: identity(one), 10)
            one.ask("my name is peter")
            assert one.device.ask("check")["ok"]
    paths = [path for path, _, _ in wire.seen]
    assert paths[0] == "/v1/enrol"
    assert {"/v1/sessions", "/v1/me"} <= set(paths)
    shown = [authorization for _, authorization, _ in wire.seen[1:]]
    assert len(set(shown)) == len(shown), "each request has its own"
    for path, authorization, body in wire.seen[1:]:
        for other in ("/v1/sessions", "/v1/me", path):
            method = "GET" if other == "/v1/me" else "POST"
            headers = {"Authorization": authorization}
            answer = httpx.request(method, companion.url + other, content=body, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "replayed")
    _, _, enrolment = wire.seen[0]
    again = httpx.post(f"{companion.url}/v1/enrol", content=enrolment)
    assert again.status_code == 200  # the answer names the device, and opens nothing
    assert set(again.json()) == {"device_id", "name", "audience"}


def test_a_device_that_starts_before_its_companion_enrols_when_it_is_there(
    tmp_path: Path, companion: Companion
) -> None:
    lay_claim(companion, tmp_path)
    companion.kill()
    with stage(tmp_path, companion.url) as one:
        fault = until(lambda: one.device.ask("status")["fault"], 15)
        assert "cannot be reached" in fault
        assert identity(one) is None
        companion.start()
        until(lambda: identity(one), 30)
        assert one.device.ask("check") == {"ok": True, "device": "hall"}
        until(lambda: one.device.ask("status")["fault"] is None)


def test_a_key_is_changed_in_the_middle_of_the_day(tmp_path: Path, companion: Companion) -> None:
    lay_claim(companion, tmp_path)
    with stage(tmp_path, companion.url) as one:
        until(lambda: identity(one), 10)
        before = (one.device.state / "identity.key").read_bytes()
        desk(companion, "devices", "rotate", "hall")
        assert "peter" in one.ask("my name is peter")[1]
        assert (one.device.state / "identity.key").read_bytes() != before
        assert desk(companion, "devices", "list")["devices"][0]["state"] == "active"


def test_the_same_claim_on_a_second_device_is_refused_with_the_mend(
    tmp_path: Path, companion: Companion
) -> None:
    claim = lay_claim(companion, tmp_path)
    second = tmp_path / "second" / "device" / "device-state"
    second.mkdir(parents=True)
    (second / "claim.json").write_text(json.dumps({"url": companion.url, "claim": claim}))
    with stage(tmp_path, companion.url) as one:
        until(lambda: identity(one), 10)
        with stage(tmp_path / "second", companion.url) as other:
            fault = until(lambda: other.device.ask("status")["fault"], 15)
            assert "was used already" in fault
            assert "pressel-companion claims new" in fault
            assert (second / "claim.json.refused").exists()
            assert identity(other) is None
        assert one.device.ask("check") == {"ok": True, "device": "hall"}


def test_by_hand_with_the_command(tmp_path: Path, companion: Companion) -> None:
    file = tmp_path / "hall.claim"
    desk(companion, "claims", "new", "hall", "--out", str(file))
    config = tmp_path / "config.toml"
    config.write_text(
        f'board = "simulated"\n[backend]\nurl = "{companion.url}"\n[state]\ndir = "{tmp_path}/state"\n'
        f'[audio]\ndriver = "wav"\n[audio.input]\ndevice = "i"\n[audio.output]\ndevice = "o"\n'
    )
    command = [sys.executable, "-m", "device.cli", "enroll", "--config", str(config)]
    done = subprocess.run([*command, "--claim-file", str(file), "--json"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (set(facts), facts["name"]) == ({"name", "device_id", "url"}, "hall")
    assert not file.exists()
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.stdout == f'this device is "hall" at {companion.url}\n'
    gone = subprocess.run([*command, "--claim-file", str(file)], capture_output=True, text=True, check=False)
    assert (gone.returncode, len(gone.stderr.splitlines())) == (78, 1)
    assert "cannot be read" in gone.stderr
