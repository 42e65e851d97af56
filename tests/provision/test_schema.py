"""What msgspec has against an inventory, in the words of TOML; a wrong name is told the nearest right one."""

from __future__ import annotations

from typing import Any

import pytest

from provision.errors import InventoryError
from provision.schema import Device, convert, nearest, read

FLEET = {"companion": "https://companion.example:8790"}


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({}, "x.host is missing"),
        ({"host": 5}, "x.host: Expected `str`, got `int`"),
        ({"host": "a", "hots": "b"}, "x: unknown key hots"),
        ({"host": "a", "groups": [1]}, "x.groups[0]: Expected `str`, got `int`"),
        ({"host": "a", "ssh": "ops"}, "x.ssh: Expected a table, got `str`"),
        (5, "x: Expected a table, got `int`"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(values: Any, complaint: str) -> None:
    with pytest.raises(InventoryError) as raised:
        convert(values, Device, "x.")
    assert str(raised.value) == complaint


def test_a_whole_document_is_read_with_its_defaults() -> None:
    document = read({"fleet": FLEET, "devices": {"hall": {"host": "hall.local"}}})
    assert document.devices["hall"].host == "hall.local"
    assert (document.fleet.canary, document.fleet.batch, document.ssh.user) == (1, 5, "ops")


@pytest.mark.parametrize("section", [{"fleet": 5}, {"fleet": FLEET, "devices": {"hall": 5}}])
def test_a_section_that_is_no_table_is_refused(section: dict[str, Any]) -> None:
    with pytest.raises(InventoryError, match="Expected a table"):
        read(section)


def test_the_nearest_name_or_all_of_them() -> None:
    assert nearest("hots", ["host", "groups"]) == "did you mean host?"
    assert nearest("zzz", ["host", "groups"]) == "known: host, groups"
    assert nearest("zzz", []) == "known: none"
