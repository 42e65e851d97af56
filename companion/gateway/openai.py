"""OpenAI's leg: one HTTP call has the offer and its answer.

Source: OpenAI API reference, "Create call", and the guide "Realtime API with WebRTC".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from companion.errors import LegError
from companion.gateway.legs import is_final, one_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from companion.gateway.downlink import Shape
    from companion.gateway.media import Codec
    from companion.gateway.peer import Peer

_HTTP_S = 10.0
OnCall = Callable[[str], Awaitable[None]]


@dataclass(frozen=True)
class OpenAICallLeg:
    """POST /v1/realtime/calls: the offer in, the answer out.

    `session` None: the secret has the session; else it goes along. `on_call` gets the call's id, from the
    Location header, once the offer is answered; a CompanionError of it ends the session.
    """

    url: str
    secret: str = field(repr=False)
    session: dict[str, Any] | None = None
    shape: Shape = "ga"
    on_call: OnCall | None = None
    ice_servers: tuple[str, ...] = ()
    channel: str = "oai-events"
    codec: Codec = "audio/opus"

    @asynccontextmanager
    async def connected(self, peer: Peer) -> AsyncIterator[None]:
        """Connect the peer. Raises LegError."""
        answer = await self._post(await peer.offer())
        if answer.status_code not in (200, 201):
            why = one_line(_message(answer), hide=self.secret)
            text = f"the provider refused the call: HTTP {answer.status_code}: {why}"
            raise LegError(text, fatal=is_final(answer.status_code))
        await peer.answer(answer.text)
        if self.on_call:
            await self.on_call(answer.headers.get("location", "").rstrip("/").rpartition("/")[2])
        await peer.connected()
        yield

    async def _post(self, sdp: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.secret}", "Accept": "application/sdp"}
        try:
            async with httpx.AsyncClient(timeout=_HTTP_S) as client:
                if self.session is None:
                    sent = {**headers, "Content-Type": "application/sdp"}
                    return await client.post(self.url, content=sdp, headers=sent)
                session = msgspec.json.encode(self.session).decode()
                parts = {
                    "sdp": (None, sdp, "application/sdp"),
                    "session": (None, session, "application/json"),
                }
                return await client.post(self.url, files=parts, headers=headers)
        except httpx.HTTPError as error:
            raise LegError(f"the provider's calls cannot be reached: {type(error).__name__}") from None


class _Inner(msgspec.Struct):
    message: str = ""


class _Envelope(msgspec.Struct):
    error: _Inner | str = ""


def _message(answer: httpx.Response) -> str:
    try:
        found = msgspec.json.decode(answer.content, type=_Envelope).error
    except (msgspec.DecodeError, RecursionError):
        return answer.text or "no message"
    return (found if isinstance(found, str) else found.message) or "no message"
