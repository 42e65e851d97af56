"""One wave of devices brought to the release: bundle and files sent, install.sh run, its answer read."""

from __future__ import annotations

import io
import itertools
import shlex
from dataclasses import replace
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from pyinfra.operations import files, server

from provision.fleet.facts import CALL_S, as_root
from provision.fleet.planning import CLAIM_FILE, CONFIG_FILE, TOKEN_FILE, reboot
from provision.fleet.report import Outcome
from provision.fleet.ssh import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyinfra.api.operation import OperationMeta

    from provision.fleet.planning import Plan
    from provision.fleet.report import Progress, Result
    from provision.release import Release

# Belongs to the login, 0700: what is sent goes there without a detour through /tmp. Each run has a folder for
# itself in it; the bundle goes back to where the next run finds it.
STAGE = "/var/cache/pressel-fleet"
_LEFT_MINUTES = 120  # a run's folder that is so old belongs to no run any more: a desk or a connection died
SEND_S = 1800  # a bundle, over a radio that hardly reaches
INSTALL_S = 1800  # a first install fetches Debian packages and makes a venv on a slow card
ROLLED_BACK = 3
_OPTIONS = {CONFIG_FILE: "--config", CLAIM_FILE: "--claim", TOKEN_FILE: "--token-file"}
_NO_REASON = ("changed ", "install.sh: ", "reboot needed")  # what the installer says beside the gate's words


def deploy(
    plans: Sequence[Plan], release: Release, gate_s: int, parallel: int, progress: Progress
) -> list[Outcome]:
    """Install the release on these devices, several at a time, and return what became of each."""
    for plan in plans:
        progress.begin(plan.target.name, 1 if plan.gate_only else 3 + len(plan.files))
    outcomes: dict[str, Outcome] = {}
    with Session([plan.target for plan in plans], parallel) as session:
        operations = _operations(session, plans, release, gate_s)
        by_name = {plan.target.name: plan for plan in plans}

        def done(name: str) -> None:
            outcome = _outcome(by_name[name], session, operations[name], release)
            outcomes[name] = replace(outcome, seconds=session.seconds.get(name, 0.0))
            progress.end(outcomes[name])

        for name in session.failures:
            done(name)
        session.run(progress.step, done)
    return [outcomes[plan.target.name] for plan in plans]


def room_script(folder: str, bundle: str) -> str:
    """Return the shell script that makes this run's folder, with the bundle where one was sent before.

    It removes the folders of runs that died.
    """
    return f"""
set -e
install -d -m 700 -o "${{SUDO_USER:-root}}" {STAGE} {folder}
mv {STAGE}/{shlex.quote(bundle)} {folder} 2>/dev/null || true
find {STAGE} -mindepth 1 -maxdepth 1 -type d -mmin +{_LEFT_MINUTES} -exec rm -rf {{}} +
"""


def install_script(plan: Plan, bundle: str, folder: str, gate_s: int) -> str:
    """Return the shell script that unpacks the bundle, runs its installer and removes this run's folder.

    Nothing is printed before the installer has ended: a desk that is gone must not end it, since it is the
    device that takes a release back.
    """
    given = " ".join(f"{_OPTIONS[name]} {folder}/{name}" for name in plan.files)
    return f"""
set -eu
trap 'rm -rf {folder}' EXIT
mkdir -m 700 {folder}/unpacked
tar -xzf {folder}/{shlex.quote(bundle)} -C {folder}/unpacked --strip-components=1 --no-same-owner
board={shlex.quote(plan.target.board)}
status=0
said=$(bash {folder}/unpacked/install.sh --board "$board" {given} --gate {gate_s} 2>&1) || status=$?
find {STAGE} -maxdepth 1 -name '*.tar.gz' -delete
mv {folder}/{shlex.quote(bundle)} {STAGE} || true
rm -rf {folder}
printf '%s\\n' "$said"
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
    added: dict[str, list[tuple[str, OperationMeta]]] = {plan.target.name: [] for plan in plans}

    def add(operation: Any, names: list[str], what: str, limit_s: float, **arguments: Any) -> None:
        for device, meta in session.operate(operation, names, what, limit_s, **arguments).items():
            added[device].append((what, meta))

    bundle, folder = release.path.name, f"{STAGE}/run-{token_hex(4)}"
    everyone = [plan.target.name for plan in plans if not plan.gate_only]
    add(server.shell, everyone, "make room", CALL_S, commands=[as_root(room_script(folder, bundle))])
    sending = f"send {bundle} ({release.size_mb:.0f} MB)"
    add(files.put, everyone, sending, SEND_S, src=str(release.path), dest=f"{folder}/{bundle}")
    for plan in plans:
        name = plan.target.name
        for file, text in plan.files.items():
            add(
                files.put,
                [name],
                f"send {file}",
                CALL_S,
                src=io.StringIO(text),
                dest=f"{folder}/{file}",
                mode="600",
            )
        script = gate_script(gate_s) if plan.gate_only else install_script(plan, bundle, folder, gate_s)
        what = f"gate, {gate_s} s" if plan.gate_only else f"install, then {gate_s} s of gate"
        add(server.shell, [name], what, INSTALL_S + gate_s, commands=[as_root(script)])
    return added


def _outcome(
    plan: Plan, session: Session, operations: list[tuple[str, OperationMeta]], release: Release
) -> Outcome:
    name = plan.target.name
    if not operations:
        return Outcome(name, "unreachable", plan.version, session.failures[name], plan.steps)
    for what, meta in operations:
        if meta.is_complete() and meta.did_succeed():
            continue
        lines = [*meta.stdout_lines, *meta.stderr_lines] if meta.is_complete() else []
        if not session.connected(name) and exit_status(lines) is None:
            broke = session.failures.get(name, "the SSH connection broke")
            detail = f"{broke} during: {what}; apply again goes on from there"
            return Outcome(name, "failed", plan.version, detail, plan.steps)
        return failure(plan, what, [*lines, *filter(None, [session.failures.get(name)])])
    if plan.gate_only:
        return Outcome(name, "unchanged", plan.version, "passed its gate")
    said = operations[-1][1].stdout_lines
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
