"""One wave of devices brought to the release: bundle and files sent, install.sh run, its answer read."""

from __future__ import annotations

import io
import itertools
import shlex
import time
from typing import TYPE_CHECKING, Any

from pyinfra.operations import files, server

from provision.fleet.facts import as_root
from provision.fleet.planning import CLAIM_FILE, CONFIG_FILE, TOKEN_FILE, reboot
from provision.fleet.report import Outcome
from provision.fleet.ssh import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyinfra.api.operation import OperationMeta

    from provision.fleet.planning import Plan
    from provision.fleet.release import Release
    from provision.fleet.report import Progress, Result

# Belongs to the login, 0700: what is sent goes there without a detour through /tmp.
STAGE = "/var/cache/pressel-fleet"
INSTALL_S = 1800  # a first install fetches Debian packages and makes a venv on a slow card
ROLLED_BACK = 3
_OPTIONS = {CONFIG_FILE: "--config", CLAIM_FILE: "--claim", TOKEN_FILE: "--token-file"}
_NO_REASON = ("changed ", "install.sh: ", "reboot needed")  # what the installer says beside the gate's words
_MADE = f'install -d -m 700 -o "${{SUDO_USER:-root}}" {STAGE}'


def deploy(
    plans: Sequence[Plan], release: Release, gate_s: int, parallel: int, progress: Progress
) -> list[Outcome]:
    """Install the release on these devices, several at a time, and return what became of each."""
    began = time.monotonic()
    targets = [plan.target for plan in plans]
    for plan in plans:
        progress.begin(plan.target.name, 1 if plan.gate_only else 3 + len(plan.files))
    with Session(targets, parallel, progress.step) as session:
        operations = _operations(session, plans, release, gate_s)
        session.run()
        outcomes = [_outcome(plan, session, operations, release) for plan in plans]
    took = round(time.monotonic() - began, 1)
    for outcome in outcomes:
        progress.end(outcome)
    return [_timed(outcome, took) for outcome in outcomes]


def install_script(plan: Plan, bundle: str, gate_s: int) -> str:
    """Return the shell script that unpacks the bundle and runs its installer; what was sent is removed."""
    given = " ".join(f"{_OPTIONS[name]} {STAGE}/{name}" for name in plan.files)
    sent = " ".join(f"{STAGE}/{name}" for name in _OPTIONS)
    return f"""
set -eu
trap 'rm -rf {STAGE}/unpacked {sent}' EXIT
rm -rf {STAGE}/unpacked
mkdir -m 700 {STAGE}/unpacked
tar -xzf {STAGE}/{shlex.quote(bundle)} -C {STAGE}/unpacked --strip-components=1 --no-same-owner
status=0
bash {STAGE}/unpacked/install.sh --board {shlex.quote(plan.target.board)} {given} --gate {gate_s} || status=$?
find {STAGE} -maxdepth 1 -name '*.tar.gz' ! -name {shlex.quote(bundle)} -delete
echo "exit $status"
exit "$status"
"""


def gate_script(gate_s: int) -> str:
    """Return the shell script that has an installed release prove itself again."""
    return f"/opt/pressel/current/bin/pressel gate --seconds {max(1, gate_s)}"


def _operations(
    session: Session, plans: Sequence[Plan], release: Release, gate_s: int
) -> dict[str, list[tuple[str, OperationMeta]]]:
    """Add what is to be done, in order; return each device's operations with their names."""
    done: dict[str, list[tuple[str, OperationMeta]]] = {plan.target.name: [] for plan in plans}

    def add(operation: Any, names: list[str], name: str, **arguments: Any) -> None:
        for device, meta in session.operate(operation, names, name=name, **arguments).items():
            done[device].append((name, meta))

    bundle = release.path.name
    everyone = [plan.target.name for plan in plans if not plan.gate_only]
    add(server.shell, everyone, "make room", commands=[as_root(_MADE)], _timeout=60)
    sending = f"send {bundle} ({release.size_mb:.0f} MB)"
    add(files.put, everyone, sending, src=str(release.path), dest=f"{STAGE}/{bundle}")
    for file in _OPTIONS:
        for plan in plans:
            if file in plan.files:
                content = io.StringIO(plan.files[file])
                add(
                    files.put,
                    [plan.target.name],
                    f"send {file}",
                    src=content,
                    dest=f"{STAGE}/{file}",
                    mode="600",
                )
    for plan in plans:
        script = gate_script(gate_s) if plan.gate_only else install_script(plan, bundle, gate_s)
        name = f"gate, {gate_s} s" if plan.gate_only else f"install, then {gate_s} s of gate"
        add(server.shell, [plan.target.name], name, commands=[as_root(script)], _timeout=INSTALL_S + gate_s)
    return done


def _outcome(
    plan: Plan, session: Session, operations: dict[str, list[tuple[str, OperationMeta]]], release: Release
) -> Outcome:
    name = plan.target.name
    if name in session.failures:
        return Outcome(name, "unreachable", plan.version, session.failures[name], plan.steps)
    for what, meta in operations[name]:
        if meta.is_complete() and meta.did_succeed():
            continue
        lines = [*meta.stdout_lines, *meta.stderr_lines] if meta.is_complete() else []
        if not session.connected(name) and exit_status(lines) is None:
            detail = f"the SSH connection broke during: {what}; apply again goes on from there"
            return Outcome(name, "failed", plan.version, detail, plan.steps)
        return failure(plan, what, lines)
    if plan.gate_only:
        return Outcome(name, "unchanged", plan.version, "passed its gate")
    said = operations[name][-1][1].stdout_lines
    if "nothing to change" in said:
        return Outcome(name, "unchanged", release.version, "it is as it should be already", plan.steps)
    due = [reboot(plan.target)] if any(line.startswith("reboot needed") for line in said) else []
    return Outcome(name, "changed", release.version, "; ".join((*plan.steps, *due)), plan.steps)


def failure(plan: Plan, what: str, lines: Sequence[str]) -> Outcome:
    """Return what an operation that ended badly says for itself."""
    result: Result = "rolled back" if exit_status(lines) == ROLLED_BACK else "failed"
    why = "; ".join(reasons(lines)) or "it gave no reason, or took too long"
    detail = why if result == "rolled back" else f"{what}: {why}"
    return Outcome(plan.target.name, result, plan.version, detail, plan.steps)


def reasons(lines: Sequence[str]) -> list[str]:
    """Return what the gate had against it, and the installer's last word."""
    said = [line.strip() for line in lines if line.strip() and not line.startswith(("exit ", "sudo: "))]
    last = said[-1:]
    start = next((number for number, line in enumerate(said) if line.startswith("gate: ")), len(said))
    against = itertools.takewhile(lambda line: not line.startswith(_NO_REASON), said[start + 1 :])
    return [line.removeprefix("install.sh: ") for line in (*against, *last)]


def exit_status(lines: Sequence[str]) -> int | None:
    """Return the status that the installer ended with, None when it did not get so far."""
    ends = [line.removeprefix("exit ") for line in lines if line.startswith("exit ")]
    return int(ends[-1]) if ends and ends[-1].isdecimal() else None


def _timed(outcome: Outcome, seconds: float) -> Outcome:
    return Outcome(outcome.name, outcome.result, outcome.version, outcome.detail, outcome.steps, seconds)
