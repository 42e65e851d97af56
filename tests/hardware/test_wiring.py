"""script/wiring: what it prints is current, what is stale is named, a new board is a folder and no Python."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from device.config import load
from device.errors import ConfigError
from rig.wiring import CONTACT

ROOT = Path(__file__).parents[2]
HARDWARE = ROOT / "hardware"


def wiring(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "script" / "wiring", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a hardware folder with one board, a copy of the default one under another name."""
    new = tmp_path / "hardware" / "my-board"
    shutil.copytree(HARDWARE / "i2s-mems-pair", new)
    board = new / "board.toml"
    board.write_text(board.read_text().replace('name = "i2s-mems-pair"', 'name = "my-board"'))
    shutil.copy(HARDWARE / "README.md", new.parent)
    return new.parent


def test_everything_that_is_printed_is_current() -> None:
    done = wiring("--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_wires_of_a_part_do_not_cross() -> None:
    for drawing in HARDWARE.glob("*/wiring.svg"):
        bends = re.findall(r'"wire" .*C\d+ (\d+) \d+ \d+ (\d+) (\d+)"', drawing.read_text())
        assert bends, drawing
        for one, other in itertools.pairwise(tuple(map(int, bend)) for bend in bends):
            same_part = other[1:] == (one[1], one[2] + CONTACT)
            assert not same_part or other[0] >= one[0], f"{drawing}: {one} and {other}"


def test_a_new_board_is_a_folder_and_no_python(folder: Path, tmp_path: Path) -> None:
    stale = wiring("--check", folder)
    assert stale.returncode == 1
    assert sorted(re.findall(r"(\S+) is not what", stale.stdout)) == sorted(
        str(folder / name) for name in ("README.md", "my-board/wiring.svg")
    )
    assert wiring(folder).returncode == 0
    assert wiring("--check", folder).returncode == 0
    assert "my-board: wires" in (folder / "my-board" / "wiring.svg").read_text()
    assert "| [my-board](my-board/wiring.md) |" in (folder / "README.md").read_text()
    owner = tmp_path / "config.toml"
    owner.write_text('[backend]\nurl = "https://companion.example"\n')
    assert load(owner, folder / "my-board" / "board.toml").config.name == "my-board"


def test_a_moved_wire_makes_drawing_and_page_stale_and_moves_in_both(folder: Path) -> None:
    wiring(folder)
    board = folder / "my-board" / "board.toml"
    text = board.read_text().replace("button = 23", "button = 22").replace('"one leg" = 16', '"one leg" = 15')
    board.write_text(text)
    stale = wiring("--check", folder)
    assert (stale.returncode, len(stale.stdout.splitlines())) == (1, 3)
    assert wiring(folder).returncode == 0
    page = (folder / "my-board" / "wiring.md").read_text()
    assert re.search(r"^\|.* \| one leg \| GPIO 22 \| 15 \|$", page, flags=re.MULTILINE)
    assert "GPIO 22 · button" in (folder / "my-board" / "wiring.svg").read_text()


def test_checking_writes_nothing(folder: Path) -> None:
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert wiring("--check", folder).returncode == 1
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        ("button = 23", "button = 19", "panel.button is GPIO 19, which is the I2S word clock"),
        ("button = 23", "button = 16", "panel.button is GPIO 16, which is the board's amplifier shutdown"),
        ("button = 23", "button = 22", 'one leg of "button" goes to GPIO 23, used by nothing'),
        ('"one leg" = 16', '"one leg" = 14', "no wire goes to GPIO 23"),
        ('buses = ["i2s"]', 'buses = ["i3s"]', "Invalid enum value 'i3s'"),
        ("[hat]", '[hat]\noverlay_source = "no.dts"', "hat.overlay_source no.dts is not in its folder"),
        ('name = "my-board"', 'name = "other"', 'call it as its folder, "my-board"'),
        ("[hat]", "[hut]", "unknown field `hut`"),
        ("[hat]", "[hat", "board.toml: "),
    ],
)
def test_a_wrong_board_is_told_in_one_line(folder: Path, was: str, becomes: str, told: str) -> None:
    board = folder / "my-board" / "board.toml"
    assert was in board.read_text()
    board.write_text(board.read_text().replace(was, becomes))
    done = wiring(folder)
    assert done.returncode == 1
    assert done.stderr.startswith(f"script/wiring: {board}: ")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_page_without_a_place_for_the_tables_is_told_what_to_put_there(folder: Path) -> None:
    (folder / "my-board" / "wiring.md").write_text("# my-board\n")
    done = wiring(folder)
    assert done.returncode == 1
    assert "wiring.md: put these two lines where the tables belong" in done.stderr


def test_the_daemon_refuses_the_same_board(folder: Path, tmp_path: Path) -> None:
    board = folder / "my-board" / "board.toml"
    board.write_text(board.read_text().replace("button = 23", "button = 21"))
    owner = tmp_path / "config.toml"
    owner.write_text('[backend]\nurl = "https://companion.example"\n')
    with pytest.raises(
        ConfigError, match=r'board "my-board": panel.button is GPIO 21, which is the I2S speaker'
    ):
        load(owner, board)


def test_a_folder_without_boards_and_an_unknown_option_are_refused(tmp_path: Path) -> None:
    assert (
        wiring(tmp_path).stderr == f"script/wiring: {tmp_path}: there is no folder with a board.toml in it\n"
    )
    assert wiring("--chekc").returncode == 2
