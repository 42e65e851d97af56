"""`script/appliance`: the virtual Pi by hand; each command finds it by its folder, $PRESSEL_APPLIANCE."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from rig.processes import Companion, ProcessError
from rig.rootfs import Unavailable
from rig.speech import SPOKEN_HZ, say
from rig.vpi.agent import GuestError
from rig.vpi.home import Home
from rig.vpi.pi import CARD_HZ, LED, load, save

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rig.vpi.pi import Pi, Samples

FOLDER = Path(
    os.environ.get("PRESSEL_APPLIANCE") or f"/tmp/pressel-appliance-{os.getuid()}"  # noqa: S108  # sockets have short paths
)
_COMPANION = FOLDER / "companion.json"  # the process that the next command finds
_READY_S = 120.0
_EXAMPLES = """\
examples:
  script/appliance up                    a companion, a disk with install.sh's work on it, boot
  script/appliance hold                  press the button, and keep it down
  script/appliance say "my name is peter"
  script/appliance release
  script/appliance hear reply.wav --while "my name is peter"    all of that, and record the reply
  script/appliance press                 a short press
  script/appliance led 5                 watch the light for five seconds
  script/appliance sh journalctl -u pressel -n 20
  script/appliance cut                   pull the plug
  script/appliance boot                  the same disk again
  script/appliance down                  shut down, and end the companion
  script/appliance test                  the tests that need a virtual Pi or a Debian root
  script/appliance --arm64 up            a second one, with a Pi 4's processor (and so on with --arm64)

One guest and one companion, in $PRESSEL_APPLIANCE (default /tmp/pressel-appliance-<uid>).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int | None = options.do(options)
    except (GuestError, Unavailable, ProcessError) as error:
        print(f"appliance: {error}", file=sys.stderr)
        return 1
    return status or 0


def _up(_options: argparse.Namespace) -> None:
    _down(_options)
    shutil.rmtree(FOLDER, ignore_errors=True)
    home = _home()
    _start_companion(home)
    with _step(f"bundle for {home.processor.wheels}"):
        home.add_settings()
        bundle = home.add_bundle()
    with _step("kernel, Debian root, disk, install.sh (three minutes the first time)"):
        print(home.make(bundle), end="")
    _tell_ready(_boot(home))


def _boot_again(_options: argparse.Namespace) -> None:
    home = _home()
    if not _companion_pid():
        _start_companion(home)
    _tell_ready(_boot(home))


def _cut(_options: argparse.Namespace) -> None:
    _home().pi().cut()
    print("the plug is pulled; script/appliance boot puts it back")


def _down(_options: argparse.Namespace) -> None:
    if FOLDER.exists() and (pi := _home().pi()).on:
        with _step("shutting down"):
            pi.off()
    if pid := _companion_pid():
        os.kill(pid, signal.SIGTERM)
        _until(lambda: not _companion_pid(), f"the companion (process {pid}) does not end")


def _press(options: argparse.Namespace) -> None:
    _running().press(seconds=options.seconds)


def _hold(_options: argparse.Namespace) -> None:
    _running().hold()


def _release(_options: argparse.Namespace) -> None:
    _running().release()


def _say(options: argparse.Namespace) -> None:
    with _step("speaking"):
        _running().say(*_spoken(options.what))


def _hear(options: argparse.Namespace) -> None:
    pi = _running()
    if options.words:
        with _step("a turn and its reply"):
            sound = pi.talk(*_spoken(options.words))
    else:
        with _step(f"recording {options.seconds:g} s of the guest's time"):
            recording = pi.listen()
            pi.agent.run(f"sleep {options.seconds}", timeout_s=options.seconds * 20 + 60)
            sound = recording.stop()
    save(options.file, sound)
    print(f"{options.file}: {len(sound) / CARD_HZ:.1f} s")


def _led(options: argparse.Namespace) -> None:
    began, levels = 0.0, _running().agent.watch(LED, options.seconds).levels(options.seconds * 20 + 60)
    for at, level in levels:
        began = began or at
        print(f"{at - began:7.3f} s  {'on' if level else 'off'}")


def _sh(options: argparse.Namespace) -> int:
    done = _running().agent.run(" ".join(options.command), timeout_s=3600.0)
    sys.stdout.buffer.write(done.raw)
    return done.status


def _status(options: argparse.Namespace) -> None:
    pi = _home().pi()
    facts: dict[str, Any] = {"folder": str(FOLDER), "on": pi.on, "companion": bool(_companion_pid())}
    if pi.on:
        facts |= pi.agent.ask("hello") | {"pressel": pi.ask("status") if _answers(pi) else None}
    print(json.dumps(facts) if options.json else "\n".join(f"{key}: {value}" for key, value in facts.items()))


def _home() -> Home:
    companion = Companion(FOLDER / "companion")
    if _companion_pid():
        companion.url = json.loads(_COMPANION.read_text())["url"]
    return Home(FOLDER, companion)


def _start_companion(home: Home) -> None:
    with _step("companion"):
        home.companion.start()
    _COMPANION.write_text(json.dumps({"pid": home.companion.pid, "url": home.companion.url}))


def _companion_pid() -> int | None:
    try:
        pid = int(json.loads(_COMPANION.read_text())["pid"])
        return pid if str(FOLDER).encode() in Path(f"/proc/{pid}/cmdline").read_bytes() else None
    except OSError:
        return None


def _running() -> Pi:
    pi = _home().pi()
    if not pi.on:
        raise GuestError("the virtual Pi is off: script/appliance up, or boot after a cut")
    return pi


def _boot(home: Home) -> Pi:
    pi = home.pi()
    with _step("boot"):
        pi.boot()
    return pi


def _tell_ready(pi: Pi) -> None:
    with _step("Pressel"):
        _until(lambda: _answers(pi), "Pressel does not answer: script/appliance sh journalctl -u pressel")
    print("ready: script/appliance --help shows what to do with it")


def _answers(pi: Pi) -> bool:
    try:
        return bool(pi.ask("status")["ok"])
    except GuestError:
        return False


def _spoken(what: str) -> tuple[Samples, int]:
    """Return what a .wav file holds, or the words, spoken; with the rate."""
    return load(Path(what)) if Path(what).suffix == ".wav" else (say(what), SPOKEN_HZ)


def _until(fact: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + _READY_S
    while not fact():
        if time.monotonic() > deadline:
            raise GuestError(complaint)
        time.sleep(0.3)


@contextmanager
def _step(what: str) -> Iterator[None]:
    began = time.monotonic()
    with Console(stderr=True).status(what):
        yield
    print(f"{what}: {time.monotonic() - began:.0f} s", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="script/appliance",
        description="A virtual Pi: Debian in QEMU, with GPIO lines, a sound card and a plug to pull.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, do: Callable[[argparse.Namespace], int | None], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(do=do)
        return command

    add("up", _up, "make one from nothing: companion, disk, boot, install.sh")
    add("press", _press, "press the button for a moment").add_argument(
        "seconds", type=float, nargs="?", default=0.2
    )
    add("hold", _hold, "press the button and keep it down")
    add("release", _release, "let the button go")
    add("say", _say, "speak into the microphone").add_argument("what", help="a .wav file, or words")
    hear = add("hear", _hear, "record what the speaker plays")
    hear.add_argument("file", type=Path, help="16 kHz mono WAV")
    hear.add_argument("--seconds", type=float, default=5.0)
    hear.add_argument("--while", dest="words", help="hold the button, say this .wav or these words, wait")
    add("led", _led, "watch the light").add_argument("seconds", type=float, nargs="?", default=5.0)
    shell = add("sh", _sh, "run a shell command in the guest, as root")
    shell.add_argument("command", nargs=argparse.REMAINDER)
    add("status", _status, "tell how it is").add_argument("--json", action="store_true")
    add("cut", _cut, "pull the plug")
    add("boot", _boot_again, "power on again, with the same disk")
    add("down", _down, "shut down, and end the companion")
    return parser


if __name__ == "__main__":
    sys.exit(main())
