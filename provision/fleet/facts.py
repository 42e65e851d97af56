"""What is asked of a device: facts of pyinfra, each one command as root that prints lines of key=value."""

from __future__ import annotations

import base64
import binascii
import json
import shlex
from typing import TYPE_CHECKING, Any

from pyinfra.api.facts import FactBase

if TYPE_CHECKING:
    from collections.abc import Iterable

NO_SUDO = "sudo=refused"
CALL_S = 60  # the longest that a fact may take

_INSTALLATION = """
text() { [ -e "$2" ] && printf '%s=%s\\n' "$1" "$(base64 -w0 <"$2")"; }
sum() { [ -e "$2" ] && printf '%s=%s\\n' "$1" "$(tr -d '\\n' <"$2" | sha256sum | cut -c1-64)"; }
link() { [ -L "$2" ] && printf '%s=%s\\n' "$1" "$(basename "$(readlink "$2")")"; }
echo "arch=$(uname -m)"
link current /opt/pressel/current
[ -e /opt/pressel/current/.complete ] && echo "build=$(cat /opt/pressel/current/.complete)"
link previous /opt/pressel/previous
[ -e /opt/pressel/trial ] && echo trial=yes
text board /etc/pressel/board.toml
text config /etc/pressel/config.toml
sum token /etc/pressel/credentials/token
sum claim /var/lib/pressel/claim.json
sum refused /var/lib/pressel/claim.json.refused
text identity /var/lib/pressel/identity.json
echo "stage_free_mb=$(df -Pm /var/cache 2>/dev/null | awk 'NR==2 {print $4}')"
service=$(systemctl is-active pressel.service 2>/dev/null)
echo "service=$service"
pressel=/opt/pressel/current/bin/pressel
if [ "$service" = active ] && [ -x $pressel ]; then
  echo "check=$(timeout 20 $pressel ctl check --json 2>/dev/null | base64 -w0)"
fi
[ -e /run/pressel-reboot-needed ] && echo reboot=yes
true
"""
_HEALTH = (
    _INSTALLATION
    + """
echo "up_s=$(cut -d. -f1 /proc/uptime)"
echo "restarts=$(systemctl show --value --property=NRestarts pressel.service 2>/dev/null)"
echo "disk_free_mb=$(df -Pm / | awk 'NR==2 {print $4}')"
[ -x $pressel ] && echo "status=$(timeout 10 $pressel ctl status --json 2>/dev/null | base64 -w0)"
true
"""
)


def as_root(script: str) -> str:
    """Return a shell command that runs the script as root: at once, or through sudo, which may not ask.

    Without leave it prints NO_SUDO and ends with 77.
    """
    quoted = shlex.quote(script)
    return (
        f'if [ "$(id -u)" = 0 ]; then sh -c {quoted}; '
        f"elif sudo -n true 2>/dev/null; then sudo -n sh -c {quoted}; "
        f"else echo {NO_SUDO}; exit 77; fi"
    )


def parse(lines: Iterable[str]) -> dict[str, str]:
    """Return the lines of key=value as a dict; other lines (a banner) are left out."""
    pairs = (line.partition("=") for line in lines)
    return {key: value for key, equals, value in pairs if equals and key.isidentifier()}


def text_of(found: dict[str, str], key: str) -> str | None:
    """Return the text of a file that came as base64, None when there is none."""
    if key not in found:
        return None
    try:
        return base64.b64decode(found[key], validate=True).decode(errors="replace")
    except binascii.Error:
        return ""


def json_of(found: dict[str, str], key: str) -> dict[str, Any]:
    """Return the object of a JSON text that came as base64, {} when there is none or it is none."""
    try:
        value = json.loads(text_of(found, key) or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


class Installation(FactBase[dict[str, str]]):
    """What is installed: versions, config and identity as base64, checksums of secrets, the state."""

    @staticmethod
    def default() -> dict[str, str]:
        """Nothing was learned."""
        return {}

    def command(self) -> str:
        """Return the command."""
        return as_root(_INSTALLATION)

    def process(self, output: list[str]) -> dict[str, str]:
        """Return the facts by name."""
        return parse(output)


class Health(Installation):
    """How it goes as well: uptime, restarts, disk, and the daemon's own status and check."""

    def command(self) -> str:
        """Return the command."""
        return as_root(_HEALTH)
