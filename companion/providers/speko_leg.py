"""The gateway's leg of a provider-direct session at OpenAI: a call that Speko has paid for and hears of."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from companion.gateway.openai import OpenAICallLeg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from companion.gateway.peer import Peer
    from companion.providers.speko_use import Reporter
    from companion.providers.speko_wire import Minted


@dataclass(frozen=True, kw_only=True)
class SpekoCallLeg(OpenAICallLeg):
    """A call whose use is reported for as long as it is up."""

    minted: Minted
    reporter: Reporter = field(repr=False)

    @asynccontextmanager
    async def connected(self, peer: Peer) -> AsyncIterator[None]:
        """Connect the peer, and report until the context ends."""
        async with super().connected(peer), self.reporter.running(self.minted):
            yield


def make_leg(minted: Minted, secret: str, session: dict[str, Any], reporter: Reporter) -> SpekoCallLeg:
    """Return the leg; the call is bound to Speko's session as soon as it is answered."""

    async def bind(call_id: str) -> None:
        await reporter.bind(minted, call_id)

    whole = {"type": "realtime", "model": minted.model, **session}
    return SpekoCallLeg(minted.endpoint, secret, whole, on_call=bind, minted=minted, reporter=reporter)
