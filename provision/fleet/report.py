"""What a command tells: a table for people, one line of JSON for machines, and progress while it runs."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Column, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.progress import TaskID

Result = Literal[
    "unchanged", "would change", "changed", "failed", "rolled back", "unreachable", "not started"
]
_WELL = ("unchanged", "would change", "changed")
_WIDE = 400  # columns where no terminal says how many there are: one line stays one line
_COLOURS = {"unchanged": "dim", "would change": "yellow", "changed": "green", "not started": "dim"}


@dataclass(frozen=True)
class Outcome:
    """What became of a device. `version`: that which runs there now, "" for unknown or none."""

    name: str
    result: Result
    version: str = ""
    detail: str = ""
    steps: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def well(self) -> bool:
        """Whether the device is as it should be, or would be."""
        return self.result in _WELL


def show(outcomes: Sequence[Outcome], *, as_json: bool, fleet: str, **more: Any) -> int:
    """Print the report and return the exit status: 0 all well, 1 a device is not."""
    well = all(outcome.well for outcome in outcomes)
    if as_json:
        devices = [asdict(outcome) for outcome in outcomes]
        print(json.dumps({"fleet": fleet, "ok": well, **more, "devices": devices}))
    else:
        rows = [_row(outcome) for outcome in outcomes]
        print_table(("device", "result", "version", ""), rows)
        print(summary(outcomes))
    return 0 if well else 1


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return the counts in words; that nothing changed is said as such."""
    if all(outcome.result == "unchanged" for outcome in outcomes):
        return f"nothing to change on {len(outcomes)} device{'s' * (len(outcomes) != 1)}"
    kinds = dict.fromkeys(outcome.result for outcome in outcomes)
    return ", ".join(f"{sum(o.result == kind for o in outcomes)} {kind}" for kind in kinds)


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns, in colour and folded on a terminal, one line a row else."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDE)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in head:
        table.add_column(title, overflow="fold", no_wrap=not console.is_terminal)
    for row in rows:
        style = _COLOURS.get(row[1], "red") if row[1] in get_args(Result) else None
        table.add_row(*row, style=style)
    with console.capture() as captured:
        console.print(table, markup=False)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _row(outcome: Outcome) -> tuple[str, str, str, str]:
    return outcome.name, outcome.result, outcome.version, outcome.detail or ", ".join(outcome.steps)


@contextmanager
def asking(total: int, what: str = "asking the devices") -> Iterator[Callable[[str], None]]:
    """Show how many devices have answered, on a terminal; yields what is to be told a device's name."""
    console = Console(file=sys.stderr, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),  # what goes into a file or a pipe stays there
    ) as bars:
        task = bars.add_task(what, total=total)
        yield lambda _name: bars.advance(task)


class Progress:
    """What is done to which device now: bars on a terminal, plain lines else; both on stderr."""

    def __init__(self, total: int) -> None:
        self._console = Console(file=sys.stderr, highlight=False)
        self._bars: Bars | None = None
        self._total = total
        self._fleet: TaskID | None = None
        self._devices: dict[str, tuple[TaskID, int]] = {}  # with how many of its operations have begun

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            words = Column(no_wrap=True, overflow="ellipsis")
            doing = TextColumn("{task.description}", markup=False, table_column=words)
            counts = (BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())
            self._bars = Bars(SpinnerColumn(), doing, *counts, console=self._console)
            self._bars.start()
            self._fleet = self._bars.add_task("fleet", total=self._total)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars:
            self._bars.stop()

    def begin(self, name: str, steps: int) -> None:
        """Show a device that `steps` operations lie before."""
        if self._bars:
            self._devices[name] = self._bars.add_task(name, total=steps), 0

    def step(self, name: str, what: str) -> None:
        """Tell that an operation has begun."""
        if self._bars and name in self._devices:
            task, begun = self._devices[name]
            self._devices[name] = task, begun + 1
            self._bars.update(task, description=f"{name}: {what}", completed=begun)
        else:
            print(f"{name}: {what}", file=sys.stderr, flush=True)

    def end(self, outcome: Outcome) -> None:
        """Tell how it went with a device."""
        if self._bars:
            if outcome.name in self._devices:
                self._bars.remove_task(self._devices.pop(outcome.name)[0])
            if self._fleet is not None:
                self._bars.advance(self._fleet)
        said = f": {outcome.detail}" if outcome.detail else ""
        self._console.print(f"{outcome.name}: {outcome.result}{said}", markup=False, soft_wrap=True)
