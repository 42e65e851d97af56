"""The wheel as it is installed on a Pi: with the boards, and runnable without the checkout."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_an_installed_pressel_knows_the_boards_by_name(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    config = tmp_path / "config.toml"
    config.write_text('board = "i2s-mems-pair"\n[backend]\nurl = "https://companion.example"\n')
    start = f"import sys; sys.path.insert(0, {str(site)!r}); "
    code = start + "from device.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-P", "-c", code, "config", "--config", str(config), "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    device = json.loads(done.stdout)["audio.input.device"]
    assert device["value"] == "sndrpigooglevoi"
    assert Path(device["from"]).is_relative_to(site)
