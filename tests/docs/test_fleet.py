"""The fleet's page: its inventories load, and pick what the page says."""

from __future__ import annotations

import re
from pathlib import Path

from provision.inventory import load

PAGE = Path(__file__).resolve().parents[2] / "docs" / "fleet.md"
ONE, FIFTY = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_inventory_of_one_device_is_whole(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(ONE)
    (kitchen,) = load(tmp_path / "fleet.toml").targets
    assert kitchen.claim
    assert kitchen.claim.file == str(tmp_path / "secrets/kitchen-1.claim")


def test_the_inventory_of_fifty_adds_to_it(tmp_path: Path) -> None:
    first, rest = FIFTY.split("\n\n", 1)
    sections = ONE.replace("[fleet]", first, 1).partition("[devices.")[0]
    (tmp_path / "fleet.toml").write_text(f"{sections}\n{rest}")
    fleet = load(tmp_path / "fleet.toml")
    assert (fleet.settings.name, fleet.settings.batch) == ("house", 5)
    assert [target.name for target in fleet.select("kitchen,hall-*")] == ["kitchen-1", "hall-1"]
    assert [target.board for target in fleet.targets] == ["usb-generic", "i2s-mems-pair"]
