"""Stand-ins for the realtime services, one protocol a file, written from the protocols, not from the device.

Each module has `build(options) -> Starlette`: the service's HTTP calls and its socket, with a real ear,
brain and voice behind them, and the mistakes that such a server makes, to be switched on by name.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

KEY = "simulated-key"  # the long-lived key that a simulator takes from a companion


class Options(msgspec.Struct, frozen=True):
    """`folder`: the simulator's own, for what it remembers; `mistakes`: of those in the module's MISTAKES."""

    folder: Path
    key: str = KEY
    mistakes: frozenset[str] = frozenset()
