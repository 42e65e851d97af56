"""Every board's folder: it loads, contradicts nothing, wires nothing twice, and its overlay compiles."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from device.board import BUS_LINES, LINE_OF_PIN, check_lines, check_wires
from device.config import Config, load, panel_lines

HARDWARE = Path(__file__).parents[2] / "hardware"
BOARDS = sorted(HARDWARE.glob("*/board.toml"))
SECTIONS = ("What to buy", "Check", "Traps", "Not checked on hardware")
RETAIL_MODELS = ("zero2w", "pi3", "pi4", "pi5")


def read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def board_of(path: Path) -> Config:
    return msgspec.convert(read(path), Config)


@pytest.fixture(params=BOARDS, ids=[path.parent.name for path in BOARDS])
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


@pytest.fixture(params=[path for path in BOARDS if "hat" in read(path)], ids=lambda path: path.parent.name)
def real(request: pytest.FixtureRequest) -> Path:
    """A board that is hardware."""
    found: Path = request.param
    return found


def test_only_the_simulated_board_is_no_hardware() -> None:
    assert [path.parent.name for path in BOARDS if "hat" not in read(path)] == ["simulated"]


def test_it_loads_beneath_an_owners_file(path: Path, tmp_path: Path) -> None:
    owner = tmp_path / "config.toml"
    owner.write_text(f'board = "{path.parent.name}"\n[backend]\nurl = "https://companion.example"\n')
    config = load(owner).config
    assert config.name == path.parent.name
    assert config.description


def test_sound_devices_go_by_name(path: Path) -> None:
    for side in ("input", "output"):
        device = read(path)["audio"][side]["device"]
        assert not re.search(r"hw:\d|^\d*$", device), f"{device}: card numbers move from boot to boot"


def test_one_card_for_both_ways_has_one_clock(path: Path) -> None:
    audio = board_of(path).audio
    if audio.input.device == audio.output.device:
        assert audio.input.rate_hz == audio.output.rate_hz


def test_no_line_is_used_twice_or_belongs_to_a_bus_that_the_board_needs(path: Path) -> None:
    board = board_of(path)
    lines = [line for line in panel_lines(board.panel).values() if line is not None]
    lines += board.hat.pins.values()
    taken = {line for bus in ("i2s", *board.hat.buses) for line in BUS_LINES[bus]}
    assert len(set(lines)) == len(lines)
    assert not taken & set(lines)
    check_lines(board.hat, panel_lines(board.panel))


def test_every_line_has_a_wire_and_every_wire_a_line(real: Path) -> None:
    board = board_of(real)
    check_wires(board.hat, panel_lines(board.panel))
    wired = {LINE_OF_PIN.get(pin) for part in board.hat.parts for pin in part.wires.values()}
    if "i2s" in board.hat.buses:
        assert {18, 19} <= wired, "a sound board needs both clocks"
        assert {20, 21} & wired, "and a way in or out"


def test_what_the_daemon_asks_of_the_card_the_card_takes(real: Path) -> None:
    board = board_of(real)
    assert len(board.hat.channel_map) == board.audio.input.channels
    for side in (board.audio.input, board.audio.output):
        assert side.format in board.hat.formats
        assert side.rate_hz in board.hat.rates_hz


def test_a_box_has_a_button_and_says_where_it_runs(real: Path) -> None:
    board = board_of(real)
    assert board.panel.driver == "gpio"
    assert board.panel.button is not None
    assert board.hat.models
    assert set(board.hat.models) <= set(RETAIL_MODELS)
    assert board.hat.url.startswith("https://")


def test_lines_for_config_txt_are_whole_and_name_one_sound_overlay(real: Path) -> None:
    lines = board_of(real).hat.config_txt
    for line in lines:
        assert re.fullmatch(r"(dtparam|dtoverlay|force_eeprom_read)=[\w,=.-]+", line), line
    assert sum(line.startswith("dtoverlay=") for line in lines) <= 1, "two sound overlays cannot be stacked"


def test_the_leds_on_spi_have_spi_switched_on(real: Path) -> None:
    board = board_of(real)
    on_spi = board.panel.light == "apa102" and board.panel.apa102.data is None
    assert on_spi == ("spi0" in board.hat.buses) == ("dtparam=spi=on" in board.hat.config_txt)


def test_mixer_settings_are_a_control_and_its_values(real: Path) -> None:
    for control, *values in board_of(real).hat.mixer:
        assert control
        assert values


def test_an_overlay_of_ours_compiles_and_is_the_one_that_config_txt_loads(real: Path, tmp_path: Path) -> None:
    hat = board_of(real).hat
    if not hat.overlay_source:
        assert not list(real.parent.glob("*.dts"))
        return
    source = real.parent / hat.overlay_source
    assert f"dtoverlay={source.stem}" in hat.config_txt
    assert shutil.which("dtc"), "device-tree-compiler is missing: run script/setup"
    out = tmp_path / f"{source.stem}.dtbo"
    done = subprocess.run(
        ["dtc", "-@", "-I", "dts", "-O", "dtb", "-o", out, source],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    tree = subprocess.run(
        ["dtc", "-I", "dtb", "-O", "dts", out], capture_output=True, text=True, check=True
    ).stdout
    card = re.search(r'simple-audio-card,name = "(\w+)"', tree)
    assert card
    assert card[1] == board_of(real).audio.input.device
    assert "&i2s>" not in source.read_text(), "on a Pi 5 there are a producer and a consumer"


def test_its_page_has_every_section_and_names_no_other_lines(real: Path) -> None:
    page = (real.parent / "wiring.md").read_text()
    for section in SECTIONS:
        assert f"\n## {section}" in page, section
    board = board_of(real)
    if board.panel.button is not None:
        assert f"pinctrl get {board.panel.button} " in page


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in (HARDWARE / "README.md", *HARDWARE.glob("*/wiring.md")):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page}: {link}"
