"""The port of a provider's leg: something that can have a peer's offer answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from companion.gateway.media import Codec
    from companion.gateway.peer import Peer

_SHORT = 200


class Leg(Protocol):
    """Where the gateway's other side is, and what goes over it. A frozen dataclass."""

    @property
    def shape(self) -> Literal["ga", "beta", "call"]:
        """What the device speaks: OpenAI's events in one of their shapes, or Speko's frames for a call."""
        ...

    @property
    def channel(self) -> str:
        """The data channel's name; "" for none."""
        ...

    @property
    def codec(self) -> Codec:
        """What the sound is offered in."""
        ...

    @property
    def ice_servers(self) -> tuple[str, ...]:
        """STUN or TURN URLs; most often none, because the provider's addresses are public."""
        ...

    def connected(self, peer: Peer) -> AbstractAsyncContextManager[None]:
        """Connect the peer; what the leg needs while it is up ends with the context. Raises LegError."""
        ...


def one_line(text: str, hide: str = "") -> str:
    """Return the text fit for a log line, cut, and without the secret."""
    shown = text.replace(hide, "***") if hide else text
    return " ".join("".join(c if c.isprintable() else " " for c in shown).split())[:_SHORT]


def is_final(status: int) -> bool:
    """Tell whether an HTTP status will be the same the next time."""
    return 400 <= status < 500 and status not in (408, 425, 429)
