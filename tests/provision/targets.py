"""What the tests of the fleet share: one target of an inventory, and text as facts carry it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from provision.inventory import load

if TYPE_CHECKING:
    from pathlib import Path

    from provision.inventory import Target

URL = "https://companion.example:8790"


def target(folder: Path, kept: str = 'claim = { file = "claim.json" }', host: str = "h") -> Target:
    (folder / "fleet.toml").write_text(
        f'[fleet]\ncompanion = "{URL}"\n[devices.hall]\nhost = "{host}"\nboard = "i2s-mems-pair"\n{kept}\n'
    )
    return load(folder / "fleet.toml").targets[0]


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
