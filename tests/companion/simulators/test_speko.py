"""The simulated Speko against the vendor's own client, spekoai 0.1.3."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from spekoai import AsyncSpeko, RealtimeConnectParams, SpekoAuthError, SpekoRateLimitError
from spekoai.errors import SpekoApiError
from spekoai.models import RealtimeToolSpec
from websockets.exceptions import ConnectionClosed

from companion.simulators import KEY
from tests.companion.simulators.speko_socket import Frame, run
from tests.companion.talk import recognised, speech

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from spekoai.realtime import AsyncRealtimeSession


class Talk:
    """A session of the vendor's client, which wants to be iterated over once."""

    def __init__(self, session: AsyncRealtimeSession) -> None:
        self.session = session
        self._frames = aiter(session)

    async def until(self, kind: str) -> list[Frame]:
        """Read frames up to one of this type, or to the end of the socket."""
        found: list[Frame] = []
        try:
            while not found or found[-1]["type"] != kind:
                found.append(await anext(self._frames))
        except (ConnectionClosed, StopAsyncIteration):
            found.append({"type": "gone"})
        return found

    async def say(self, words: str) -> None:
        """Speak in frames of 20 ms and release the button."""
        pcm = speech(words)
        for at in range(0, len(pcm), 960):
            await self.session.send_audio(pcm[at : at + 960])
        await self.session.commit()

    async def ask(self, words: str, until: str = "usage") -> list[Frame]:
        await self.say(words)
        return await self.until(until)


@asynccontextmanager
async def vendor(url: str, **params: Any) -> AsyncIterator[Talk]:
    params = {"provider": "openai", "model": "gpt-realtime", **params}
    async with (
        AsyncSpeko(api_key=KEY, base_url=url) as speko,
        await speko.connect_realtime(RealtimeConnectParams(**params)) as session,
    ):
        yield Talk(session)


def sound(frames: list[Frame]) -> bytes:
    return b"".join(frame["pcm"] for frame in frames if frame["type"] == "audio")


def texts(frames: list[Frame], role: str, *, final: bool = True) -> list[str]:
    said = [frame for frame in frames if frame["type"] == "transcript" and frame["role"] == role]
    return [frame["text"] for frame in said if frame["final"] is final]


def test_the_vendors_client_holds_a_conversation(speko: str) -> None:
    async def scene() -> None:
        async with vendor(speko, ttl_seconds=900, metadata={"device": "pi-1"}) as talk:
            first = await talk.ask("my name is peter")
            assert "peter" in texts(first, "user")[0]
            assert "Peter" in texts(first, "assistant")[0]
            assert "peter" in recognised(sound(first))
            usage = first[-1]
            assert usage["input_audio_tokens"] > 5
            assert usage["output_audio_tokens"] == len(sound(first)) // 48 // 50
            second = await talk.ask("what is my name")
            assert texts(second, "assistant") == ["Your name is Peter."]

    run(scene())


def test_transcripts_that_are_not_final_are_whole_replacements(speko: str) -> None:
    async def scene() -> None:
        async with vendor(speko) as talk:
            frames = await talk.ask("my name is peter")
            for role in ("user", "assistant"):
                said = [*texts(frames, role, final=False), *texts(frames, role)]
                assert len(said) > 1
                assert all(later.startswith(earlier) for earlier, later in pairwise(said))

    run(scene())


def test_sound_comes_faster_than_it_plays(speko: str) -> None:
    async def scene() -> None:
        async with vendor(speko) as talk:
            frames = await talk.ask("tell me a story", until="audio")
            begun = asyncio.get_running_loop().time()
            while len(sound(frames)) < 2 * 48_000:
                frames += await talk.until("audio")
            assert asyncio.get_running_loop().time() - begun < 1.9

    run(scene())


def test_an_interrupted_story_goes_on_where_it_was(speko: str) -> None:
    async def scene() -> None:
        async with vendor(speko) as talk:
            begun = await talk.ask("tell me a story", until="audio")
            while len(sound(begun)) < 5 * 48_000:  # it runs 3 s ahead: two have been heard
                begun += await talk.until("audio")
            await talk.session.interrupt()
            await talk.say("carry on")
            rest: list[Frame] = []
            while not texts(rest, "assistant", final=False):
                rest += await talk.until("transcript")
            opening = texts(begun, "assistant", final=False)[0]
            assert texts(rest, "assistant", final=False)[0] == opening
            assert texts(rest, "user") == ["carry on"]

    run(scene())


def test_the_clients_function_is_called_and_its_result_spoken(speko: str) -> None:
    tool = RealtimeToolSpec(name="get_time", description="Time", parameters={"type": "object"})

    async def scene() -> None:
        async with vendor(speko, tools=[tool]) as talk:
            frames = await talk.ask("what time is it", until="tool_call")
            call = frames[-1]
            assert call["name"] == "get_time"
            assert json.loads(call["arguments"]) == {}
            await talk.session.send_tool_result(call["call_id"], '{"error": "there is no such tool"}')
            rest = await talk.until("usage")
            assert texts(rest, "assistant") == ["I cannot do that: there is no such tool."]
            await talk.session.send_tool_result("call_9", "{}")
            assert (await talk.until("error"))[-1]["code"] == "UNKNOWN_TOOL_CALL"

    run(scene())


@pytest.mark.parametrize(
    ("mistake", "error"),
    [
        ("unauthorized", SpekoAuthError),
        ("rate-limited", SpekoRateLimitError),
        ("create-failed", SpekoApiError),
    ],
)
def test_a_refused_mint_has_the_vendors_shape(speko: str, mistake: str, error: type[Exception]) -> None:
    async def scene() -> None:
        async with vendor(f"{speko}/{mistake}"):
            pass

    with pytest.raises(error) as caught:
        run(scene())
    assert getattr(caught.value, "retry_after", None) == (2 if mistake == "rate-limited" else None)


def test_the_end_is_told_and_the_socket_closed(speko: str) -> None:
    async def scene() -> list[Frame]:
        async with vendor(f"{speko}/ends-at-ttl") as talk:
            return await talk.until("gone")

    assert run(scene()) == [{"type": "close", "reason": "ttl"}, {"type": "gone"}]
