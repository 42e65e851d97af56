"""The command pressel-fleet."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from provision.errors import FleetError

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE_EXIT = 2  # an inventory, an option or a secret that cannot be used; nothing was changed
STOPPED_EXIT = 130  # Ctrl-C, as of a shell
_STOPPED = "stopped; a device ends by itself what it has begun, and the same command again does the rest"

_EXAMPLES = """examples:
  pressel-fleet plan                              what would change, and why
  pressel-fleet apply --limit kitchen-1           one device
  pressel-fleet apply --limit 'kitchen,hall-*'    a group and whatever is called so
  pressel-fleet status --json
  pressel-fleet run --limit kitchen -- journalctl -u pressel -n 20
exit status: 0 all well, 1 a device is not, 2 usage: nothing was changed, 130 stopped by Ctrl-C
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parser().parse_args(argv)
    try:
        if options.over_ssh:
            _patch()
        # Each command's module loads what it needs: `media` needs no SSH.
        command = importlib.import_module(f"provision.{options.module}")
        return int(command.main(options))
    except ImportError as error:
        package = str(error.name).partition(".")[0]
        print(f"pressel-fleet: {package} is not installed: pip install 'pressel[fleet]'", file=sys.stderr)
        return USAGE_EXIT
    except FleetError as error:
        print(f"pressel-fleet: {error}", file=sys.stderr)
        return USAGE_EXIT
    except KeyboardInterrupt:
        print(f"\npressel-fleet: {_STOPPED}", file=sys.stderr)
        return STOPPED_EXIT


def _patch() -> None:
    """Let gevent take the standard library's place, before anything that uses sockets is imported."""
    from gevent import monkey  # noqa: PLC0415

    monkey.patch_all()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pressel-fleet",
        description="Install, update and watch a fleet of Pressel devices over SSH.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    plan = _command(
        commands, "plan", "show what apply would change; changes nothing", ["plan --limit kitchen"]
    )
    _add_selection(plan)
    apply = _command(
        commands,
        "apply",
        "install or update: canary first, then batches, each through its health gate",
        ["apply", "apply --limit kitchen-1 --json"],
    )
    _add_selection(apply)
    status = _command(
        commands, "status", "version, state, last fault and disk of each device", ["status --json"]
    )
    _add_selection(status)
    run = _command(
        commands,
        "run",
        "run a command on each device, as root",
        ["run -- pressel ctl status", "run --limit hall-1 -- journalctl -u pressel -n 20"],
    )
    _add_selection(run)
    run.add_argument("words", nargs="+", metavar="CMD", help="the command, after --")
    _add_media(commands)
    return parser


def _add_media(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    media = _command(
        commands,
        "media",
        "tell a freshly flashed card what its device is: login, Wi-Fi, board, claim, release",
        [
            "media --device kitchen-1 --boot /media/$USER/bootfs --dry-run",
            "media --device kitchen-1 --boot /media/$USER/bootfs",
        ],
    )
    media.set_defaults(module="media.card")
    media.add_argument("--device", required=True, metavar="NAME", help="one of the inventory's devices")
    media.add_argument(
        "--boot", required=True, type=Path, metavar="DIR", help="where the card's boot partition is mounted"
    )
    media.add_argument("--dry-run", action="store_true", help="show what would be written, secrets masked")
    media.add_argument("--replace", action="store_true", help="write over settings that somebody else made")


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, examples: list[str]
) -> argparse.ArgumentParser:
    shown = "".join(f"  pressel-fleet {example}\n" for example in examples)
    command = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"examples:\n{shown}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(module=f"fleet.{name}", over_ssh=False)
    command.add_argument(
        "--inventory", type=Path, default=Path("fleet.toml"), metavar="FILE", help="default: fleet.toml"
    )
    command.add_argument("--json", action="store_true", help="print the report as one line of JSON")
    return command


def _add_selection(command: argparse.ArgumentParser) -> None:
    command.set_defaults(over_ssh=True)
    command.add_argument(
        "--limit", metavar="PICKS", help="names, groups or globs, with commas between; default: all"
    )
    command.add_argument(
        "--parallel", type=_count, default=10, metavar="N", help="devices at a time; default: %(default)s"
    )


def _count(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 1 <= number <= 200:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 to 200")
    return number
