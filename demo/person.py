"""`pressel demo --mic`: a person talks on this machine's own microphone, the space bar is the button."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import termios
import tty
from pathlib import Path
from typing import TYPE_CHECKING

from demo.journal import DemoError, Journal
from demo.screen import make_screen
from rig.processes import Companion, Device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_QUIT = ("q", "Q", "\x04", "")  # end of file as well
# Whatever the machine calls its default; one channel and 16 bits go with every sound server.
_OWN_CARD = (
    '[audio.input]\ndevice = "default"\nformat = "s16"\nchannels = 1\nchannel = 0\n'
    '[audio.output]\ndevice = "default"\nformat = "s16"\nchannels = 2\n'
)


def converse(out: Path) -> int:
    """Let the person talk until they quit; returns the exit status."""
    if not sys.stdin.isatty():
        raise DemoError("--mic needs a keyboard: run it in a terminal")
    with contextlib.ExitStack() as cleanup:
        screen = make_screen(2)
        journal = Journal(out / "events.jsonl", screen.show)
        cleanup.callback(journal.close)
        scratch = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="pressel-")))
        companion = cleanup.enter_context(Companion(scratch))
        device = cleanup.enter_context(Device(scratch, companion, _OWN_CARD))
        cleanup.enter_context(screen)
        screen.step("starting")
        journal.note("start", pid=device.pid)
        journal.follow(device.watch())
        screen.step("space: talk, space again: hear the answer (or cut it short); q: quit")

        def button(command: str) -> None:
            if not device.alive:
                raise DemoError(f"the daemon ended: {device.last_line()}")
            journal.note(command)
            device.ask(command)

        with _keyboard() as keys:
            obey(keys, button)
    print(f"{out}/events.jsonl")
    return 0


def obey(keys: Iterable[str], button: Callable[[str], None]) -> None:
    """Turn the space bar into a button that is held down by one stroke and let go by the next."""
    down = False
    for key in keys:
        if key in _QUIT:
            break
        if key == " ":
            down = not down
            button("press" if down else "release")
    if down:
        button("release")


@contextlib.contextmanager
def _keyboard() -> Iterator[Iterator[str]]:
    """Give the keys one by one, without echo; the terminal is put back afterwards."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield iter(lambda: sys.stdin.read(1), None)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
