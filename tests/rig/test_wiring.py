"""The drawing: well-formed, the same every time, with a wire for each contact that ends where it should."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from device.config import Config
from rig.wiring import BOX, KINDS, LEFT, RIGHT, ROW, TOP, WIDTH, draw, pin_names

BOARDS = sorted((Path(__file__).parents[2] / "hardware").glob("*/board.toml"))
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(params=BOARDS, ids=[path.parent.name for path in BOARDS])
def board(request: pytest.FixtureRequest) -> Config:
    return msgspec.convert(tomllib.loads(request.param.read_text()), Config)


def drawn(board: Config) -> ET.Element:
    return ET.fromstring(draw(board))  # noqa: S314 # our own text


def wires(board: Config) -> list[ET.Element]:
    return drawn(board).findall(f"{SVG}path[@class='wire']")


def test_equal_boards_give_equal_text(board: Config) -> None:
    assert draw(board) == draw(msgspec.convert(msgspec.to_builtins(board), Config))


def test_there_is_a_wire_for_each_contact_from_its_pins_row(board: Config) -> None:
    contacts = sorted(pin for part in board.hat.parts for pin in part.wires.values())
    rows = []
    for wire in wires(board):
        start = re.match(r"M(\d+) (\d+)", wire.attrib["d"])
        assert start
        rows.append((int(start[2]) - TOP - ROW // 2) // ROW)
    assert sorted(rows) == sorted((pin - 1) // 2 for pin in contacts)


def test_wires_end_at_a_box(board: Config) -> None:
    ends = {int(wire.attrib["d"].split()[-2]) for wire in wires(board)}
    assert ends <= {24 + BOX, WIDTH - 24 - BOX}


def test_boxes_stay_on_the_paper_and_apart(board: Config) -> None:
    root = drawn(board)
    height = int(root.attrib["viewBox"].split()[-1])
    boxes = [box for box in root.findall(f"{SVG}rect") if box.get("class") == "box"]
    assert len(boxes) == len(board.hat.parts)
    for side in (24, WIDTH - 24 - BOX):
        edges = sorted(
            (int(b.attrib["y"]), int(b.attrib["height"])) for b in boxes if int(b.attrib["x"]) == side
        )
        below = [y for y, _ in edges[1:]] + [height]
        for (y, tall), limit in zip(edges, below, strict=False):
            assert y + tall < limit


def test_each_pin_is_drawn_in_its_column_and_colored_when_it_is_used(board: Config) -> None:
    root = drawn(board)
    pins = [rect for rect in root.findall(f"{SVG}rect") if rect.get("width") == "20"]
    assert len(pins) == 40
    for number, rect in enumerate(pins, start=1):
        assert int(rect.attrib["x"]) == (LEFT if number % 2 else RIGHT) - 10
    used = {pin for part in board.hat.parts for pin in part.wires.values()}
    colored = {number for number, rect in enumerate(pins, start=1) if rect.get("fill") in KINDS.values()}
    assert used <= colored


def test_names_say_what_a_line_is_for() -> None:
    text = next(path for path in BOARDS if path.parent.name == "i2s-mems-pair").read_text()
    names = pin_names(msgspec.convert(tomllib.loads(text), Config))
    assert names[1] == "3.3 V"
    assert names[12] == "GPIO 18 · I2S bit clock"
    assert names[16] == "GPIO 23 · button"
    assert names[36] == "GPIO 16 · amplifier shutdown"
    assert names[29] == "GPIO 5"


def test_what_people_write_is_escaped() -> None:
    board = Config(name="a<b", description='"&"')
    assert drawn(board).findtext(f"{SVG}title") == "a<b: wires to the 40-pin header"
