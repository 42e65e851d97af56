"""The inventory: fleet.toml read, checked, and resolved to one target for each device."""

from __future__ import annotations

import fnmatch
import re
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from device import config as device_config
from device.errors import ConfigError
from provision import schema, toml
from provision.errors import InventoryError
from provision.schema import Ssh, nearest
from provision.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # a host name's label (RFC 1123), lower case


@dataclass(frozen=True)
class Target:
    """A device with all that its groups and the defaults say. `config` becomes its config.toml."""

    name: str
    host: str
    ssh: Ssh
    groups: tuple[str, ...]
    board: str
    config: dict[str, Any]
    claim: Secret | None
    token: Secret | None


@dataclass(frozen=True)
class Fleet:
    """A fleet. `file`: where it was read from; `bundle`: the release, None when none is named."""

    file: Path
    settings: schema.FleetSection
    media: schema.Media
    wifi: schema.Wifi | None
    wifi_password: Secret | None
    bundle: Path | None
    targets: tuple[Target, ...]

    @property
    def companion(self) -> str:
        """The companion's URL."""
        return self.settings.companion

    @property
    def folder(self) -> Path:
        """Where relative paths of the inventory begin."""
        return self.file.parent

    def select(self, limit: str | None = None) -> list[Target]:
        """Return the devices that a comma list of names, groups and globs picks, in the file's order.

        Raises InventoryError for a part that picks none.
        """
        parts = ["*"] if limit is None else [part.strip() for part in limit.split(",")]
        if not all(parts):
            raise InventoryError("--limit: an empty name; leave --limit out for all devices")
        for part in parts:
            if not any(_picks(part, target) for target in self.targets):
                known = sorted({name for target in self.targets for name in (target.name, *target.groups)})
                raise InventoryError(f'--limit: no device or group "{part}"; {nearest(part, known)}')
        return [target for target in self.targets if any(_picks(part, target) for part in parts)]


def load(path: Path) -> Fleet:
    """Read and check an inventory. Raises InventoryError: one line, the file first."""
    try:
        return _load(path)
    except InventoryError as error:
        raise InventoryError(f"{path}: {error}") from None


def render_config(target: Target) -> str:
    """Return the text of the device's /etc/pressel/config.toml, checked as the device will check it.

    Raises InventoryError that names the device and the key.
    """
    text = f"# Written by pressel-fleet for {target.name}: change the inventory, not this file.\n"
    try:
        text += toml.dumps(target.config)
    except TypeError as error:
        raise InventoryError(f"{target.name}: config: {error}") from None
    board = device_config.HARDWARE / target.board / "board.toml"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.toml")
        file.write_text(text)
        try:
            device_config.load(file, board)
        except ConfigError as error:
            raise InventoryError(f"{target.name}: config: {str(error).replace(f'{file}: ', '')}") from None
    return text


def _load(path: Path) -> Fleet:
    document = schema.read(_parse(path))
    _check(document)
    folder = path.absolute().parent
    targets = tuple(_target(name, document, folder) for name in document.devices)
    _check_apart(targets)
    for target in targets:
        render_config(target)
    wifi = document.wifi
    return Fleet(
        file=path.absolute(),
        settings=document.fleet,
        media=document.media,
        wifi=wifi,
        wifi_password=_secret("wifi: password", folder, wifi.password if wifi else None),
        bundle=_below(folder, document.fleet.bundle) if document.fleet.bundle else None,
        targets=targets,
    )


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InventoryError("there is no such file; name the inventory with --inventory FILE") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        # A name that stands there twice comes out here too, with its line.
        raise InventoryError(f"cannot be read: {error}") from None


def _check(document: schema.Document) -> None:
    """Refuse what the types let through."""
    scheme, _, rest = document.fleet.companion.partition("://")
    if scheme not in ("https", "http") or not rest:
        raise InventoryError('fleet.companion must be a URL, as in "https://companion.example:8790"')
    if not document.devices:
        raise InventoryError("no device: add [devices.NAME] with its host")
    for name, device in document.devices.items():
        if not _NAME.fullmatch(name):
            raise InventoryError(f'devices."{name}": a name is a host name: a-z, 0-9 and -, at most 63')
        if name in document.groups:
            raise InventoryError(f'"{name}" is a device and a group: --limit could not tell them apart')
        for group in device.groups:
            if group not in document.groups:
                raise InventoryError(
                    f'devices.{name}.groups: no group "{group}"; {nearest(group, list(document.groups))}'
                )


def _target(name: str, document: schema.Document, folder: Path) -> Target:
    device = document.devices[name]
    layers: list[schema.Shared | schema.Device] = [document.defaults]
    layers += [document.groups[group] for group in device.groups]
    layers.append(device)
    board = next((layer.board for layer in reversed(layers) if layer.board), "")
    _check_board(name, board)
    config: dict[str, Any] = {"backend": {"url": document.fleet.companion}}
    for layer in layers:
        config = merge(config, layer.config)
    if "board" in config:
        raise InventoryError(f"{name}: config.board: set `board` beside `config`, not in it")
    return Target(
        name=name,
        host=device.host,
        ssh=_ssh(name, document.ssh, device.ssh, folder),
        groups=tuple(device.groups),
        board=board,
        config=config,
        claim=_secret(f"{name}: claim", folder, device.claim),
        token=_secret(f"{name}: token", folder, device.token),
    )


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return both, key by key; where both have a key, a table is merged and anything else replaced."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]  # `both` says so
    return merged


def _check_board(name: str, board: str) -> None:
    boards = sorted(path.parent.name for path in device_config.HARDWARE.glob("*/board.toml"))
    if not board:
        raise InventoryError(
            f"devices.{name}: board is missing: set it here or in [defaults], one of {', '.join(boards)}"
        )
    if board not in boards:
        raise InventoryError(f'devices.{name}: there is no board "{board}"; {nearest(board, boards)}')


def _ssh(name: str, common: Ssh, own: dict[str, Any], folder: Path) -> Ssh:
    ssh = schema.convert(msgspec.structs.asdict(common) | own, Ssh, f"devices.{name}.ssh.")
    return msgspec.structs.replace(
        ssh,
        key_file=str(_below(folder, ssh.key_file)) if ssh.key_file else "",
        known_hosts_file=str(_below(folder, ssh.known_hosts_file)),
    )


def _secret(name: str, folder: Path, source: schema.SecretSource | None) -> Secret | None:
    return Secret(name, folder, source.file, source.command) if source else None


def _below(folder: Path, name: str) -> Path:
    try:
        return folder / Path(name).expanduser()
    except RuntimeError as error:  # ~somebody
        raise InventoryError(f"{name}: {error}") from None


def _check_apart(targets: Iterable[Target]) -> None:
    """Refuse two names for one machine, and a claim, which serves once, given to two."""
    machines: dict[tuple[str, int], str] = {}
    claims: dict[str, str] = {}
    for target in targets:
        other = machines.setdefault((target.host, target.ssh.port), target.name)
        if other != target.name:
            raise InventoryError(
                f"{other} and {target.name} have the same host, {target.host} port {target.ssh.port}"
            )
        if target.claim and target.claim.file:
            other = claims.setdefault(target.claim.file, target.name)
            if other != target.name:
                raise InventoryError(
                    f"{other} and {target.name} have the same claim, {target.claim.file}: it serves once"
                )


def _picks(part: str, target: Target) -> bool:
    return part in target.groups or fnmatch.fnmatchcase(target.name, part)
