"""Run the application under uvicorn: bind, say where, end in time."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

import uvicorn

from companion.app import build
from companion.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from companion.settings import Config

# One append may carry 15 MiB of base64; a larger frame closes the socket with 1009.
MAX_FRAME_BYTES = 16 * 1024 * 1024
LEAVE_S = 4  # for all sessions to be saved and closed: systemd waits 5
_PING_S = 20.0


class Announcing(uvicorn.Server):
    """Calls `ready` once the sockets listen and the application is up."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket (port 0: any free one), or raise ConfigError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    bound.set_inheritable(True)
    return bound


def url_of(bound: socket.socket) -> str:
    """Return the socket's address as a URL."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server(config: Config, ready: Callable[[], None]) -> Announcing:
    """Return a server; its log never holds an address with its query, where a secret could be."""
    for noisy in ("uvicorn.error", "httpx"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    settings = uvicorn.Config(
        build(config),
        access_log=False,
        log_config=None,
        lifespan="on",
        ws="websockets-sansio",
        ws_max_size=MAX_FRAME_BYTES,
        ws_ping_interval=_PING_S,
        ws_ping_timeout=_PING_S,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=LEAVE_S,
    )
    return Announcing(settings, ready)
