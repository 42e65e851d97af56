"""The command `pressel`."""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.errors import AudioError, ConfigError, PanelError, PresselError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from device.config import Config

EX_CONFIG = 78  # sysexits.h; systemd does not restart after it
_CONFIG = Path("/etc/pressel/config.toml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except (ConfigError, PanelError) as error:
        print(f"pressel: {error}", file=sys.stderr)
        return EX_CONFIG
    except AudioError as error:
        print(f"pressel: {error}", file=sys.stderr)
        return 69  # sysexits.h EX_UNAVAILABLE: a card may be plugged in later
    except PresselError as error:
        print(f"pressel: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = _described(
        argparse.ArgumentParser,
        "A voice appliance: press, speak, hear the answer.",
        ["pressel run --config /etc/pressel/config.toml", "pressel ctl status --json", "pressel demo"],
        prog="pressel",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = _command(commands, "run", _run, "run the daemon", ["pressel run --config my.toml"])
    _config_options(run)
    run.add_argument("--chaos", metavar="SPEC", help=argparse.SUPPRESS)  # docs/faults.md
    config = _command(
        commands, "config", _config, "show the settings and where each came from", ["pressel config --json"]
    )
    _config_options(config)
    _json_option(config)
    devices = _command(
        commands,
        "devices",
        _devices,
        "list sound devices by name",
        ["pressel devices", "pressel devices --json"],
    )
    _json_option(devices)
    _ctl_options(
        _command(
            commands,
            "ctl",
            _ctl,
            "talk to the running daemon",
            ["pressel ctl press", "pressel ctl volume 60", "pressel ctl status --json", "pressel ctl check"],
        )
    )
    _enroll_command(commands)
    _record_commands(commands)
    demo = _command(
        commands,
        "demo",
        _demo,
        "hold a whole conversation on this machine, without hardware or keys",
        ["pressel demo --out demo-out", "pressel demo --provider speko", "pressel demo --mic"],
    )
    demo.add_argument(
        "--out", type=Path, default=Path("demo-out"), help="folder for the recordings and the picture"
    )
    demo.add_argument(
        "--provider", default="local", help="whose protocol is spoken, to a simulator (default: %(default)s)"
    )
    demo.add_argument("--wav", action="store_true", help="WAV files for a sound card")
    demo.add_argument(
        "--mic", action="store_true", help="talk to it yourself: this machine's microphone, space bar"
    )
    demo.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _enroll_command(commands: Any) -> None:
    enroll = _command(
        commands,
        "enroll",
        _enroll,
        "make this device known to its companion, by a one-time claim",
        ["pressel enroll --claim-file kitchen.claim", "pressel enroll --claim-file - --json"],
    )
    enroll.add_argument(
        "--claim-file",
        metavar="FILE",
        help="from `pressel-companion claims new`, destroyed once it is used; - reads it from here",
    )
    _config_options(enroll)
    _json_option(enroll)


def _record_commands(commands: Any) -> None:
    ledger = _command(
        commands,
        "ledger",
        _ledger,
        "show when sound left this device, why, how much and where to",
        ["pressel ledger", "pressel ledger --since 2026-01-31", "pressel ledger --json"],
    )
    ledger.add_argument("--since", help="from this local date or time on, as 2026-01-31 or 2026-01-31T18:00")
    bundle = _command(
        commands,
        "bundle",
        _bundle,
        "pack what a bug report needs, without secrets and without words",
        ["pressel bundle", "pressel bundle --out report.tar.gz"],
    )
    bundle.add_argument("--out", type=Path, help="the archive (default: a dated name in this folder)")
    gate = _command(
        commands,
        "gate",
        _gate,
        "watch the running daemon and tell whether it is fit to stay",
        ["pressel gate", "pressel gate --seconds 10 --json"],
    )
    gate.add_argument(
        "--seconds", type=_seconds, default=60.0, help="how long its sound is watched (default: 60)"
    )
    for parser in (ledger, bundle, gate):
        _config_options(parser)
        _json_option(parser)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("1 to 3600")
    return seconds


def _described(
    make: Callable[..., argparse.ArgumentParser], what: str, examples: list[str], **more: Any
) -> argparse.ArgumentParser:
    return make(
        description=what[0].upper() + what[1:],
        epilog="examples:\n" + "\n".join(f"  {example}" for example in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **more,
    )


def _command(
    commands: Any, name: str, function: Callable[[argparse.Namespace], int], what: str, examples: list[str]
) -> argparse.ArgumentParser:
    parser = _described(lambda **more: commands.add_parser(name, help=what, **more), f"{what}.", examples)
    parser.set_defaults(command=function)
    return parser


def _config_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, default=_CONFIG, help="the owner's file (default: %(default)s)"
    )
    parser.add_argument("--board", type=Path, help="the board file, over the owner's `board = …`")


def _json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _ctl_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "verb",
        choices=[
            *("press", "release", "tap", "wake", "say", "status", "check", "transcript", "volume"),
            *("mute", "unmute", "forget", "watch", "quit"),
        ],
    )
    parser.add_argument("value", nargs="?", help="for volume: 0 to 100; for say: the words to be answered")
    parser.add_argument("--socket", type=Path, help="the daemon's control socket, over --config")
    _config_options(parser)
    _json_option(parser)


def _run(options: argparse.Namespace) -> int:
    # One thread for linear algebra: frames are small, and each more costs memory.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from device.config import load  # noqa: PLC0415 # after the line above, which numpy reads once

    config = load(options.config, options.board).config
    from device.daemon import Daemon  # noqa: PLC0415 # the same
    from device.parts import Parts  # noqa: PLC0415 # the same
    from device.system.logs import set_up  # noqa: PLC0415 # the same

    handler = set_up()
    faulthandler.enable(handler.stream)  # at systemd's SIGABRT, or a library's crash: where each thread was
    for doubt in _doubts(config):
        logging.getLogger(__name__).warning("%s", doubt)
    chaos = None
    if options.chaos is not None:
        from device.chaos import Chaos  # noqa: PLC0415 # only for those who ask for it

        chaos = Chaos(options.chaos)
    status = Daemon(config, lambda daemon: Parts(config, daemon, chaos)).run()
    logging.shutdown()
    os._exit(status)  # all is on disk; the interpreter's own end would wait for a card that hangs


def _doubts(config: Config, model: Path = Path("/proc/device-tree/model")) -> list[str]:
    """Return what is allowed but will not do what it says."""
    from device.board import unfit  # noqa: PLC0415 # keeps `pressel ctl` light

    doubts = []
    if config.backend.kind == "unmute" and (config.limits.day_tokens or config.limits.month_tokens):
        doubts.append("limits of tokens do nothing here, Unmute tells no tokens: use limits.day_minutes")
    machine = model.read_text().strip("\0\n") if model.exists() else ""
    if unfit(config.hat, machine):
        doubts.append(f'the board "{config.name}" is not known to work on a {machine}: see its wiring.md')
    return doubts


def _config(options: argparse.Namespace) -> int:
    from device.config import flatten, load  # noqa: PLC0415 # keeps `pressel ctl` light
    from device.system.redact import redact_all  # noqa: PLC0415 # the same

    loaded = load(options.config, options.board)
    for doubt in _doubts(loaded.config):
        print(f"pressel: {doubt}", file=sys.stderr)
    rows = {
        key: {"value": redact_all(value), "from": loaded.origins.get(key, "default")}
        for key, value in flatten(loaded.config).items()
    }
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    width = max(map(len, rows))
    for key, row in rows.items():
        print(f"{key:<{width}}  {json.dumps(row['value']):<24} {row['from']}")
    return 0


def _devices(options: argparse.Namespace) -> int:
    from device.audio.portaudio import list_devices  # noqa: PLC0415 # keeps `pressel ctl` light

    devices = list_devices()
    if options.json:
        import msgspec  # noqa: PLC0415 # the same

        print(json.dumps(msgspec.to_builtins(devices), indent=2))
        return 0
    if not devices:
        print("no sound devices; is the card's overlay loaded, and are you in the group audio?")
    for device in devices:
        rates = ", ".join(str(rate) for rate in device.rates)
        formats = ", ".join(device.formats)
        print(f"{device.name}\n    in {device.inputs}, out {device.outputs}; {formats}; {rates} Hz")
    return 0


def _ctl(options: argparse.Namespace) -> int:
    from device.system.control_client import request, watch  # noqa: PLC0415 # nothing else is needed

    socket = options.socket or _socket_of(options)
    if options.verb == "watch":
        for event in watch(socket):
            print(json.dumps(event), flush=True)
        return 0
    patience_s = 20 if options.verb == "check" else 5  # it asks the companion
    answer = request(socket, {"cmd": options.verb, **_argument(options.verb, options.value)}, patience_s)
    if options.json:
        print(json.dumps(answer, indent=2))
    elif answer.get("ok"):
        _print_answer(answer)
    else:
        print(f"pressel: {answer.get('error')}", file=sys.stderr)
    return 0 if answer.get("ok") else 1


def _argument(verb: str, value: str | None) -> dict[str, Any]:
    if verb == "say":
        return {"text": value}
    return {"value": int(value) if value is not None and value.isdecimal() else value}


def _socket_of(options: argparse.Namespace) -> Path:
    from device.config import load  # noqa: PLC0415 # only where no socket was named

    return Path(load(options.config, options.board).config.state.dir) / "control.sock"


def _print_answer(answer: dict[str, Any]) -> None:
    for turn in answer.pop("turns", []):
        print(f"{turn['role']}: {turn['text']}")
    for key, value in answer.items():
        if key != "ok":
            print(f"{key}: {json.dumps(value) if isinstance(value, dict | list) else value}")


def _enroll(options: argparse.Namespace) -> int:
    from device.config import load  # noqa: PLC0415 # only what this command needs
    from device.enrol import enrol_here  # noqa: PLC0415 # the same

    config = load(options.config, options.board).config
    card = enrol_here(config.backend, Path(config.state.dir), options.claim_file, sys.stdin)
    if config.backend.token_file:
        print("pressel: backend.token_file is set and wins over the identity: remove it", file=sys.stderr)
    facts = {"name": card.name, "device_id": card.device_id, "url": card.url}
    print(json.dumps(facts) if options.json else f'this device is "{card.name}" at {card.url}')
    return 0


def _ledger(options: argparse.Namespace) -> int:
    from device.config import load  # noqa: PLC0415 # only what this command needs
    from device.ledger_table import account_of, facts, notice, table  # noqa: PLC0415 # the same

    folder = Path(load(options.config, options.board).config.state.dir)
    account = account_of(folder, options.since)
    broken = notice(account)
    if broken:
        print(f"pressel: {broken}", file=sys.stderr)
    print(json.dumps(facts(account), indent=2) if options.json else "\n".join(table(account)))
    return 0


def _bundle(options: argparse.Namespace) -> int:
    from device.bundle import default_name, pack  # noqa: PLC0415 # only what this command needs

    out = options.out or Path(default_name())
    packed = pack(
        options.config, options.board, out, lambda name: print(f"packing {name}", file=sys.stderr, flush=True)
    )
    if options.json:
        print(json.dumps({"file": str(out), "packed": packed}, indent=2))
    else:
        print(f"{out}: {', '.join(packed)}\nSecrets were removed; look into it before you send it.")
    return 0


def _gate(options: argparse.Namespace) -> int:
    from device.gate import watch_over  # noqa: PLC0415 # only what this command needs

    def say(where: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[Kwatching: {where}", end="", file=sys.stderr, flush=True)

    verdict = watch_over(_socket_of(options), options.seconds, say)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps(verdict.facts(), indent=2))
    elif verdict.reasons:
        print("\n".join(verdict.reasons))
    else:
        known = [f"the companion knows it as {verdict.device}"] if verdict.device else []
        told = "; ".join([f"{verdict.blocks_per_s} blocks a second", *known, *verdict.notes])
        print(f"fit: version {verdict.version}, {told}")
    return 1 if verdict.reasons else 0


def _demo(options: argparse.Namespace) -> int:
    try:
        from demo.director import main as demo  # noqa: PLC0415 # the demo's packages are an extra
    except ImportError as error:
        raise PresselError(f"the demo needs {error.name}: pip install 'pressel[demo]'") from None
    status: int = demo(
        out=options.out, wav=options.wav, mic=options.mic, as_json=options.json, provider=options.provider
    )
    return status


if __name__ == "__main__":
    sys.exit(main())
