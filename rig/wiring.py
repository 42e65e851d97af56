"""Draws a board's wires to the 40-pin header as SVG, from its data alone: equal data give equal text."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from device.board import BUS_LINES, LINE_OF_PIN, SUPPLY_OF_PIN
from device.config import panel_lines

if TYPE_CHECKING:
    from device.board import HatConfig, PartConfig
    from device.config import Config

ROW, TOP, WIDTH = 26, 92, 1140
LEFT, RIGHT = WIDTH // 2 - 13, WIDTH // 2 + 13  # the two columns of pins
LABEL = 216  # how far the longest name of a pin reaches from its column
LETTER = 7  # about the width of one in such a name
BOX, CONTACT = 190, 22  # a part's width, the height of one contact
KINDS = {
    "3.3 V": "#d9730d", "5 V": "#d1242f", "ground": "#6e7781", "i2s": "#0969da", "i2c1": "#1a7f37",
    "spi0": "#8250df", "panel": "#bf3989", "board": "#9a6700",
}  # fmt: skip
LEGEND = {"i2s": "I2S", "i2c1": "I2C", "spi0": "SPI", "panel": "panel", "board": "the board's own"}
PANEL = {
    "panel.button": "button", "panel.wake": "wake line", "panel.led": "LED",
    "panel.apa102.data": "LED data", "panel.apa102.clock": "LED clock",
}  # fmt: skip
STYLE = """
  text { font: 13px system-ui, "DejaVu Sans", sans-serif; fill: #1f2328 }
  .title { font-size: 19px; font-weight: 600 } .part { font-weight: 600 }
  .small { font-size: 12px }
  .dim { fill: #818b98 } .paper { fill: #ffffff } .box { fill: #f6f8fa; stroke: #818b98 }
  .plate { fill: #30363d } .free { fill: none; stroke: #818b98 }
  .wire { fill: none; stroke-width: 2.5 }
  .number { font-size: 11px; font-weight: 600; fill: #ffffff; text-anchor: middle }
  .gap { fill: none; stroke: #ffffff; stroke-width: 6 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .dim { fill: #8b949e } .paper { fill: #0d1117 } .box { fill: #21262d }
    .plate { fill: #484f58 } .number { fill: #ffffff } .gap { stroke: #0d1117 }
  }"""


@dataclass
class _Place:
    """A part on the paper: `left` of the header or right of it, its upper edge, its contacts by row."""

    part: PartConfig
    left: bool
    contacts: list[tuple[str, int]]
    y: int = 0

    @property
    def height(self) -> int:
        return 34 + CONTACT * max(len(self.contacts), 1)

    @property
    def row(self) -> float:
        """The middle of the rows that the part is wired to."""
        return sum(_row(pin) for _, pin in self.contacts) / (len(self.contacts) or 1)


def draw(config: Config) -> str:
    """Return the drawing of a board: header, parts, and a wire for each contact."""
    places = _places(config.hat)
    bottom = max([TOP + 20 * ROW, *(place.y + place.height for place in places)]) + 44
    names, kinds = pin_names(config), _kinds(config)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom}" width="{WIDTH}" role="img">',
        f"<title>{escape(config.name)}: wires to the 40-pin header</title>",
        f"<style>{STYLE}\n</style>",
        f'<rect class="paper" width="{WIDTH}" height="{bottom}" rx="8"/>',
        _text(24, 36, config.name, "title"),
        _text(24, 58, config.description, "dim"),
        _text(WIDTH // 2, TOP - 12, "seen from above; the SD card's end", "small dim", "middle"),
        f'<rect class="plate" x="{LEFT - 14}" y="{TOP - 4}" width="54" height="{20 * ROW + 8}" rx="5"/>',
        *(_wire(place, index, kinds, names) for place in places for index in range(len(place.contacts))),
        *_header(names, kinds),
        *(line for place in places for line in _part(place)),
        *_legend(set(kinds.values()), bottom - 20),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def pin_names(config: Config) -> dict[int, str]:
    """Return what each pin is on this board: supplies, buses, panel, the board's own; free ones by number."""
    names = dict(SUPPLY_OF_PIN)
    for pin, line in LINE_OF_PIN.items():
        names[pin] = f"GPIO {line}"
    for bus in config.hat.buses:
        for line, what in BUS_LINES[bus].items():
            names[_pin(line)] += f" · {LEGEND[bus]} {what}"
    for name, line in config.hat.pins.items():
        names[_pin(line)] += f" · {name.replace('_', ' ')}"
    for key, wanted in panel_lines(config.panel).items():
        if wanted is not None:
            names[_pin(wanted)] += f" · {PANEL[key]}"
    return names


def _kinds(config: Config) -> dict[int, str]:
    """Return for each pin in use what kind of thing it is on."""
    kinds: dict[int, str] = {}
    for bus in config.hat.buses:
        kinds |= {_pin(line): bus for line in BUS_LINES[bus]}
    kinds |= {_pin(line): "board" for line in config.hat.pins.values()}
    kinds |= {_pin(line): "panel" for line in panel_lines(config.panel).values() if line is not None}
    wired = {pin for part in config.hat.parts for pin in part.wires.values()}
    return kinds | {pin: supply for pin, supply in SUPPLY_OF_PIN.items() if pin in wired}


def _pin(line: int) -> int:
    return next(pin for pin, its in LINE_OF_PIN.items() if its == line)


def _row(pin: int) -> int:
    return (pin - 1) // 2


def _y(pin: int) -> int:
    return TOP + ROW // 2 + ROW * _row(pin)


def _lane(pin: int, left: bool) -> int:
    """Return where a pin's wire leaves the header on that side: from the far column, between two rows."""
    return _y(pin) + (0 if (pin % 2 == 1) == left else ROW // 2)


def _places(hat: HatConfig) -> list[_Place]:
    """Set each part on the side where most of its pins are, and stack each side in the order of rows."""
    room = {True: 0, False: 0}
    places = []
    for part in hat.parts:
        odd, all_pins = sum(pin % 2 for pin in part.wires.values()), len(part.wires)
        left = odd * 2 > all_pins if odd * 2 != all_pins else room[True] <= room[False]
        contacts = sorted(part.wires.items(), key=lambda contact: _lane(contact[1], left))
        places.append(_Place(part, left, contacts))
        room[left] += places[-1].height
    for left in (True, False):
        stack = sorted((place for place in places if place.left is left), key=lambda place: place.row)
        spare = 20 * ROW - sum(place.height for place in stack)
        gap = max(spare // (len(stack) + 1), 14)
        y = TOP + gap
        for place in stack:
            place.y = y
            y += place.height + gap
    return places


def _text(x: int, y: int, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def _header(names: dict[int, str], kinds: dict[int, str]) -> list[str]:
    lines = []
    for pin, name in sorted(names.items()):
        odd = pin % 2 == 1
        x, y = (LEFT if odd else RIGHT), _y(pin)
        paint = f'fill="{KINDS[kinds[pin]]}"' if pin in kinds else 'class="free"'
        corner = 2 if pin == 1 else 10  # pin 1 is square on the board too
        lines.append(f'<rect x="{x - 10}" y="{y - 10}" width="20" height="20" rx="{corner}" {paint}/>')
        lines.append(_text(x, y + 4, str(pin), "number", "middle"))
        label_x, anchor = (LEFT - 20, "end") if odd else (RIGHT + 20, "start")
        lines.append(_text(label_x, y + 4, name, "small" if pin in kinds else "small dim", anchor))
    return lines


def _wire(place: _Place, index: int, kinds: dict[int, str], names: dict[int, str]) -> str:
    """Return the wire of one contact."""
    pin = place.contacts[index][1]
    y, end_y = _lane(pin, place.left), place.y + 34 + CONTACT * index + CONTACT // 2 - 2
    near, away = (LEFT, -1) if place.left else (RIGHT, 1)
    edge, end_x = near + away * LABEL, (24 + BOX if place.left else WIDTH - 24 - BOX)
    if y == _y(pin):
        start = f"M{near + away * min(26 + LETTER * len(names[pin]), LABEL)} {y}H{edge}"
    else:
        start = f"M{RIGHT if place.left else LEFT} {_y(pin)}V{y}H{edge}"
    middle = (edge + end_x) // 2
    bend = f"C{middle} {y} {middle} {end_y} {end_x} {end_y}"
    gap = f'<path class="gap" d="M{edge} {y}{bend}"/>'  # in the wires that it crosses: which goes on where
    return gap + f'<path class="wire" stroke="{KINDS[kinds[pin]]}" d="{start}{bend}"/>'


def _part(place: _Place) -> list[str]:
    x = 24 if place.left else WIDTH - 24 - BOX
    lines = [f'<rect class="box" x="{x}" y="{place.y}" width="{BOX}" height="{place.height}" rx="6"/>']
    lines.append(_text(x + 12, place.y + 22, place.part.name, "part"))
    if not place.contacts:
        lines.append(_text(x + 12, place.y + 44, "in a USB socket", "small"))
    for index, (name, pin) in enumerate(place.contacts):
        y = place.y + 34 + CONTACT * index + CONTACT // 2 + 2
        label_x, anchor = (x + BOX - 12, "end") if place.left else (x + 12, "start")
        lines.append(_text(label_x, y, f"{name}  →  {pin}", "small", anchor))
    return lines


def _legend(used: set[str], y: int) -> list[str]:
    lines, x = [], 24
    for kind, color in KINDS.items():
        if kind in used:
            name = LEGEND.get(kind, kind)
            lines.append(f'<rect x="{x}" y="{y - 10}" width="18" height="10" rx="2" fill="{color}"/>')
            lines.append(_text(x + 24, y, name, "small"))
            x += 48 + 8 * len(name)
    return lines
