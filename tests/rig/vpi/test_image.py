from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from rig.vpi.image import stick

if TYPE_CHECKING:
    from pathlib import Path


def test_a_stick_holds_its_folder_and_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/note").write_text("hello\n")
    image = tmp_path / "stick.ext4"
    image.write_bytes(b"what was there before")
    stick(folder, image)
    read = subprocess.run(
        ["/sbin/debugfs", "-R", "cat /deep/note", str(image)], capture_output=True, text=True, check=True
    )
    assert read.stdout == "hello\n"
