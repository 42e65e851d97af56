"""Devices that cannot be asked have a reason and no plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision.fleet.survey import survey
from provision.release import Release
from rig.processes import free_port
from tests.provision.targets import target

if TYPE_CHECKING:
    from pathlib import Path


def test_a_device_that_is_not_there_has_a_reason_and_no_plan(tmp_path: Path) -> None:
    hall = target(tmp_path, f"ssh = {{ port = {free_port()} }}", host="127.0.0.1")
    plans, failures = survey([hall], Release(tmp_path / "b.tar.gz", "2.0", "aarch64"), 1)
    assert plans == []
    assert failures["hall"].endswith("connection refused")
