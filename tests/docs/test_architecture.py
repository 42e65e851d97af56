"""The page says what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_state_diagram_is_the_table_s() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "script" / "diagram", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
