"""Tells systemd how the daemon is: sd_notify(3) over NOTIFY_SOCKET; does nothing where there is none."""

from __future__ import annotations

import contextlib
import os
import socket


class Notifier:
    """`watchdog_s`: how often systemd wants to be told that all is well, None when it does not."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "").replace("@", "\0", 1)
        usec = os.environ.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(usec) / 1e6 if usec.isdecimal() and int(usec) else None
        self._fed_at = float("-inf")

    def ready(self) -> None:
        """The daemon is up."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The daemon is going down."""
        self._send("STOPPING=1")

    def watchdog(self, now: float) -> None:
        """Feed the watchdog, at most four times in its interval."""
        if self.watchdog_s and now - self._fed_at > self.watchdog_s / 4:
            self._fed_at = now
            self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if self._address:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(message.encode(), self._address)
