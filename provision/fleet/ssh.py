"""Devices reached over SSH, many at a time: pyinfra's state, and each device by itself.

gevent must have patched the standard library before this is imported (provision/cli.py).
"""

from __future__ import annotations

import logging
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from gevent import spawn_later
from paramiko import SSHException
from paramiko.hostkeys import HostKeyEntry
from pyinfra.api.config import Config
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.inventory import Inventory
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_host_op
from pyinfra.api.state import State
from pyinfra.connectors.sshuserclient.client import get_host_keys
from pyinfra.context import ctx_host, ctx_state

from provision.errors import InventoryError
from provision.fleet.explain import explain, no_sudo, why_silent
from provision.fleet.facts import CALL_S, NO_SUDO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pyinfra.api.facts import FactBase
    from pyinfra.api.host import Host
    from pyinfra.api.operation import OperationMeta

    from provision.inventory import Target

CONNECT_S = 10
KEEP_ALIVE_S = 10
SILENT_S = 40  # after so long without an acknowledgement a connection counts as broken
_WAITS = ("banner_timeout", "auth_timeout", "channel_timeout")
BROKEN = (PyinfraError, SSHException, OSError, EOFError, ValueError)  # what a device's fault may raise here

# What pyinfra logs is told in the report instead, a line for each device.
logging.getLogger("pyinfra").addHandler(logging.NullHandler())
logging.getLogger("pyinfra").propagate = False
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


class Session:
    """Connections to some devices while the context is open.

    `failures`: why a device is out, by name; it is asked nothing more. `seconds`: what its operations took.
    """

    def __init__(self, targets: Sequence[Target], parallel: int) -> None:
        self.failures: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self._targets = {target.name: target for target in targets}
        check_keys(targets)
        names = [(target.name, _ssh_data(target)) for target in targets]
        config = Config(CONNECT_TIMEOUT=CONNECT_S, PARALLEL=min(parallel, max(1, len(names))))
        # No dry run by pyinfra: what is to change was found out by facts before.
        self._state = State(Inventory((names, {})), config, check_for_changes=False)
        self._hosts: dict[str, Host] = {host.name: host for host in self._state.inventory}
        self._steps: dict[str, list[tuple[str, float]]] = {name: [] for name in self._hosts}

    def __enter__(self) -> Self:
        get_host_keys.cache.clear()  # else a key seen a moment ago counts as new
        self._each(list(self._hosts), self._connect)
        return self

    def __exit__(self, *_: object) -> None:
        for host in self._hosts.values():
            client = _client(host)
            if client:
                client.close()

    @property
    def alive(self) -> list[str]:
        """The names of the devices that nothing went wrong with."""
        return [name for name in self._targets if name not in self.failures]

    def facts(self, fact: type[FactBase[Any]], asked: Callable[[str], None]) -> dict[str, Any]:
        """Ask every device that is alive, and return the answers by name; `asked` is told each name."""
        found: dict[str, Any] = {}

        def ask(name: str) -> None:
            answer = self._hosts[name].get_fact(fact, _timeout=CALL_S, _ignore_errors=True)
            if answer:
                found[name] = answer
            else:
                self.failures[name] = self._why_silent(name)
            asked(name)

        for name in self.failures:
            asked(name)
        self._each(self.alive, ask)
        return found

    def shell(self, command: str, timeout_s: float | None, done: Callable[[str, bool, Any], None]) -> None:
        """Run it on every device; `done` gets the name, whether it ended with 0, and the output."""

        def run(name: str) -> None:
            well, output = self._hosts[name].run_shell_command(command, _timeout=timeout_s)
            if not well and not self.connected(name):
                self.failures[name] = "the SSH connection broke while the command ran"
            elif NO_SUDO in output.stdout_lines:
                self.failures[name] = no_sudo(self._targets[name].ssh.user)
            else:
                done(name, well, output)

        self._each(self.alive, run)

    def operate(
        self, operation: Any, names: Sequence[str], what: str, limit_s: float, **arguments: Any
    ) -> dict[str, OperationMeta]:
        """Add an operation of pyinfra, `what` in words, for these devices; `run` carries it out."""
        there = [name for name in names if name not in self.failures]
        for name in there:
            self._steps[name].append((what, limit_s))
        hosts = [self._hosts[name] for name in there]
        metas: dict[Host, OperationMeta] = (
            add_op(self._state, operation, host=hosts, name=what, **arguments) if hosts else {}
        )
        return {host.name: meta for host, meta in metas.items()}

    def run(self, begun: Callable[[str, str], None], done: Callable[[str], None]) -> None:
        """Carry out each device's operations up to the first that fails, whatever becomes of the others.

        `begun` is told a device's name and its operation, `done` the name of one that has ended.
        """

        def carry_out(name: str) -> None:
            start = time.monotonic()
            try:
                self._carry_out(name, begun)
            except BROKEN as error:
                if self.connected(name):
                    self.failures[name] = explain(self._targets[name], error)
            self.seconds[name] = round(time.monotonic() - start, 1)
            done(name)

        self._state.is_executing = True
        with ctx_state.use(self._state):
            self._each(self.alive, carry_out)

    def _carry_out(self, name: str, begun: Callable[[str, str], None]) -> None:
        """Not by pyinfra's run_ops: there each device waits for the others after every operation."""
        host = self._hosts[name]
        with ctx_host.use(host):
            for (what, limit_s), operation in zip(self._steps[name], host.op_hash_order, strict=True):
                begun(name, what)
                guard = spawn_later(limit_s, self._cut, name, limit_s)
                try:
                    if not run_host_op(self._state, host, operation):
                        return
                finally:
                    guard.kill()

    def _cut(self, name: str, limit_s: float) -> None:
        """Hang up: a device that is stuck (its card, say) may acknowledge for ever and answer nothing."""
        self.failures[name] = f"no end within {limit_s:.0f} s"
        _client(self._hosts[name]).get_transport().close()

    def connected(self, name: str) -> bool:
        """Whether a device's connection still stands."""
        client = _client(self._hosts[name])
        transport = client.get_transport() if client else None
        return bool(transport and transport.is_active())

    def _each(self, names: Sequence[str], do: Callable[[str], None]) -> None:
        """Do it for several at a time; what goes wrong with one becomes its line."""

        def guarded(name: str) -> None:
            try:
                do(name)
            except BROKEN as error:
                self.failures[name] = explain(self._targets[name], error)

        self._state.pool.map(guarded, names)

    def _connect(self, name: str) -> None:
        host = self._hosts[name]
        host.connect(show_errors=False, raise_exceptions=True)
        client = _client(host)
        transport = client.get_transport()
        transport.set_keepalive(KEEP_ALIVE_S)
        # A peer that is gone without a word: the keep-alives stay unacknowledged, and the kernel gives up.
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_S * 1000)
        client.exec_command = _tolerant(client.exec_command)
        self._state.activate_host(host)

    def _why_silent(self, name: str) -> str:
        if not self.connected(name):
            return "the SSH connection broke while it was asked for its state"

        def ask(command: str) -> list[str]:
            return self._hosts[name].run_shell_command(command, _timeout=CONNECT_S)[1].stdout_lines

        return why_silent(ask, self._targets[name].ssh.user)


def _client(host: Host) -> Any:
    """Return the host's paramiko client, None before it is connected."""
    return getattr(host.connector, "client", None)


class _Output:
    """A command's output, line by line, whatever its bytes: Paramiko's own ends at one that is not UTF-8."""

    def __init__(self, channel: Any, raw: Iterable[bytes]) -> None:
        self.channel, self._raw = channel, raw

    def __iter__(self) -> Iterator[str]:
        return (line.decode(errors="replace") for line in self._raw)


def _tolerant(exec_command: Callable[..., Any]) -> Callable[..., Any]:
    """Return Paramiko's SSHClient.exec_command with such an output."""

    def run(*words: Any, **options: Any) -> tuple[Any, _Output, _Output]:
        stdin, stdout, _ = exec_command(*words, **options)
        channel = stdout.channel
        out, err = channel.makefile("rb"), channel.makefile_stderr("rb")
        return stdin, _Output(channel, out), _Output(channel, err)

    return run


def check_keys(targets: Sequence[Target]) -> None:
    """Make or read the known_hosts files, and find the key files. Raises InventoryError."""
    for target in targets:
        key = target.ssh.key_file
        if key and not Path(key).is_file():
            raise InventoryError(f"{target.name}: ssh.key_file {key} is missing: make it with ssh-keygen")
    for name in {target.ssh.known_hosts_file for target in targets}:
        known = Path(name)
        try:
            known.parent.mkdir(parents=True, exist_ok=True)
            known.touch(mode=0o600)
            lines = known.read_text(errors="replace").splitlines()
        except OSError as error:
            raise InventoryError(f"ssh.known_hosts_file {known}: {error.strerror}") from None
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.strip().startswith("#") and not _is_key(line):
                raise InventoryError(f"{known}: line {number} is no host key: remove or mend it")


def _is_key(line: str) -> bool:
    """Whether Paramiko reads it; it leaves out what follows a line that it cannot, and so forgets keys."""
    try:
        return HostKeyEntry.from_line(line) is not None
    except Exception:  # noqa: BLE001 - its parsers raise what they will
        return False


def _ssh_data(target: Target) -> dict[str, Any]:
    ssh = target.ssh
    data = {
        "ssh_hostname": target.host,
        "ssh_port": ssh.port,
        "ssh_user": ssh.user,
        "ssh_known_hosts_file": ssh.known_hosts_file,
        "ssh_strict_host_key_checking": "accept-new",
        "ssh_config_file": os.devnull,  # the inventory says it all
        "ssh_paramiko_connect_kwargs": dict.fromkeys(_WAITS, CONNECT_S * 2),
    }
    return data | ({"ssh_key": ssh.key_file} if ssh.key_file else {})
