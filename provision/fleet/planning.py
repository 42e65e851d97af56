"""What a device needs: its facts beside the inventory's wish; a pure comparison but for reading secrets."""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provision.claim import is_companion, read_claim
from provision.fleet.facts import json_of, text_of
from provision.inventory import Target, render_config

if TYPE_CHECKING:
    from provision.release import Release

TOKEN_FILE, CLAIM_FILE, CONFIG_FILE = "token", "claim.json", "config.toml"


@dataclass(frozen=True)
class Plan:
    """What apply would do to a device. `steps`: in words, none when nothing is to change.

    `files`: what goes beside the bundle, by name; it may hold secrets and is never shown. `problem`: why the
    release cannot be installed there. `gate_only`: all is installed, and has to show that it works.
    """

    target: Target
    version: str
    steps: tuple[str, ...] = ()
    diff: str = ""
    problem: str = ""
    gate_only: bool = False
    files: dict[str, str] = field(default_factory=dict, repr=False)


def make_plan(target: Target, release: Release, found: dict[str, str]) -> Plan:
    """Compare a device's facts with the inventory. Raises SecretError for one that it needs and lacks."""
    version = found.get("current", "")
    if problem := _unfit(release, found):
        return Plan(target, version, problem=problem)
    wanted = render_config(target)
    have = text_of(found, "config")
    files = {} if have == wanted else {CONFIG_FILE: wanted}
    steps = [*_release_steps(release, found), *_board_steps(target, found)]
    if have != wanted:
        steps.append("write config.toml" if have is None else "change config.toml")
    steps += _secret_steps(target, found, files)
    if CLAIM_FILE in files and found.get("refused") == _sha256(files[CLAIM_FILE]):
        return Plan(target, version, problem=_spent(target))
    gate_only = not steps and found.get("service") == "active"
    steps += [] if steps else _health_steps(found)
    if steps and "reboot" in found and version == release.version and not files:
        return Plan(target, version, problem=reboot(target))
    return Plan(target, version, tuple(steps), _diff(have, wanted), gate_only=gate_only, files=files)


def _unfit(release: Release, found: dict[str, str]) -> str:
    """Return why the release cannot be installed there, "" when it can."""
    if found.get("arch") != release.arch:
        return f"the bundle is for {release.arch}, the device is {found.get('arch', 'unknown')}"
    if found.get("current") != release.version:
        return _lack_of_room(release, found)
    if release.build and found.get("build", release.build) != release.build:
        return f"{release.version} there was made from another bundle: build this one with another --version"
    return ""


def _lack_of_room(release: Release, found: dict[str, str]) -> str:
    """Return why the bundle, and what is unpacked of it, has no room; /opt is the installer's."""
    free, need = found.get("stage_free_mb", ""), round(2 * release.size_mb) + 1
    if not free.isdecimal() or int(free) >= need:
        return ""
    return f"{free} MB are free below /var/cache, the bundle needs {need}: make room"


def _spent(target: Target) -> str:
    return (
        "the companion has refused this claim (pressel ctl status on the device says why): make another with "
        f"pressel-companion claims new {target.name} --replace --out FILE"
    )


def reboot(target: Target) -> str:
    """Return what is to be done about a config.txt that has changed."""
    return (
        f"a reboot is due for config.txt: pressel-fleet run --limit {target.name} -- systemctl reboot, "
        "then apply again"
    )


def _release_steps(release: Release, found: dict[str, str]) -> list[str]:
    current = found.get("current")
    if current is None:
        return [f"install {release.version}"]
    if current != release.version:
        return [f"update {current} to {release.version}"]
    return [f"settle {current}, which has not passed its gate"] if "trial" in found else []


def _board_steps(target: Target, found: dict[str, str]) -> list[str]:
    text = text_of(found, "board")
    if text is None:
        return [f"set the board {target.board}"]
    try:
        board = str(tomllib.loads(text).get("name", ""))
    except tomllib.TOMLDecodeError:
        board = "unreadable"
    return [] if board == target.board else [f"change the board from {board} to {target.board}"]


def _health_steps(found: dict[str, str]) -> list[str]:
    """Return what is to be done where all is installed: nothing, when it works."""
    service = found.get("service") or "unknown"
    if service != "active":
        return [f"start the service, which is {service}"]
    check = json_of(found, "check")
    return [] if check.get("ok") else [f"look again: {check.get('error', 'the daemon does not answer')}"]


def _secret_steps(target: Target, found: dict[str, str], files: dict[str, str]) -> list[str]:
    """Return the steps, and put what they need into `files`."""
    steps = []
    if target.token:
        token = target.token.read() + "\n"
        if found.get("token") != _sha256(token):
            files[TOKEN_FILE] = token
            steps.append("write the token")
    if target.claim and not _enrolled(target, found):
        claim = read_claim(target)
        if found.get("claim") != _sha256(claim):
            files[CLAIM_FILE] = claim
            steps.append("hand over the claim")
    return steps


def _enrolled(target: Target, found: dict[str, str]) -> bool:
    """Whether it has an identity with this companion under this name; its claim is then spent."""
    identity = json_of(found, "identity")
    return identity.get("name") == target.name and is_companion(target, identity.get("url"))


def _diff(have: str | None, wanted: str) -> str:
    if have == wanted:
        return ""
    lines = (have or "").splitlines(), wanted.splitlines()
    return "\n".join(
        difflib.unified_diff(*lines, "config.toml on the device", "config.toml wanted", lineterm="", n=1)
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.replace("\n", "").encode()).hexdigest()  # as the facts do
