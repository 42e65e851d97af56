"""pressel-fleet media: a freshly flashed card told what its device is, so that power is all that it needs."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from device import config as device_config
from provision import configtxt
from provision.claim import read_claim
from provision.errors import InventoryError, MediaError
from provision.inventory import Fleet, Target, load, render_config
from provision.media import bookworm, bootpart, cloudinit, settings
from provision.release import open_release
from provision.schema import nearest

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from provision.media.bootpart import Change, Content, Kind
    from provision.media.settings import Settings
    from provision.release import Release

FOLDER = "pressel"
_ARCHITECTURE = "aarch64"
ON_DEVICE = "/boot/firmware"  # where Raspberry Pi OS has its boot partition, since Bookworm
FIRST_BOOT = f"{ON_DEVICE}/{FOLDER}/first-boot.sh"
_SCRIPT = Path(__file__).parent / "first-boot.sh"
_SECRET_FILES = (f"{FOLDER}/claim.json", f"{FOLDER}/token")
_SECRET_LINE = re.compile(
    r"""(["']?(?:password|passwd|psk|plain_text_passwd|token|claim)["']?\s*[:=]\s*)(?!true|false)\S.*"""
)
_BAR_FROM = 8 << 20  # bytes: what takes a card more than a second or two


@dataclass
class Report:
    """What was, or would be, done to a partition."""

    device: str
    image: Kind
    dry_run: bool
    changes: list[Change]
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> str:
        """Return it as one line."""
        done = [{"path": change.path, "action": _action(change)} for change in self.changes]
        facts = {"device": self.device, "image": self.image, "dry_run": self.dry_run}
        return json.dumps({**facts, "changes": done, "notes": self.notes})


def main(options: argparse.Namespace) -> int:
    """Write the card, or show what would be written; 0. Raises FleetError."""
    fleet = load(options.inventory)
    target = _pick(fleet, options.device)
    try:
        report = _planned(fleet, target, options)
    except OSError as error:
        where = error.filename or options.boot
        raise MediaError(f"{where}: {error.strerror}; is the card mounted, and yours to read?") from None
    if not options.dry_run:
        _write(options.boot, report.changes, quiet=options.json)
    print(report.as_json() if options.json else _told(report))
    return 0


def plan(
    fleet: Fleet, target: Target, boot: Path, kind: Kind, *, replace: bool = False
) -> dict[str, Content]:
    """Return each file that the partition must have, in the order of writing; None for one that must go.

    Raises FleetError where a setting cannot be used, or where somebody's own settings would be written over
    and not `replace`.
    """
    told = settings.gather(fleet, target.name)
    wanted = _common(fleet, target, boot)
    if kind == "cloud-init":
        return _for_cloud_init(told, boot, wanted, replace=replace)
    return _for_bookworm(told, boot, wanted, replace=replace)


def _planned(fleet: Fleet, target: Target, options: argparse.Namespace) -> Report:
    kind = bootpart.recognise(options.boot)
    wanted = plan(fleet, target, options.boot, kind, replace=options.replace)
    report = Report(target.name, kind, options.dry_run, bootpart.changes(options.boot, wanted))
    report.notes = _notes(fleet, target, kind, wanted)
    bootpart.check_space(options.boot, report.changes)
    return report


def _pick(fleet: Fleet, name: str) -> Target:
    names = [target.name for target in fleet.targets]
    if name not in names:
        raise InventoryError(f'--device: no device "{name}" in {fleet.file}; {nearest(name, names)}')
    return fleet.targets[names.index(name)]


def _common(fleet: Fleet, target: Target, boot: Path) -> dict[str, Content]:
    """Return what every image needs: config.txt, and the folder that the first start installs from."""
    release = _release(fleet)
    bundle = f"pressel-{release.version}-{release.arch}.tar.gz"
    board = device_config.HARDWARE / target.board / "board.toml"
    text = configtxt.with_block(bootpart.read_text(boot / "config.txt"), _config_txt(board), boot)
    wanted: dict[str, Content] = {"config.txt": bootpart.to_bytes(text)}
    olds = (boot / FOLDER).glob("pressel-*.tar.gz")
    wanted |= {f"{FOLDER}/{old.name}": None for old in sorted(olds) if old.name != bundle}
    wanted |= {
        f"{FOLDER}/board": f"{target.board}\n".encode(),
        f"{FOLDER}/config.toml": render_config(target).encode(),
        f"{FOLDER}/first-boot.sh": _SCRIPT.read_bytes(),
        f"{FOLDER}/{bundle}": release.path,
    }
    token = f"{target.token.read()}\n" if target.token else ""
    claim = read_claim(target)
    return wanted | _once(boot, f"{FOLDER}/token", token) | _once(boot, f"{FOLDER}/claim.json", claim)


def _release(fleet: Fleet) -> Release:
    release = open_release(fleet.bundle)
    if release.arch != _ARCHITECTURE:
        raise MediaError(
            f"fleet.bundle: {release.path} is for {release.arch}: a Pi needs --arch {_ARCHITECTURE}"
        )
    return release


def _once(boot: Path, path: str, text: str) -> dict[str, Content]:
    """Return that file's content; no word of it where this device has used it up, as its hash says."""
    used = bootpart.read_text(boot / f"{path}.sha256").strip()
    if text and used == hashlib.sha256(text.encode()).hexdigest() and not (boot / path).exists():
        return {}
    return {path: text.encode() or None}


def _config_txt(board: Path) -> tuple[str, ...]:
    """Return the board's lines; the inventory has checked the board."""
    values = tomllib.loads(board.read_text(encoding="utf-8"))
    return tuple(values.get("hat", {}).get("config_txt", ()))


def _for_cloud_init(
    told: Settings, boot: Path, wanted: dict[str, Content], *, replace: bool
) -> dict[str, Content]:
    texts = {name: bootpart.read_text(boot / name) for name in (*bootpart.CLOUD_INIT_FILES, "cmdline.txt")}
    if not replace and not cloudinit.is_stock(texts["user-data"], texts["network-config"]):
        raise _somebodys("user-data or network-config", boot)
    wanted = wanted | {
        "network-config": cloudinit.network_config(told).encode(),
        "user-data": cloudinit.user_data(told, FIRST_BOOT).encode(),
    }
    instance = cloudinit.instance_in(texts["meta-data"])
    if not instance or bootpart.changes(boot, wanted):
        instance = cloudinit.new_instance(told.name)
    country = told.wifi.country if told.wifi else ""
    # The new instance first: should the card be pulled half-way, the next run still finds something to do.
    return {
        "meta-data": cloudinit.meta_data(instance).encode(),
        "cmdline.txt": cloudinit.cmdline(texts["cmdline.txt"], instance, country).encode(),
    } | wanted


def _for_bookworm(
    told: Settings, boot: Path, wanted: dict[str, Content], *, replace: bool
) -> dict[str, Content]:
    names = ("custom.toml", "firstrun.sh", "cmdline.txt")
    custom, script, line = (bootpart.read_text(boot / name) for name in names)
    if not replace and not bookworm.is_stock(custom, script, line):
        raise _somebodys("custom.toml, firstrun.sh or cmdline.txt", boot)
    country = told.wifi.country if told.wifi else ""
    # cmdline.txt last: it must not name a script that is not there yet.
    return wanted | {
        "custom.toml": bookworm.custom_toml(told).encode(),
        "firstrun.sh": bookworm.firstrun(FIRST_BOOT).encode(),
        "cmdline.txt": bookworm.cmdline(line, country).encode(),
    }


def _somebodys(files: str, boot: Path) -> MediaError:
    return MediaError(
        f"{boot}: {files} hold somebody's settings (Raspberry Pi Imager's?): flash the card without "
        "customisation, or write over them with --replace"
    )


def _notes(fleet: Fleet, target: Target, kind: Kind, wanted: dict[str, Content]) -> list[str]:
    """Return what the owner should know of this card."""
    notes = []
    if wanted.get(f"{FOLDER}/claim.json"):
        notes.append(
            "the claim lies on the card in clear, until the device's first start: keep the card by you"
        )
    if wanted.get(f"{FOLDER}/token"):
        notes.append(
            "the token lies on the card in clear, until the device's first start: keep the card by you"
        )
    if not target.claim and not target.token:
        notes.append("neither claim nor token: the device will install, and wait for `pressel enroll`")
    if fleet.wifi_password:
        stays = (
            "stays in network-config on the card"
            if kind == "cloud-init"
            else "lies on the card until the first start"
        )
        notes.append(f"the Wi-Fi key, not its passphrase, {stays}: who has the card can join that network")
    elif fleet.wifi:
        notes.append(f'the Wi-Fi network "{fleet.wifi.ssid}" is open: what is not TLS, others can read')
    else:
        notes.append("no [wifi]: the device needs a cable at its first start")
    if not fleet.media.authorized_keys_files:
        notes.append("no media.authorized_keys_files: nobody can log in, and the fleet cannot reach it")
    return notes


def _write(boot: Path, todo: list[Change], *, quiet: bool) -> None:
    total = sum(change.size for change in todo)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    shown = total >= _BAR_FROM and not quiet and console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not shown) as progress:
        task = progress.add_task("writing the card", total=total)
        wrote: Callable[[int], None] = lambda count: progress.advance(task, count)  # noqa: E731 - a line, used once
        for change in todo:
            bootpart.apply(boot, change, wrote)


def _told(report: Report) -> str:
    word = "would have " if report.dry_run else ""
    lines = [f"{report.device}: a card of {_IMAGES[report.image]}"]
    for change in report.changes:
        lines.append(f"{word}{_action(change)} {change.path}")
        lines += _diff(change) if report.dry_run else []
    lines += [f"note: {note}" for note in report.notes]
    count = len(report.changes)
    lines.append(f"{count} change{'s' * (count != 1)}" if count else "nothing to change")
    return "\n".join(lines)


def _action(change: Change) -> str:
    if change.new is None:
        return "removed"
    return "written" if change.old is None else "changed"


def _diff(change: Change) -> list[str]:
    """Return a change's lines for a person, without secrets."""
    if change.path in _SECRET_FILES:
        return ["    (a secret: not shown)"]
    if not isinstance(change.new, bytes) or change.path == f"{FOLDER}/{_SCRIPT.name}":
        return []
    old, new = (text.decode("utf-8", "replace").splitlines() for text in (change.old or b"", change.new))
    lines = list(difflib.unified_diff(old, new, lineterm="", n=1))[2:]
    return ["    " + _SECRET_LINE.sub(r"\1********", line) for line in lines if not line.startswith("@@")]


_IMAGES: dict[str, str] = {
    "cloud-init": "Raspberry Pi OS with cloud-init",
    "bookworm": "Raspberry Pi OS Bookworm",
}
