"""The port of a provider's leg: something that can have a peer's offer answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from companion.errors import CompanionError

if TYPE_CHECKING:
    from companion.gateway.downlink import Shape
    from companion.gateway.peer import Peer

_SHORT = 200


class LegError(CompanionError):
    """The provider's leg does not come up, or is gone. `fatal`: it will be refused again."""

    def __init__(self, text: str, *, fatal: bool = False) -> None:
        super().__init__(text)
        self.fatal = fatal


class Leg(Protocol):
    """Where the gateway's other side is, and in which spelling its events are. A frozen dataclass."""

    @property
    def shape(self) -> Shape:
        """ "ga" or "beta": the name of the events that carry the sound to the device."""
        ...

    @property
    def ice_servers(self) -> tuple[str, ...]:
        """STUN or TURN URLs; most often none, because the provider's addresses are public."""
        ...

    async def connect(self, peer: Peer) -> None:
        """Return once the peer is connected. Raises LegError."""
        ...


def one_line(text: str, hide: str = "") -> str:
    """Return the text fit for a log line, cut, and without the secret."""
    shown = text.replace(hide, "***") if hide else text
    return " ".join("".join(c if c.isprintable() else " " for c in shown).split())[:_SHORT]


def is_final(status: int) -> bool:
    """Tell whether an HTTP status will be the same the next time."""
    return 400 <= status < 500 and status not in (408, 425, 429)
