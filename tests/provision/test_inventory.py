"""fleet.toml: what it resolves to, and what is said when it is wrong."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from provision import inventory
from provision.errors import InventoryError
from provision.inventory import Fleet, load, merge, render_config

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """
[fleet]
name = "house"
companion = "https://companion.example:8790"
bundle = "dist/pressel.tar.gz"

[defaults]
board = "i2s-mems-pair"
config = { talk = { mode = "push_to_talk", tail_ms = 100 } }

[groups.kitchen]
config = { talk = { tail_ms = 200 }, limits = { day_minutes = 60 } }

[groups.quiet]
board = "simulated"
"""
DEVICES = """
[devices.kitchen-1]
host = "192.168.1.20"
groups = ["kitchen", "quiet"]
claim = { file = "secrets/kitchen-1.claim" }

[devices.kitchen-2]
host = "192.168.1.21"
groups = ["kitchen"]
config = { talk = { tail_ms = 300 } }
ssh = { port = 2222 }

[devices.hall]
host = "hall.local"
"""


def read(folder: Path, text: str) -> Fleet:
    file = folder / "fleet.toml"
    file.write_text(text)
    return load(file)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return read(tmp_path, HEAD + DEVICES)


def test_later_layers_win_key_by_key(fleet: Fleet) -> None:
    one, two, hall = fleet.targets
    assert one.config["talk"] == {"mode": "push_to_talk", "tail_ms": 200}
    assert two.config["talk"]["tail_ms"] == 300
    assert two.config["limits"] == {"day_minutes": 60}
    assert "limits" not in hall.config
    assert [target.board for target in fleet.targets] == ["simulated", "i2s-mems-pair", "i2s-mems-pair"]
    assert hall.config["backend"]["url"] == "https://companion.example:8790"


def test_paths_begin_at_the_inventory_and_ssh_is_inherited(fleet: Fleet, tmp_path: Path) -> None:
    assert fleet.bundle == tmp_path / "dist/pressel.tar.gz"
    assert fleet.folder == tmp_path
    assert [target.ssh.port for target in fleet.targets] == [22, 2222, 22]
    assert fleet.targets[0].ssh.known_hosts_file == str(tmp_path / "known_hosts")
    assert fleet.targets[0].claim is not None
    assert fleet.targets[0].claim.file == str(tmp_path / "secrets/kitchen-1.claim")


@pytest.mark.parametrize(
    ("limit", "names"),
    [
        (None, ["kitchen-1", "kitchen-2", "hall"]),
        ("hall", ["hall"]),
        ("kitchen", ["kitchen-1", "kitchen-2"]),
        ("*-2, hall", ["kitchen-2", "hall"]),
        ("quiet,kitchen", ["kitchen-1", "kitchen-2"]),
    ],
)
def test_a_limit_picks_names_groups_and_globs(fleet: Fleet, limit: str | None, names: list[str]) -> None:
    assert [target.name for target in fleet.select(limit)] == names


def test_a_limit_that_picks_nothing_is_told_the_nearest_name(fleet: Fleet) -> None:
    with pytest.raises(InventoryError, match=r'no device or group "kitchn"; did you mean kitchen\?'):
        fleet.select("hall,kitchn")


@pytest.mark.parametrize("limit", ["", " ", ",", "hall,"])
def test_an_empty_limit_is_no_leave_to_take_all(fleet: Fleet, limit: str) -> None:
    with pytest.raises(InventoryError, match="--limit: an empty name"):
        fleet.select(limit)


def test_the_config_is_what_the_device_accepts_and_says_where_it_is_from(fleet: Fleet) -> None:
    text = render_config(fleet.targets[0])
    assert text.startswith("# Written by pressel-fleet for kitchen-1")
    assert tomllib.loads(text) == fleet.targets[0].config


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ('[devices.kitchen-1]\nhost = "a"', "Cannot declare"),
        ('[devices.x]\nhost = "hall.local"', "hall and x have the same host, hall.local port 22"),
        ('[devices.Kitchen]\nhost = "a"', 'devices."Kitchen": a name is a host name'),
        ('[devices.kitchen]\nhost = "a"', "is a device and a group"),
        ('[devices.x]\nhots = "a"', "unknown key devices.x.hots; did you mean host?"),
        ('[devices.x]\nhost = "a"\ngroups = ["kichen"]', 'no group "kichen"; did you mean kitchen?'),
        ('[devices.x]\nhost = "a"\nboard = "i2s-mem-pair"', "did you mean i2s-mems-pair?"),
        ('[devices.x]\nhost = "a"\nconfig = { talk = { mod = 1 } }', "x: config: unknown key talk.mod"),
        ('[devices.x]\nhost = "a"\nconfig = { talk = { tail_ms = "1" } }', "Expected `int`, got `str`"),
        ('[devices.x]\nhost = "a"\nconfig = { board = "simulated" }', "set `board` beside `config`"),
        ('[devices.x]\nhost = "a"\nclaim = "abc-secret"', "devices.x.claim must not stand in the inventory"),
        ('[devices.x]\nhost = "a"\nclaim = { }', "devices.x.claim: a secret is"),
        ('[devices.x]\nhost = "a"\nclaim = { fil = "b" }', "devices.x.claim: unknown key fil"),
        ('[devices.x]\nhost = "a"\nclaim = { file = "" }', "devices.x.claim.file"),
        ('[devices.x]\nhost = "a"\nclaim = { command = [""] }', "devices.x.claim.command[0]"),
        ('[devices.x]\nhost = "a"\nconfig = { talk = { mode = 2026-01-02 } }', "x: config: 2026-01-02 is no"),
        ("[devices.x]\nhost = 5", "devices.x.host: Expected `str`, got `int`"),
        ("[groups.x]\nboard = 5", "groups.x.board: Expected `str`, got `int`"),
        ("[groups]\nx = 5", "groups.x: Expected a table, got `int`"),
        ('[devices.x]\nhost = "a"\nclaim = { file = "secrets/kitchen-1.claim" }', "it serves once"),
        ('[devices.x]\nhost = "a"\nssh = { prot = 1 }', "unknown key devices.x.ssh.prot; did you mean port?"),
        ('[devices.x]\nhost = "a"\nssh = { port = 0 }', "devices.x.ssh.port"),
        ("[devices.x]", "devices.x.host is missing"),
        ("[flet]", "unknown key flet; did you mean fleet?"),
        ('[wifi]\nssid = "x"\ncountry = "DE"\npassword = "hunter22"', "wifi.password must not stand"),
    ],
)
def test_bad_input_is_one_line_with_file_and_key_and_no_secret(
    tmp_path: Path, more: str, complaint: str
) -> None:
    with pytest.raises(InventoryError) as raised:
        read(tmp_path, f"{HEAD}{DEVICES}\n{more}\n")
    said = str(raised.value)
    assert complaint in said
    assert said.startswith(f"{tmp_path}/fleet.toml: ")
    assert "\n" not in said
    assert "hunter22" not in said
    assert "abc-secret" not in said


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (HEAD, "no device: add [devices.NAME]"),
        ("", "fleet is missing"),
        (
            HEAD.replace("https://companion.example:8790", "companion") + DEVICES,
            "fleet.companion must be a URL",
        ),
        (HEAD.replace("https:", "http:") + DEVICES, "kitchen-1: config: backend.url"),
        (HEAD.replace('board = "i2s-mems-pair"', "") + DEVICES, "devices.kitchen-2: board is missing"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(InventoryError) as raised:
        read(tmp_path, text)
    assert complaint in str(raised.value)


def test_a_missing_file_is_told_the_option(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="--inventory FILE"):
        load(tmp_path / "none.toml")


def test_nothing_of_a_secret_is_in_a_repr(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/kitchen-1.claim").write_text("verysecret")
    assert fleet.targets[0].claim is not None
    assert fleet.targets[0].claim.read() == "verysecret"
    assert "verysecret" not in repr(fleet)


def test_merging_changes_neither_side() -> None:
    under, over = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 9}, "d": {"e": 4}}
    assert merge(under, over) == {"a": {"b": 9, "c": 2}, "d": {"e": 4}}
    assert under == {"a": {"b": 1, "c": 2}, "d": 3}
    assert inventory.merge(over, under)["d"] == 3
