"""What the installer takes from the wheel: boards, mixers, config.txt."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from provision import kit

ROOT = Path(__file__).resolve().parents[2]
BOARDS = sorted(path.parent.name for path in (ROOT / "hardware").glob("*/board.toml"))


@pytest.mark.parametrize("board", BOARDS)
def test_every_board_can_be_unpacked(board: str, tmp_path: Path) -> None:
    kit.unpack(board, tmp_path)
    assert (tmp_path / "board.toml").read_bytes() == (ROOT / "hardware" / board / "board.toml").read_bytes()
    assert subprocess.run(["sh", "-n", tmp_path / "mixer"], check=False).returncode == 0


def test_a_board_of_one_s_own_is_a_folder(tmp_path: Path) -> None:
    own, to = tmp_path / "mine", tmp_path / "to"
    own.mkdir()
    to.mkdir()
    text = """name = "mine"
[audio.output]
device = "my card"
[hat]
config_txt = ["dtparam=spi=on", "dtoverlay=mine"]
mixer = [["Left Output Mixer PCM", "on"], ["Speaker", "85%"]]
"""
    (own / "board.toml").write_text(text)
    kit.unpack(str(own), to)
    assert (to / "config_txt").read_text() == "dtparam=spi=on\ndtoverlay=mine\n"
    first, begin, *calls, end = (to / "mixer").read_text().splitlines()
    assert (first, begin, end) == ("#!/bin/sh", "status=0", "exit $status")
    card = ["amixer", "-q", "-c", "my card", "sset"]
    assert [shlex.split(call.removesuffix(" || status=1")) for call in calls] == [
        [*card, "Left Output Mixer PCM", "on"],
        [*card, "Speaker", "85%"],
    ]


@pytest.mark.parametrize(
    ("board", "said"), [("i2s-mems", "i2s-mems-pair"), ("", "choose one of"), ("./no", "is missing")]
)
def test_a_board_that_is_not_there(
    board: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kit.main(["board", board, str(tmp_path)]) == kit.REFUSED
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    "text",
    [
        b'name = "mine',
        b"\xff\xfe",
        b"hat = 3\n",
        b"[hat]\nmixer = [3]\n",
        b'[hat]\nmixer = [["Speaker", 85]]\n',
        b"[hat]\nconfig_txt = 1\n",
        b'name = "i2s-mems-pair"\n',
    ],
)
def test_a_board_of_one_s_own_that_cannot_be_used_is_one_line_that_names_it(
    text: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "to"
    to.mkdir()
    (tmp_path / "board.toml").write_bytes(text)
    assert kit.main(["board", str(tmp_path), str(to)]) == kit.REFUSED
    said = capsys.readouterr().err
    assert said.startswith(f"{tmp_path}/board.toml: ")
    assert said.count("\n") == 1
    assert not list(to.iterdir())


def test_the_name_of_an_installed_board(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "board.toml"
    file.write_text('name = "mine"\n')
    assert kit.main(["name", str(file)]) == 0
    assert capsys.readouterr().out == "mine\n"
    file.write_text("name = \n")
    assert kit.main(["name", str(file)]) == kit.REFUSED


def _config_txt(folder: Path, text: bytes, lines: str) -> subprocess.CompletedProcess[bytes]:
    (folder / "config.txt").write_bytes(text)
    (folder / "lines").write_text(lines)
    command = [sys.executable, "-m", "provision.kit", "config-txt", f"{folder}/config.txt", f"{folder}/lines"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False)


def test_other_people_s_bytes_in_config_txt_stay(tmp_path: Path) -> None:
    theirs = b"# K\xfcche\r\ndtparam=i2c_arm=on\r\n"
    done = _config_txt(tmp_path, theirs, "dtoverlay=googlevoicehat-soundcard\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(theirs)
    assert b"dtoverlay=googlevoicehat-soundcard\n" in done.stdout


def test_a_clash_in_config_txt_is_one_line_that_names_it(tmp_path: Path) -> None:
    done = _config_txt(tmp_path, b"dtoverlay=hifiberry-dac\n", "dtoverlay=googlevoicehat-soundcard\n")
    assert (done.returncode, done.stdout) == (kit.REFUSED, b"")
    assert done.stderr.startswith(b'config.txt: "dtoverlay=hifiberry-dac"')
    assert done.stderr.count(b"\n") == 1


def test_a_slip_in_the_call_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert kit.main(["bord"]) == 2
    assert "usage" in capsys.readouterr().err
