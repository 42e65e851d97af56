"""Whatever goes wrong between desk and device, as one line with the mend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramiko import ChannelException
from pyinfra.api.exceptions import ConnectError

from provision.fleet.facts import CALL_S, NO_SUDO

if TYPE_CHECKING:
    from collections.abc import Callable

    from provision.inventory import Target


def explain(target: Target, error: BaseException) -> str:
    """Return one line: what is wrong, and the mend."""
    if not error.args:
        return "the SSH connection broke"
    said = " ".join(str(part) for part in error.args)
    user, where = target.ssh.user, f"{target.host} port {target.ssh.port}"
    known = {
        "host key": f"the SSH host key of {where} has changed since it was first seen: if the device was set "
        f"up anew, ssh-keygen -f {target.ssh.known_hosts_file} -R '{_entry(target)}'",
        "authentication error": f"{user} is not let in at {where}: "
        "put the key's public half into authorized_keys",
        "is encrypted": f"{target.ssh.key_file} has a passphrase: "
        "load it with ssh-add and leave ssh.key_file out",
        "sftp": f"{where} takes no files: its sshd_config needs the Subsystem sftp",
    }
    for sign, line in known.items():
        if sign in said.lower():
            return line
    if isinstance(error, ChannelException):
        return f"{where} lets {user} in and opens no session: look at MaxSessions in its sshd_config"
    if isinstance(error, ConnectError):
        return f"cannot be reached at {where}: {_reason(error)}"
    return f"{said} ({where})"


def _entry(target: Target) -> str:
    """Return the name that a device's key has in known_hosts."""
    return target.host if target.ssh.port == 22 else f"[{target.host}]:{target.ssh.port}"


def _reason(error: BaseException) -> str:
    """Return the system's own words below pyinfra's and paramiko's."""
    cause = error.__context__ or error
    cause = next(iter(getattr(cause, "errors", {}).values()), cause)  # of several addresses the first
    return str(getattr(cause, "strerror", None) or cause).lower() or type(cause).__name__


def why_silent(ask: Callable[[str], list[str]], user: str) -> str:
    """Return why a device that is connected does not say its state; `ask` runs a command on it, in time."""
    try:
        said = ask(f'echo here; [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null || echo {NO_SUDO}')
    except TimeoutError:
        return f"it lets {user} in and answers nothing"
    if "here" not in said:
        return f"it lets {user} in and runs no commands: look at the login's shell, and for a forced command"
    return no_sudo(user) if NO_SUDO in said else f"it did not say its state within {CALL_S} s"


def no_sudo(user: str) -> str:
    """Return what is wrong with a login that may not become root, and the mend."""
    return f"{user} may not use sudo without a password: allow it in /etc/sudoers.d, or set ssh.user"
