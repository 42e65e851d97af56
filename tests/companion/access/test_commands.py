"""The commands `claims` and `devices` as processes: what they print, write and refuse."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from companion.access.registry import Registry
from companion.wire import EnrolRequest
from tests.companion.access.signer import Signer
from tests.companion.talk import config_file
from tests.companion.test_cli import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path) -> str:
    return str(config_file(tmp_path, head='public_url = "https://companion.example"'))


def facts(*arguments: str) -> Any:
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def enrol(folder: Path, claim: str) -> None:
    registry = Registry(folder / "state")
    registry.enrol(msgspec.convert(Signer().enrolment(claim, time.time()), EnrolRequest), time.time())
    registry.close()


def test_from_a_claim_file_to_a_revoked_device(tmp_path: Path, config: str) -> None:
    out = tmp_path / "kitchen.claim"
    made = facts("claims", "new", "kitchen", "--out", str(out), "--hours", "1", "--config", config)
    assert (made["name"], made["file"], made["url"]) == ("kitchen", str(out), "https://companion.example")
    assert 3500 < made["expires_at"] - time.time() <= 3600
    assert out.stat().st_mode & 0o777 == 0o600
    content = json.loads(out.read_text())
    assert set(content) == {"url", "claim"}
    (listed,) = facts("claims", "list", "--config", config)["claims"]
    assert (listed["name"], listed["state"], listed["serial"]) == ("kitchen", "open", None)
    enrol(tmp_path, content["claim"])
    assert facts("claims", "list", "--config", config)["claims"][0]["state"] == "used"
    (device,) = facts("devices", "list", "--config", config)["devices"]
    assert (device["name"], device["state"], device["seen_at"]) == ("kitchen", "active", None)
    assert facts("devices", "rotate", "kitchen", "--config", config) == {"rotating": "kitchen"}
    assert facts("devices", "revoke", "kitchen", "--config", config) == {"revoked": "kitchen"}
    assert facts("devices", "list", "--config", config)["devices"][0]["state"] == "revoked"


def test_in_plain_words(tmp_path: Path, config: str) -> None:
    done = run("claims", "new", "kitchen", "--config", config)
    assert done.stdout.startswith("pressel_claim_")
    assert len(done.stdout.split()) == 1
    assert "Shown once" in done.stderr
    enrol(tmp_path, done.stdout.strip())
    assert "kitchen  used" in run("claims", "list", "--config", config).stdout
    table = run("devices", "list", "--config", config).stdout.splitlines()
    assert table[0].split("  ")[0] == "name"
    assert "kitchen  active  never      10000000abcdef01  Raspberry Pi 4" in table[1]
    assert run("devices", "revoke", "kitchen", "--config", config).stdout == "kitchen is revoked\n"
    for secret in (done.stdout.strip(), "dev_"):
        assert secret not in "\n".join(table)


def test_a_file_is_not_written_over_and_the_claim_is_not_spent_on_it(tmp_path: Path, config: str) -> None:
    out = tmp_path / "mine.claim"
    out.write_text("mine")
    new = ("claims", "new", "kitchen", "--config", config, "--out")
    assert "is there already" in run(*new, str(out)).stderr
    assert "there is no folder" in run(*new, str(tmp_path / "none" / "x")).stderr
    assert out.read_text() == "mine"
    assert facts("claims", "list", "--config", config) == {"claims": []}
    assert run(*new, str(out), "--replace").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["claims", "new", "a b"], 78, "1 to 64"),
        (["claims", "new", "x", "--hours", "0"], 2, "it takes more than 0 to 8760"),
        (["claims", "new", "x", "--hours", "soon"], 2, "soon: it takes more than 0 to 8760"),
        (
            ["claims", "new", "x", "--url", "companion.example"],
            78,
            '--url = "companion.example" is no address',
        ),
        (["claims", "new", "x", "--url", "https://a b"], 78, "is no address"),
        (["claims", "new", "x", "--serial", "a b"], 78, "serial number"),
        (["devices", "revoke", "x"], 78, 'no device "x" is enrolled; there are: none'),
        (["devices", "rotate", "x"], 78, 'no device "x"'),
    ],
)
def test_a_mistake_is_one_line(config: str, arguments: list[str], status: int, says: str) -> None:
    done = run(*arguments, "--config", config)
    assert done.returncode == status
    assert says in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_claim_file_needs_to_know_where_the_companion_is(tmp_path: Path) -> None:
    nowhere = str(config_file(tmp_path))
    new = ("claims", "new", "kitchen", "--config", nowhere)
    done = run(*new, "--out", str(tmp_path / "c"))
    assert (done.returncode, "set public_url, or add --url" in done.stderr) == (78, True)
    made = facts(*new, "--out", str(tmp_path / "c"), "--url", "https://c.example")
    assert made["url"] == "https://c.example"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://c.example", "the device destroys it."),
        ("http://127.0.0.1:8790", "Only this machine reaches that address"),
        ("http://192.0.2.1:8790", "It is not encrypted"),
    ],
)
def test_an_address_that_will_not_do_is_told(tmp_path: Path, config: str, url: str, says: str) -> None:
    done = run("claims", "new", "kitchen", "--out", str(tmp_path / "c"), "--url", url, "--config", config)
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1].endswith(says) or says in done.stderr.splitlines()[1]


def test_to_listen_everywhere_is_no_address(tmp_path: Path) -> None:
    file = config_file(tmp_path)
    file.write_text(file.read_text().replace("127.0.0.1:0", "0.0.0.0:8790"))
    done = run("claims", "new", "kitchen", "--out", str(tmp_path / "c"), "--config", str(file))
    assert (done.returncode, "set public_url" in done.stderr) == (78, True)


@pytest.mark.parametrize("arguments", [["claims"], ["claims", "new"], ["devices"], ["devices", "list"]])
def test_help_has_examples(arguments: list[str]) -> None:
    assert "examples:\n  pressel-companion claims new kitchen" in run(*arguments, "--help").stdout
