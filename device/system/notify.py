"""What systemd is told: ready, still alive, stopping; nothing at all without systemd."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


class Notifier:
    """Datagrams to `$NOTIFY_SOCKET`, a path or an abstract name with a leading "@". Source: sd_notify(3).

    `watchdog_s` is systemd's limit between two signs of life, or None when it wants none.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        self.watchdog_s = _watchdog_s() if self._address else None
        self._fed_at = float("-inf")
        self._status = ""

    def ready(self, status: str = "") -> None:
        """The daemon can be used."""
        self._send("READY=1", status)

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows; nothing is sent where it is the same."""
        if text != self._status:
            self._status = text
            self._send("", text)

    def watchdog(self, now: float) -> None:
        """Give a sign of life, at most four times a limit; `now` in monotonic seconds."""
        if self.watchdog_s and now - self._fed_at >= self.watchdog_s / 4:
            self._fed_at = now
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The daemon is on its way out."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Say nothing more; safe to call twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, fact: str, status: str = "") -> None:
        lines = [fact] if fact else []
        if status:
            lines.append("STATUS=" + " ".join(status.split()))
        if self._socket is not None:
            with suppress(OSError):  # nobody listens, or too slowly: no reason to stop
                self._socket.sendto("\n".join(lines).encode(), self._address)


def _watchdog_s() -> float | None:
    limit_us, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not limit_us.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(limit_us) / 1e6 or None
