"""What the tests of the simulated Speko share: a mint, and the proxy's bare socket."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
from websockets.asyncio.client import connect

from companion.simulators import KEY
from tests.companion.talk import speech

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine


WAIT_S = 20.0
Frame = dict[str, Any]
MINT: dict[str, Any] = {"mode": "s2s", "s2s": {"provider": "openai", "model": "gpt-realtime"}}


def run(scene: Coroutine[Any, Any, Any]) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(WAIT_S):
            return await scene

    return asyncio.run(limited())


def mint(url: str, body: Frame | None = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.post(f"{url}/v1/sessions", json=body or MINT, headers=headers)


@asynccontextmanager
async def raw(url: str, **s2s: Any) -> AsyncIterator[Any]:
    """The proxy's socket without a client's reading of it."""
    answer = mint(url, {**MINT, "s2s": {**MINT["s2s"], **s2s}}).json()
    async with connect(answer["wsUrl"], subprotocols=[answer["wsToken"]]) as socket:
        yield socket


async def receive(socket: Any) -> Frame:
    frame = await asyncio.wait_for(socket.recv(), WAIT_S)
    if isinstance(frame, bytes):
        return {"t": "audio", "pcm": frame}
    found: Frame = json.loads(frame)
    return found


async def until_usage(socket: Any) -> list[Frame]:
    frames = [await receive(socket)]
    while frames[-1]["t"] != "usage":
        frames.append(await receive(socket))
    return frames


async def speak(socket: Any, text: str, *, rate: int = 24_000, commit: bool = True) -> None:
    pcm = speech(text)
    if rate == 16_000:
        from companion.local.audio import ToEar  # noqa: PLC0415 - one test alone

        pcm = ToEar()(pcm)
    await stream(socket, pcm)
    if commit:
        await socket.send('{"t":"control","action":"commit"}')


async def stream(socket: Any, pcm: bytes) -> None:
    for at in range(0, len(pcm), 960):
        await socket.send(pcm[at : at + 960])


def words(frames: list[Frame], role: str) -> str:
    said = [frame for frame in frames if frame["t"] == "transcript" and frame["role"] == role]
    return " ".join(frame["text"] for frame in said if frame["final"])
