"""What lies behind Speko's provider-direct sessions with OpenAI: calls that Speko's credential opens, once.

Source: spekoai 0.2.2 (realtime.py): multipart `sdp` and `session`, then the call's id to `sidebandUrl`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from companion.local.events import WireError
from companion.local.secrets import Pass
from companion.local.server import serve
from companion.local.settings import DEFAULTS, updated
from companion.realtime import GaSession
from companion.simulators.openai import RefusalError, read
from companion.simulators.openai_vendor import for_local

if TYPE_CHECKING:
    from collections.abc import Callable

    from companion.local.engine import Engine
    from companion.simulators.speko_mint import Minted


class DirectOpenAI:
    """A Callee. `take` returns what a credential opens, once."""

    mistakes: frozenset[str] = frozenset()

    def __init__(self, engine: Engine, take: Callable[[str, str | None], Minted | None]) -> None:
        self._engine = engine
        self._take = take

    def opens(self, secret: str, session: bytes) -> Pass:
        one = self._take(secret, None)
        if one is None:
            raise RefusalError(401, "invalid_api_key", "Incorrect API key provided.")
        asked = msgspec.to_builtins(read(session or b'{"type": "realtime"}', GaSession))
        asked.pop("model", None)
        plain, _ = for_local(asked)
        try:
            effective = {**updated(DEFAULTS, msgspec.convert(plain, GaSession)), "model": one.asked.model}
        except WireError as error:
            raise RefusalError(400, error.code, error.message, error.param) from None
        return Pass(one.session_id, "speko", effective, one.expires_at)

    async def talk(self, socket: Any, opens: Pass) -> None:
        await serve(self._engine, socket, opens)
