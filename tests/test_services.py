"""Every service's protocol from button to speaker: the spoken conversation against its simulator."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from rig.processes import ROOT
from rig.services import SERVICES

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("provider", [name for name in SERVICES if name != "local"])
def test_the_conversation_is_held_and_goes_on_after_a_kill(tmp_path: Path, provider: str) -> None:
    command = [sys.executable, "-m", "device.cli", "demo", "--provider", provider, "--wav", "--json"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    facts = json.loads(done.stdout)
    said = " ".join(line["text"].lower() for line in facts["transcript"] if line["role"] == "assistant")
    assert "peter" in said
    assert facts["rungs"][-1] == SERVICES[provider].after_restart
