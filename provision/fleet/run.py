"""pressel-fleet run: one command on every device, its output with the device's name before each line."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

from provision import inventory
from provision.fleet.facts import as_root
from provision.fleet.report import asking
from provision.fleet.ssh import Session

if TYPE_CHECKING:
    import argparse


def main(options: argparse.Namespace) -> int:
    """Run the command and return its exit status: 0 when it ended with 0 on every device."""
    fleet = inventory.load(options.inventory)
    targets = fleet.select(options.limit)
    results: list[dict[str, Any]] = []

    def done(name: str, well: bool, output: Any) -> None:
        ended(name)
        results.append(
            {"name": name, "ok": well, "stdout": output.stdout_lines, "stderr": output.stderr_lines}
        )
        if not options.json:
            _print(name, well, output)

    with asking(len(targets), "running it") as ended, Session(targets, options.parallel) as session:
        session.shell(as_root(command_line(options.words)), None, done)
    for name, why in session.failures.items():
        results.append({"name": name, "ok": False, "error": why})
        if not options.json:
            print(f"{name}: {why}", file=sys.stderr)
    well = all(result["ok"] for result in results)
    if options.json:
        print(json.dumps({"fleet": fleet.settings.name, "ok": well, "devices": results}))
    return 0 if well else 1


def command_line(words: list[str]) -> str:
    """Return the words as a shell's line: one word is taken as a line already, so that pipes are possible."""
    return words[0] if len(words) == 1 else shlex.join(words)


def _print(name: str, well: bool, output: Any) -> None:
    for line in output.stdout_lines:
        print(f"{name}: {line}")
    for line in output.stderr_lines:
        print(f"{name}: {line}", file=sys.stderr)
    if not well:
        print(f"{name}: the command failed", file=sys.stderr)
    sys.stdout.flush()
