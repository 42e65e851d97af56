"""The guide to a first box: its files and commands, as they stand there, up to a card that is written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.provision import cards

PAGE = Path(__file__).resolve().parents[2] / "docs" / "build-one.md"
_BLOCK = re.compile(r"^```(sh|toml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_NOT_HERE = ("script/setup", "script/bundle", "pressel-companion serve")  # these have tests of their own


def _script(boot: Path) -> str:
    """Return the page's blocks as one script; a TOML block goes to the file that the page names for it."""
    files, lines = iter(("companion.toml", "fleet.toml")), ["set -eu"]
    for kind, text in _BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if kind == "toml":
            lines.append(f"cat > {next(files)} <<'EOF'\n{text}EOF")
        else:
            lines += [line for line in text.splitlines() if not any(word in line for word in _NOT_HERE)]
    return "\n".join(lines).replace('"/media/$USER/bootfs"', f"'{boot}'") + "\n"


def test_from_the_companion_to_a_card(tmp_path: Path) -> None:
    boot = cards.trixie(tmp_path / "bootfs")
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/id_ed25519.pub").write_text(f"{cards.KEY}\n")
    (tmp_path / "home/dist").mkdir(parents=True)
    cards.bundle(tmp_path / "home/dist/pressel-0.1.0-aarch64.tar.gz", version="0.1.0")
    (tmp_path / "script").write_text(_script(boot).replace("mkdir ~/home", "mkdir -p ~/home"))
    environment = {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", tmp_path / "script"],
        input=f"{cards.PASSPHRASE}\n",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("10 changes") == 2  # what would be written, then what was
    told = json.loads((boot / "pressel/claim.json").read_text())
    assert told["url"] == "http://192.168.1.10:8790"
    assert told["claim"].startswith("pressel_claim_")
    assert '"hostname": "kitchen-1"' in (boot / "user-data").read_text()
    assert cards.PASSPHRASE not in done.stdout + done.stderr
