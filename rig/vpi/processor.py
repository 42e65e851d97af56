"""The processors that a virtual Pi may have: the host's own kind, or a Pi 4's."""

from __future__ import annotations

import os
from dataclasses import dataclass

from rig.rootfs import Unavailable


@dataclass(frozen=True)
class Processor:
    """`debian` and `wheels` are what Debian and Python call it; `machine` is how QEMU is started."""

    debian: str
    wheels: str
    machine: tuple[str, ...]
    console: str


PROCESSORS = {
    "amd64": Processor("amd64", "x86_64", ("qemu-system-x86_64", "-M", "pc", "-cpu", "max"), "ttyS0"),
    "arm64": Processor(
        "arm64", "aarch64", ("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72"), "ttyAMA0"
    ),
}


def chosen() -> Processor:
    """Return the one that $PRESSEL_APPLIANCE_ARCH names, or amd64. Raises Unavailable."""
    name = os.environ.get("PRESSEL_APPLIANCE_ARCH") or "amd64"
    if name not in PROCESSORS:
        raise Unavailable(f"PRESSEL_APPLIANCE_ARCH is {name}: it may be {' or '.join(PROCESSORS)}")
    return PROCESSORS[name]
