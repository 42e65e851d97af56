"""What the tests of the virtual Pi do with it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rig.speech import hear, say
from rig.vpi.agent import GuestError
from rig.vpi.pi import CARD_HZ, REPLY_S, Pi
from tests.servers import until

if TYPE_CHECKING:
    from rig.vpi.home import Home

NEXT, BROKEN = "9.0.1", "9.0.2"  # releases beside the one that is installed
PATIENCE_S = REPLY_S


@dataclass
class House:
    """`first`, `following` and `broken` are bundles on the stick; `said` is what the installer told."""

    home: Home
    first: str
    following: str
    broken: str
    said: str

    @cached_property
    def pi(self) -> Pi:
        """The one virtual Pi."""
        return self.home.pi()


def status(pi: Pi) -> dict[str, Any]:
    """Return the daemon's status, {} while there is none."""
    try:
        return pi.ask("status")
    except GuestError:
        return {}


def wait_until_ready(pi: Pi) -> None:
    """Return once the daemon answers."""
    until(lambda: status(pi).get("ok"), PATIENCE_S)


def talk(pi: Pi, words: str) -> str:
    """Hold the button while saying `words`; returns what was heard from the speaker."""
    return hear(pi.talk(say(words)), CARD_HZ)


def guest_seconds(pi: Pi) -> float:
    """Return the guest's own monotonic time: ours goes faster than it can."""
    up_s: float = pi.agent.ask("hello")["up_s"]
    return up_s
