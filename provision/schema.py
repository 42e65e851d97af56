"""What may stand in fleet.toml: its sections as types; a wrong key is told the nearest right one."""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from provision.errors import InventoryError

Count = Annotated[int, Meta(ge=1, le=1000)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Kind = TypeVar("Kind")


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Root of all sections: an unknown key is an error."""


class SecretSource(Section, frozen=True):
    """Where a secret comes from: one of the two."""

    file: Annotated[str, Meta(min_length=1)] | None = None
    command: Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1)] | None = None

    def __post_init__(self) -> None:
        if (self.file is None) == (self.command is None):
            raise ValueError('a secret is { file = "…" } or { command = ["…"] }')


class FleetSection(Section, frozen=True):
    """The fleet: its companion, its release, and how an update goes out.

    `canary` devices first and alone, then `batch` at a time; above `fail_percent` of a batch it stops.
    `gate_s`: how long a new release must prove itself on a device.
    """

    companion: str
    name: str = "fleet"
    bundle: str = ""
    canary: Annotated[int, Meta(ge=0, le=1000)] = 1
    batch: Count = 5
    fail_percent: Annotated[float, Meta(ge=0, le=100)] = 20
    gate_s: Annotated[int, Meta(ge=0, le=3600)] = 60


class Ssh(Section, frozen=True):
    """How a device is reached. Without `key_file` the agent's keys and those of ~/.ssh are tried."""

    user: Annotated[str, Meta(min_length=1)] = "ops"
    port: Port = 22
    key_file: str = ""
    known_hosts_file: str = "known_hosts"


class Wifi(Section, frozen=True):
    """The radio network that first-boot media carry."""

    ssid: Annotated[str, Meta(min_length=1, max_length=32)]
    country: Annotated[str, Meta(pattern="^[A-Z]{2}$")]
    password: SecretSource | None = None
    hidden: bool = False


class Media(Section, frozen=True):
    """What first-boot media set up besides Pressel: the login."""

    user: Annotated[str, Meta(pattern="^[a-z_][a-z0-9_-]{0,31}$")] = "ops"
    authorized_keys_files: list[str] = []
    timezone: str = "Etc/UTC"


class Shared(Section, frozen=True):
    """Keys of [defaults], [groups.NAME] and [devices.NAME]; `config` becomes the device's config.toml."""

    board: str = ""
    config: dict[str, Any] = {}


class Device(Section, frozen=True):
    """A device, its groups' keys merged in."""

    host: Annotated[str, Meta(min_length=1)]
    groups: list[str] = []
    board: str = ""
    config: dict[str, Any] = {}
    ssh: dict[str, Any] = {}
    claim: SecretSource | None = None
    token: SecretSource | None = None


class Document(Section, frozen=True):
    """The whole file."""

    fleet: FleetSection
    ssh: Ssh = Ssh()
    wifi: Wifi | None = None
    media: Media = Media()
    defaults: Shared = Shared()
    groups: dict[str, Shared] = {}
    devices: dict[str, Device] = {}


def read(values: dict[str, Any]) -> Document:
    """Check a parsed fleet.toml. Raises InventoryError that names the key."""
    _check_keys(values, Document, "")
    for section, kind in _SECTIONS.items():
        _check_keys(values.get(section), kind, f"{section}.")
    for section, kind in (("groups", Shared), ("devices", Device)):
        tables = values.get(section)
        for name, inner in tables.items() if isinstance(tables, dict) else ():
            _check_keys(inner, kind, f"{section}.{name}.")
            if isinstance(inner, dict):
                _check_keys(inner.get("ssh"), Ssh, f"{section}.{name}.ssh.")
            convert(inner, kind, f"{section}.{name}.")  # here the name is known
    return convert(values, Document, "")


def convert(values: Any, kind: type[Kind], prefix: str) -> Kind:
    """Return the values as that type. Raises InventoryError that names the key under `prefix`."""
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `")
        key = f"{prefix}{re.sub(r'^[$][.]?', '', where.rstrip('`'))}".rstrip(".")
        raise InventoryError(_plainly(what, key)) from None


def _plainly(what: str, key: str) -> str:
    """Return msgspec's words in those of TOML."""
    found = re.fullmatch("Object (missing required field|contains unknown field) `(.*)`", what)
    if found and found[1].startswith("missing"):
        return f"{key}.{found[2]} is missing".removeprefix(".")
    what = f"unknown key {found[2]}" if found else what.replace("`object`", "a table")
    return f"{key}: {what}" if key else what


def nearest(word: str, known: list[str]) -> str:
    """Return how to go on after a wrong name."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known) or 'none'}"


def _check_keys(values: Any, kind: type[Section], prefix: str) -> None:
    if not isinstance(values, dict):
        return  # absent, or of a wrong type: convert names it
    known = [field.name for field in msgspec.structs.fields(kind)]
    for key, value in values.items():
        if key not in known:
            raise InventoryError(f"unknown key {prefix}{key}; {nearest(key, known)}")
        if key in _SECRETS and isinstance(value, str):
            raise InventoryError(
                f"{prefix}{key} must not stand in the inventory: name where it is kept, "
                f'as in {key} = {{ file = "secrets/{key}" }} or {{ command = ["pass", "{key}"] }}'
            )


_SECRETS = {"password", "claim", "token"}
_SECTIONS: dict[str, type[Section]] = {
    "fleet": FleetSection,
    "ssh": Ssh,
    "wifi": Wifi,
    "media": Media,
    "defaults": Shared,
}
