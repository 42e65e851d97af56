"""The command pressel-companion: serve, enrol devices, and look after a server's voices."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from companion.access.commands import add_commands
from companion.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from companion.settings import Config

CONFIG_EXIT = 78  # EX_CONFIG: systemd does not restart it

_EXAMPLES = """examples:
  pressel-companion token new kitchen --config companion.toml
  pressel-companion claims new kitchen --out kitchen.claim --config companion.toml
  pressel-companion serve --config companion.toml
  pressel-companion serve --config companion.toml --port 0 --json
  pressel-companion voices add me.wav --consent --config companion.toml
"""
_VOICE_EXAMPLES = """examples:
  pressel-companion voices list --config companion.toml
  pressel-companion voices add me.wav --consent --config companion.toml
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, or 78 for a configuration that cannot be used."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except ConfigError as error:
        print(f"pressel-companion: {error}", file=sys.stderr)
        return CONFIG_EXIT


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    about = "The backend that holds the keys and mints voice sessions for devices."
    parser = argparse.ArgumentParser(
        "pressel-companion", description=about, epilog=_EXAMPLES, formatter_class=raw
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="answer devices", epilog=_EXAMPLES, formatter_class=raw)
    serve.add_argument("--host", help="listen here instead of the configured address")
    serve.add_argument("--port", type=int, help="listen on this port; 0 takes a free one")
    serve.set_defaults(run=_serve)
    _add_common(serve)
    token = commands.add_parser(
        "token", help="give a device a plain token instead of a claim", epilog=_EXAMPLES, formatter_class=raw
    )
    actions = token.add_subparsers(required=True, metavar="ACTION")
    for name, text, run in (
        ("new", "print a fresh token for a device, once", _token_new),
        ("list", "name the enrolled devices", _token_list),
        ("revoke", "make a device's token void", _token_revoke),
    ):
        action = actions.add_parser(name, help=text, epilog=_EXAMPLES, formatter_class=raw)
        action.set_defaults(run=run)
        if name != "list":
            action.add_argument("name", metavar="NAME")
        if name == "new":
            action.add_argument("--replace", action="store_true", help="make the device's old token void")
        _add_common(action)
    add_commands(commands)
    shown: dict[str, Any] = {"epilog": _VOICE_EXAMPLES, "formatter_class": raw}
    voices = commands.add_parser("voices", help="list and add voices of the Unmute server", **shown)
    actions = voices.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="name the voices, with their paths on the server", **shown)
    listing.set_defaults(run=_voices_list)
    _add_common(listing)
    adding = actions.add_parser("add", help="have the voice of a recording imitated for an hour", **shown)
    adding.add_argument("file", type=Path, metavar="FILE", help="a recording of at most 4 MB")
    adding.add_argument("--consent", action="store_true", help="whose voice it is agrees to that")
    adding.set_defaults(run=_voices_add)
    _add_common(adding)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    config = Path("companion.toml")
    parser.add_argument("--config", type=Path, default=config, metavar="FILE", help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print facts as one line of JSON")


def _serve(arguments: argparse.Namespace) -> int:
    import msgspec  # noqa: PLC0415

    from companion.config import host_and_port  # noqa: PLC0415
    from companion.serve import listen, server, url_of  # noqa: PLC0415 - the other commands start faster

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    config = _load(arguments)
    host, port = host_and_port(config.listen)
    host = arguments.host or host
    port = port if arguments.port is None else arguments.port
    if not 0 <= port <= 65_535:
        raise ConfigError(f"--port {port} is not a port; 0 to 65535")
    config = msgspec.structs.replace(config, listen=f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    bound = listen(host, port)
    url = url_of(bound)
    line = json.dumps({"url": url}) if arguments.json else f"pressel-companion listens on {url}"
    for asked_to_end in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked_to_end, _leave)
    server(config, lambda: print(line, flush=True)).run(sockets=[bound])
    return 0


def _leave(_number: int, _frame: object) -> None:
    """End with 0: uvicorn raises the signal again once all sessions are closed."""
    raise SystemExit(0)


def _token_new(arguments: argparse.Namespace) -> int:
    from companion.access.tokens import Tokens  # noqa: PLC0415

    config = _load(arguments)
    token = Tokens(Path(config.tokens_file)).new(arguments.name, replace=arguments.replace)
    print(json.dumps({"device": arguments.name, "token": token}) if arguments.json else token)
    if not arguments.json:
        print(f"Shown once; only its hash is kept, in {config.tokens_file}.", file=sys.stderr)
    return 0


def _token_list(arguments: argparse.Namespace) -> int:
    from companion.access.tokens import Tokens  # noqa: PLC0415

    names = Tokens(Path(_load(arguments).tokens_file)).names()
    print(json.dumps({"devices": names}) if arguments.json else "\n".join(names))
    return 0


def _token_revoke(arguments: argparse.Namespace) -> int:
    from companion.access.tokens import Tokens  # noqa: PLC0415

    Tokens(Path(_load(arguments).tokens_file)).revoke(arguments.name)
    print(json.dumps({"revoked": arguments.name}) if arguments.json else f"{arguments.name} is revoked")
    return 0


def _voices_list(arguments: argparse.Namespace) -> int:
    from companion.voices import show  # noqa: PLC0415 - the HTTP client is not for the others

    return show(_load(arguments).providers.unmute, as_json=arguments.json)


def _voices_add(arguments: argparse.Namespace) -> int:
    from companion.voices import add  # noqa: PLC0415 - the same

    settings = _load(arguments).providers.unmute
    return add(settings, arguments.file, consent=arguments.consent, as_json=arguments.json)


def _load(arguments: argparse.Namespace) -> Config:
    from companion.config import load  # noqa: PLC0415

    return load(arguments.config)
