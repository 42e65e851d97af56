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
                text = with_block(text, wanted, Path(file).parent)
                sys.stdout.buffer.write(text.encode(errors="surrogateescape"))
            case ["name", file]:
                print(_read(Path(file))[1].get("name", ""))
            case _:
                print(_USAGE, file=sys.stderr)
                return 2
    except (MediaError, OSError) as error:
        print(error, file=sys.stderr)
        return REFUSED
    return 0


def unpack(board: str, to: Path) -> None:
    """Write a board's `board.toml`, its `config_txt` (lines) and its `mixer` (a script) into the folder `to`.

    `board` names one of the wheel's, or is the path of a folder. Raises MediaError when there is none, and
    where it is not to be used; what is no matter of the installer's is checked by the release itself.
    """
    own = "/" in board
    file = (Path(board) if own else _boards() / board) / "board.toml"
    if not file.is_file():
        known = ", ".join(sorted(one.name for one in _boards().iterdir() if (one / "board.toml").is_file()))
        raise MediaError(f"{file} is missing" if own else f'no board "{board}": choose one of {known}')
    text, values = _read(file)
    ours = _boards() / str(values.get("name")) / "board.toml"
    if own and ours.is_file() and ours.read_text() != text:
        raise MediaError(
            f'{file}: "{values["name"]}" is one of our boards, which updates bring: rename yours'
        )
    try:
        lines = "".join(f"{line}\n" for line in values.get("hat", {}).get("config_txt", ()))
        script = mixer(values)
    except (AttributeError, TypeError):
        raise MediaError(f"{file}: tables or lists are not as in the other boards' files") from None
    (to / "board.toml").write_text(text)
    (to / "config_txt").write_text(lines)
    (to / "mixer").write_text(script)


def mixer(board: dict[str, Any]) -> str:
    """Return the shell script that sets a board's mixer, or "" where there is nothing to set."""
    calls = board.get("hat", {}).get("mixer", ())
    card = board.get("audio", {}).get("output", {}).get("device", "")
    lines = [shlex.join(["amixer", "-q", "-c", card, "sset", *call]) + " || status=1\n" for call in calls]
    return "".join(["#!/bin/sh\nstatus=0\n", *lines, "exit $status\n"]) if lines else ""


def _read(file: Path | Traversable) -> tuple[str, dict[str, Any]]:
    """Return a TOML file's text and values. Raises MediaError, OSError."""
    try:
        text = file.read_text()
        return text, tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MediaError(f"{file}: {error}") from None


def _boards() -> Traversable:
    inside = files("device") / "hardware"
    return inside if inside.is_dir() else Path(__file__).resolve().parent.parent / "hardware"


if __name__ == "__main__":
    sys.exit(main())
