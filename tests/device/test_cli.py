"""The command line: help with examples, facts as JSON, one line for what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from device.board import HatConfig
from device.cli import _doubts, main
from device.config import Config

if TYPE_CHECKING:
    from pathlib import Path

OWNER = 'board = "simulated"\n[backend]\nurl = "http://127.0.0.1:1"\ntoken_file = "t"\n'


@pytest.mark.parametrize(
    "command", [[], ["run"], ["config"], ["devices"], ["ctl"], ["ledger"], ["bundle"], ["gate"], ["demo"]]
)
def test_every_command_has_help_with_examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert "examples:\n  pressel " in capsys.readouterr().out


def test_config_shows_values_and_origins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.toml"
    file.write_text(OWNER)
    assert main(["config", "--config", str(file), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows["backend.url"] == {"value": "http://127.0.0.1:1", "from": str(file)}
    assert rows["talk.tail_ms"] == {"value": 250, "from": "default"}
    assert rows["audio.input.device"]["from"].endswith("simulated/board.toml")
    assert main(["config", "--config", str(file)]) == 0
    assert "talk.preroll_ms" in capsys.readouterr().out


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_config_shows_no_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    file = tmp_path / "c.toml"
    file.write_text(OWNER.replace("http://127.0.0.1:1", "https://ada:s3cret@companion.example/x?key=s3cret"))
    assert main(["config", "--config", str(file), *more]) == 0
    shown = capsys.readouterr().out
    assert "s3cret" not in shown
    assert "https://[removed]@companion.example/x" in shown


def test_a_limit_that_cannot_be_kept_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.toml"
    unmute = OWNER.replace("[backend]", '[backend]\nkind = "unmute"')
    for text, told in ((unmute, 1), (OWNER, 0)):
        file.write_text(text + "[limits]\nday_tokens = 5\nmonth_tokens = 9\n")
        assert main(["config", "--config", str(file)]) == 0
        assert capsys.readouterr().err.count("Unmute tells no tokens: use limits.day_minutes") == told
    file.write_text(unmute)
    assert main(["config", "--config", str(file)]) == 0
    assert not capsys.readouterr().err


def test_a_board_on_the_wrong_model_of_pi_is_told_with_both_names(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    board = Config(name="my-hat", hat=HatConfig(models=("pi4",)))
    assert _doubts(board, model) == [
        'the board "my-hat" is not known to work on a Raspberry Pi 5 Model B Rev 1.0: see its wiring.md'
    ]
    assert _doubts(board, tmp_path / "missing") == []


def test_a_wrong_configuration_is_78_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--config", str(tmp_path / "none.toml")]) == 78
    errors = capsys.readouterr().err
    assert errors.startswith("pressel: ")
    assert errors.count("\n") == 1


def test_no_daemon_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ctl", "status", "--socket", str(tmp_path / "none.sock")]) == 1
    assert "not running" in capsys.readouterr().err


def test_the_ledger_is_read_without_a_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ledger.jsonl").write_text(
        '{"id":"a","begun":"2026-11-21T10:00:00Z","ended":"2026-11-21T10:00:02Z","why":"wake",'
        '"endpoint":"e","host":"h","seconds":2.0,"bytes":96000}\nbroken\n'
    )
    file = tmp_path / "c.toml"
    file.write_text(f'{OWNER}[state]\ndir = "{tmp_path}"\n')
    assert main(["ledger", "--config", str(file), "--json"]) == 0
    out, errors = capsys.readouterr()
    assert json.loads(out)["intervals"][0]["why"] == "wake"
    assert errors == "pressel: 1 lines of the ledger are broken and were passed over\n"
    assert main(["ledger", "--config", str(file), "--since", "2026-11-20"]) == 0
    assert "2.00 s" in capsys.readouterr().out
    assert main(["ledger", "--config", str(file), "--since", "soon"]) == 78


def test_the_bundle_says_what_it_packed_and_that_it_wants_to_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.toml"
    file.write_text(f'{OWNER}[state]\ndir = "{tmp_path}"\n')
    out = tmp_path / "b.tar.gz"
    assert main(["bundle", "--config", str(file), "--out", str(out)]) == 0
    said, progress = capsys.readouterr()
    assert "config.json" in said
    assert "look into it before you send it" in said
    assert "status.json" in progress
    assert main(["bundle", "--config", str(file), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["file"] == str(out)
    assert "log.txt" in told["packed"]


def test_run_loads_nothing_of_the_companion_the_demo_or_matplotlib() -> None:
    code = (
        "import sys, device.daemon, device.parts, device.net.backend, device.audio.portaudio\n"
        "print([m for m in sys.modules if m.split('.')[0] in "
        "('companion', 'demo', 'rig', 'matplotlib', 'hibari', 'pocketsphinx', 'starlette', 'onnxruntime')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
