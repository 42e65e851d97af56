"""xAI's socket behind the simulated Speko."""

from __future__ import annotations

import json

import pytest
from websockets.asyncio.client import connect

from tests.companion.simulators.speko_socket import MINT, mint, receive, run


@pytest.mark.parametrize("older", [False, True])
def test_the_socket_of_xai_takes_the_credential_and_its_own_shape_of_a_session(
    speko: str, older: bool
) -> None:
    name = "older-xai" if older else "provider-direct"
    direct = mint(f"{speko}/provider-direct", {**MINT, "s2s": {"provider": "xai", "model": "grok"}}).json()

    async def scene() -> None:
        secret = f"xai-client-secret.{direct['credential']['value']}"
        url = f"{direct['endpoint']}?model=grok"
        if older:
            one = mint(f"{speko}/older-xai", {**MINT, "s2s": {"provider": "xai", "model": "grok"}}).json()
            secret = f"xai-client-secret.{one['wsToken']}"
            url = f"{speko.replace('http', 'ws')}/{name}/v1/realtime?model=grok"
        async with connect(url, subprotocols=[secret]) as socket:  # type: ignore[list-item] # plain text
            assert socket.subprotocol == secret
            greetings = [] if older else ["session.created"]
            for kind in [*greetings, "conversation.created"]:
                assert (await receive(socket))["type"] == kind
            update = {"type": "realtime", "model": "grok", "voice": "eve", "turn_detection": None}
            await socket.send(json.dumps({"type": "session.update", "session": update}))
            updated = await receive(socket)
            assert updated["type"] == "session.updated", updated
            assert updated["session"]["audio"]["input"]["turn_detection"] is None
            await socket.send("{")
            assert (await receive(socket))["type"] == "error"

    run(scene())
