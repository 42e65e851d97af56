"""The commands `claims` and `devices` of pressel-companion."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from companion.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from companion.access.registry import Registry
    from companion.settings import Config

_EXAMPLES = """examples:
  pressel-companion claims new kitchen --out kitchen.claim --config companion.toml
  pressel-companion claims new kitchen --hours 24 --serial 10000000abcdef01 --config companion.toml
  pressel-companion claims list --json --config companion.toml
  pressel-companion devices list --config companion.toml
  pressel-companion devices revoke kitchen --config companion.toml
  pressel-companion devices rotate kitchen --config companion.toml
"""
_LONGEST_HOURS = 8760.0
_EVERYWHERE = ("0.0.0.0", "[::]")  # to listen there is no address to be found at


def add_commands(commands: Any) -> None:
    """Add both to a parser's subparsers; what they call takes the parsed arguments."""
    shown: dict[str, Any] = {"epilog": _EXAMPLES, "formatter_class": argparse.RawDescriptionHelpFormatter}
    claims = commands.add_parser("claims", help="make one-time claims by which devices enrol", **shown)
    actions = claims.add_subparsers(required=True, metavar="ACTION")
    new = actions.add_parser("new", help="make a claim for a device; it is shown once", **shown)
    new.add_argument("name", metavar="NAME", help="what the device is to be called")
    new.add_argument("--hours", type=_hours, default=72.0, help="how long it is good (default: %(default)g)")
    new.add_argument("--serial", help="only the device with this serial number may use it")
    new.add_argument(
        "--replace", action="store_true", help="void an open claim, and replace an enrolled device"
    )
    new.add_argument(
        "--out", type=Path, metavar="FILE", help="write the claim file instead of showing the claim"
    )
    new.add_argument("--url", help="where the device finds this companion (default: public_url)")
    listing = actions.add_parser("list", help="name the claims and what became of them", **shown)
    _finish(new, _claims_new)
    _finish(listing, _claims_list)
    devices = commands.add_parser("devices", help="list, revoke and rotate enrolled devices", **shown)
    actions = devices.add_subparsers(required=True, metavar="ACTION")
    _finish(actions.add_parser("list", help="name the devices", **shown), _devices_list)
    for action, text, run in (
        ("revoke", "refuse a device from its next request on", _devices_revoke),
        ("rotate", "have a device make a new key at its next request", _devices_rotate),
    ):
        parser = actions.add_parser(action, help=text, **shown)
        parser.add_argument("name", metavar="NAME")
        _finish(parser, run)


def _finish(parser: argparse.ArgumentParser, run: Any) -> None:
    config = Path("companion.toml")
    parser.add_argument("--config", type=Path, default=config, metavar="FILE", help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print facts as one line of JSON")
    parser.set_defaults(run=run)


def _claims_new(arguments: argparse.Namespace) -> int:
    from companion.config import check_url  # noqa: PLC0415 - the other commands start faster
    from companion.files import write_atomic  # noqa: PLC0415 - the same

    config, registry = _opened(arguments)
    name, out = arguments.name, arguments.out
    url = arguments.url or _url(config)
    if arguments.url:
        check_url("--url", arguments.url)
    if out and not url:
        raise ConfigError("where do devices find this companion? set public_url, or add --url")
    if out and out.exists() and not arguments.replace:
        raise ConfigError(f"{out} is there already; name another file, or add --replace")
    if out and not out.absolute().parent.is_dir():
        raise ConfigError(f"cannot write {out}: there is no folder {out.absolute().parent}")
    now = time.time()
    claim = registry.new_claim(
        name, now, hours=arguments.hours, serial=arguments.serial, replace=arguments.replace
    )
    facts: dict[str, Any] = {"name": name, "url": url, "expires_at": now + arguments.hours * 3600}
    if out:
        try:
            write_atomic(out, f"{json.dumps({'url': url, 'claim': claim})}\n".encode())
        except OSError as error:
            raise ConfigError(f"cannot write {out}: {error.strerror}; try again with --replace") from None
        _say(arguments, {**facts, "file": str(out)}, str(out))
        note = f"Good once, for {arguments.hours:g} h, at {url}; the device destroys it.{_reach(url)}"
    else:
        _say(arguments, {**facts, "claim": claim}, claim)
        note = (
            f"Shown once; good once, for {arguments.hours:g} h. On the device: pressel enroll --claim-file -"
        )
    if not arguments.json:
        print(note, file=sys.stderr)
    return 0


def _claims_list(arguments: argparse.Namespace) -> int:
    claims = _opened(arguments)[1].claims(time.time())
    rows = ((one["name"], one["state"], _date(one["expires_at"]), one["serial"] or "any") for one in claims)
    _say(arguments, {"claims": claims}, _table(("name", "state", "expires", "serial number"), rows))
    return 0


def _devices_list(arguments: argparse.Namespace) -> int:
    devices = _opened(arguments)[1].devices()
    rows = (
        (one["name"], one["state"], _date(one["seen_at"]), one["serial"], one["model"]) for one in devices
    )
    _say(
        arguments,
        {"devices": devices},
        _table(("name", "state", "last seen", "serial number", "model"), rows),
    )
    return 0


def _devices_revoke(arguments: argparse.Namespace) -> int:
    _opened(arguments)[1].revoke(arguments.name, time.time())
    _say(arguments, {"revoked": arguments.name}, f"{arguments.name} is revoked")
    return 0


def _devices_rotate(arguments: argparse.Namespace) -> int:
    _opened(arguments)[1].rotate(arguments.name)
    _say(arguments, {"rotating": arguments.name}, f"{arguments.name} makes a new key at its next request")
    return 0


def _opened(arguments: argparse.Namespace) -> tuple[Config, Registry]:
    from companion.access.registry import Registry  # noqa: PLC0415 - the same
    from companion.config import load  # noqa: PLC0415 - the other commands start faster

    config = load(arguments.config)
    return config, Registry(Path(config.state_dir))


def _url(config: Config) -> str:
    if config.public_url:
        return config.public_url
    host, _, port = config.listen.rpartition(":")
    return "" if port == "0" or host in _EVERYWHERE else f"http://{config.listen}"


def _reach(url: str) -> str:
    """Say who cannot use this address, "" when everybody can."""
    if urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1"):
        return "\nOnly this machine reaches that address: for others set public_url, or add --url."
    if not url.startswith("https://"):
        return "\nIt is not encrypted: a device takes it only with backend.allow_insecure = true."
    return ""


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    if not 0 < hours <= _LONGEST_HOURS:
        raise argparse.ArgumentTypeError(f"{text}: it takes more than 0 to {_LONGEST_HOURS:g}")
    return hours


def _say(arguments: argparse.Namespace, facts: dict[str, Any], words: str) -> None:
    print(json.dumps(facts) if arguments.json else words)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _date(seconds: float | None) -> str:
    return "never" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
