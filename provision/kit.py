"""What the installer takes from the wheel before anything of it is installed: a board's files, config.txt.

`PYTHONPATH=pressel-….whl python3 -m provision.kit …` needs no package besides Python's own.
"""

from __future__ import annotations

import shlex
import sys
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provision.configtxt import with_block
from provision.errors import MediaError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.resources.abc import Traversable

REFUSED = 4  # the installer's exit status for what it does not do
_USAGE = "usage: python3 -m provision.kit board NAME|FOLDER TO | config-txt FILE LINES | name BOARD_TOML"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `board`, `config-txt` or `name`; refusals are one line on stderr."""
    try:
        match list(sys.argv[1:] if arguments is None else arguments):
            case ["board", board, to]:
                unpack(board, Path(to))
            case ["config-txt", file, lines]:
                wanted = tuple(Path(lines).read_text().splitlines())
                # Other people's bytes stay as they are, whatever they mean.
                text = Path(file).read_bytes().decode(errors="surrogateescape")
                sys.stdout.buffer.write(with_block(text, wanted).encode(errors="surrogateescape"))
            case ["name", file]:
                print(tomllib.loads(Path(file).read_text()).get("name", ""))
            case _:
                print(_USAGE, file=sys.stderr)
                return 2
    except (MediaError, OSError, tomllib.TOMLDecodeError) as error:
        print(error, file=sys.stderr)
        return REFUSED
    return 0


def unpack(board: str, to: Path) -> None:
    """Write a board's `board.toml`, its `config_txt` (lines) and its `mixer` (a script) into the folder `to`.

    `board` names one of the wheel's, or is the path of a folder. Raises MediaError when there is none.
    """
    own = "/" in board
    file = (Path(board) if own else _boards() / board) / "board.toml"
    if not file.is_file():
        known = ", ".join(sorted(one.name for one in _boards().iterdir() if (one / "board.toml").is_file()))
        raise MediaError(f"{file} is missing" if own else f'no board "{board}": choose one of {known}')
    text = file.read_text()
    values = tomllib.loads(text)
    hat = values.get("hat", {})
    (to / "board.toml").write_text(text)
    (to / "config_txt").write_text("".join(f"{line}\n" for line in hat.get("config_txt", ())))
    (to / "mixer").write_text(mixer(values))


def mixer(board: dict[str, Any]) -> str:
    """Return the shell script that sets a board's mixer, or "" where there is nothing to set."""
    calls = board.get("hat", {}).get("mixer", ())
    card = board.get("audio", {}).get("output", {}).get("device", "")
    lines = [shlex.join(["amixer", "-q", "-c", card, "sset", *call]) + " || status=1\n" for call in calls]
    return "".join(["#!/bin/sh\nstatus=0\n", *lines, "exit $status\n"]) if lines else ""


def _boards() -> Traversable:
    inside = files("device") / "hardware"
    return inside if inside.is_dir() else Path(__file__).resolve().parent.parent / "hardware"


if __name__ == "__main__":
    sys.exit(main())
