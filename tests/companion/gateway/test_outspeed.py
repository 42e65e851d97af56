"""Outspeed's signalling against a socket that says what it should not."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from websockets.asyncio.server import serve

from companion.errors import LegError
from companion.gateway.outspeed import OutspeedLeg
from companion.gateway.peer import Peer
from companion.gateway.uplink import SILENCE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from websockets.asyncio.server import ServerConnection

SECRET = "ek_planted/2"
WAIT_S = 10.0


async def frame() -> bytes:
    await asyncio.sleep(0.02)
    return SILENCE


def connect(handler: Callable[[ServerConnection], Awaitable[None]]) -> None:
    """Connect a peer through a signalling socket that does what `handler` does. Raises LegError."""

    async def once() -> None:
        async with serve(handler, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            peer = Peer(frame, lambda _: None, lambda _: None)
            try:
                async with (
                    asyncio.timeout(WAIT_S),
                    OutspeedLeg(f"ws://127.0.0.1:{port}", SECRET).connected(peer),
                ):
                    pass
            finally:
                await peer.close()

    asyncio.run(once())


@pytest.mark.parametrize("secret", [SECRET, "ek_planted%2F2"])
def test_a_service_that_echoes_the_secret_does_not_put_it_into_the_line(secret: str) -> None:
    async def report(socket: ServerConnection) -> None:
        await socket.send(json.dumps({"type": "error", "message": f"bad client_secret {secret}"}))
        await socket.wait_closed()

    async def close(socket: ServerConnection) -> None:
        await socket.close(4001, f"bad client_secret {secret}")

    for handler in (report, close):
        with pytest.raises(LegError, match=r"bad client_secret \*\*\*") as caught:
            connect(handler)
        assert "planted" not in str(caught.value)


@pytest.mark.parametrize("candidate", [{"sdpMLineIndex": "x"}, {"candidate": 5}, {"candidate": {}}])
def test_a_candidate_that_makes_no_sense_is_left_out_with_a_line(
    candidate: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(socket: ServerConnection) -> None:
        other = RTCPeerConnection(RTCConfiguration([]))
        async for text in socket:
            signal = json.loads(text)
            if signal["type"] == "ping":
                await socket.send('{"type":"pong"}')
            if signal["type"] == "offer":
                await other.setRemoteDescription(RTCSessionDescription(signal["sdp"], "offer"))
                await other.setLocalDescription(await other.createAnswer())
                await socket.send(json.dumps({"type": "candidate", "candidate": candidate}))
                await socket.send(json.dumps({"type": "answer", "sdp": other.localDescription.sdp}))
        await other.close()

    connect(answer)
    assert "a candidate of the provider makes no sense" in caplog.text
