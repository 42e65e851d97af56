"""The simulated Speko's proxy socket, frame by frame."""

from __future__ import annotations

import asyncio
import json

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.companion.simulators.speko_socket import (
    Frame,
    mint,
    raw,
    receive,
    run,
    speak,
    stream,
    until_usage,
    words,
)
from tests.companion.talk import silence, speech


def test_the_services_own_tool_is_only_told(speko: str) -> None:
    async def scene() -> list[Frame]:
        async with raw(speko) as socket:
            await socket.recv()
            for at in range(0, len(pcm := speech("what time is it")), 960):
                await socket.send(pcm[at : at + 960])
            await socket.send('{"t":"control","action":"end_turn"}')
            return [frame for frame in await until_usage(socket) if frame["t"] == "server_tool_call"]

    assert [frame["status"] for frame in run(scene())] == ["started", "completed"]


def test_a_token_opens_its_own_session_once(speko: str) -> None:
    answer = mint(speko).json()

    async def scene() -> None:
        other = answer["wsUrl"].replace(answer["sessionId"], "sess_other")
        for url, token in ((other, answer["wsToken"]), (answer["wsUrl"], "wrong")):
            await refused(url, token)
        async with connect(answer["wsUrl"], subprotocols=[answer["wsToken"]]) as socket:
            assert socket.subprotocol == answer["wsToken"]
        await refused(answer["wsUrl"], answer["wsToken"])
        late = mint(f"{speko}/expired-token").json()
        await refused(late["wsUrl"], late["wsToken"])

    run(scene())


async def refused(url: str, token: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await connect(url, subprotocols=[token])  # type: ignore[list-item] # it is plain text on the wire
    assert caught.value.response.status_code == 401


@pytest.mark.parametrize(
    ("mistake", "ready"),
    [
        ("", {"t": "ready", "inputSampleRate": 16_000, "outputSampleRate": 24_000}),
        ("bad-rates", {"t": "ready", "inputSampleRate": 44_100, "outputSampleRate": "fast"}),
        ("no-rates", {"t": "ready"}),
        ("other-rates", {"t": "ready", "inputSampleRate": 16_000, "outputSampleRate": 16_000}),
        ("no-echo", {"t": "ready", "inputSampleRate": 16_000, "outputSampleRate": 24_000}),
    ],
)
def test_the_rates_are_told_in_the_ready_frame(speko: str, mistake: str, ready: Frame) -> None:
    async def scene() -> None:
        async with raw(f"{speko}/{mistake}".rstrip("/"), inputSampleRate=16_000) as socket:
            assert (socket.subprotocol is None) == (mistake == "no-echo")
            assert json.loads(await socket.recv()) == ready

    run(scene())


def test_sound_at_16_khz_is_understood_and_answered_at_16_khz(speko: str) -> None:
    async def scene() -> None:
        async with raw(f"{speko}/other-rates") as socket:
            await socket.recv()
            await speak(socket, "my name is peter", rate=16_000)
            frames = await until_usage(socket)
            assert "peter" in words(frames, "user")
            spoken = sum(len(frame["pcm"]) for frame in frames if frame["t"] == "audio")
            assert frames[-1]["outputAudioTokens"] == spoken // 32 // 50

    run(scene())


def test_no_ready_frame_and_an_error_in_its_place(speko: str) -> None:
    async def scene() -> None:
        async with raw(f"{speko}/no-ready") as socket:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(socket.recv(), 0.3)
        async with raw(f"{speko}/error-before-ready") as socket:
            error = json.loads(await socket.recv())
            assert error["code"] == "S2S_PROVIDER_CONNECT_FAILED"
            with pytest.raises(ConnectionClosed) as caught:
                await socket.recv()
            assert caught.value.rcvd
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1011, "Provider connect failed")

    run(scene())


def test_errors_after_ready_leave_the_session_open(speko: str) -> None:
    async def scene() -> None:
        async with raw(f"{speko}/error-after-ready") as socket:
            assert json.loads(await socket.recv())["t"] == "ready"
            assert json.loads(await socket.recv())["code"] == "S2S_PROVIDER_RATE_LIMITED"
            orders: list[tuple[str | bytes, str]] = [
                ("{", "INVALID_MESSAGE"),
                ('{"t":"truncate"}', "INVALID_MESSAGE"),
                ('{"t":"control","action":"stop"}', "INVALID_MESSAGE"),
                (b"\0\0\0", "INVALID_AUDIO"),
                ('{"t":"control","action":"commit"}', "S2S_PROVIDER_ERROR"),
            ]
            for order, code in orders:
                await socket.send(order)
                assert json.loads(await socket.recv())["code"] == code
            await speak(socket, "hello", commit=False)
            await socket.send('{"t":"control","action":"clear"}')
            await speak(socket, "my name is peter")
            assert "hello" not in words(await until_usage(socket), "user")

    run(scene())


def test_a_second_commit_during_a_reply_is_refused(speko: str) -> None:
    async def scene() -> None:
        async with raw(speko) as socket:
            await socket.recv()
            await speak(socket, "tell me a story")
            await speak(socket, "hello")
            frame: Frame = {"t": ""}
            while frame["t"] != "error":
                frame = await receive(socket)
            assert "conversation_already_has_active_response" in frame["message"]

    run(scene())


@pytest.mark.parametrize(
    "mistake", ["odd-frames", "late-transcripts", "no-transcripts", "unknown-frames", "rewritten-transcripts"]
)
def test_the_mistakes_of_a_reply(speko: str, mistake: str) -> None:
    async def scene() -> list[Frame]:
        async with raw(f"{speko}/{mistake}") as socket:
            await socket.recv()
            await speak(socket, "my name is peter")
            return await until_usage(socket)

    frames = run(scene())
    kinds = [frame["t"] for frame in frames]
    pieces = [frame["text"] for frame in frames if frame["t"] == "transcript" and frame["role"] != "user"]
    assert (any(len(frame["pcm"]) % 2 for frame in frames if frame["t"] == "audio")) == (
        mistake == "odd-frames"
    )
    assert ("transcript" not in kinds) == (mistake == "no-transcripts")
    assert ("latency" in kinds) == (mistake == "unknown-frames")
    if mistake == "late-transcripts":
        assert [frame.get("role") for frame in frames][-2] == "user"
    if mistake == "rewritten-transcripts":
        assert not pieces[-1].startswith(pieces[0])


def test_a_server_that_interrupts_and_one_that_falls(speko: str) -> None:
    async def scene() -> None:
        async with raw(f"{speko}/interrupts") as socket:
            await socket.recv()
            await speak(socket, "tell me a story")
            assert {"t": "interruption", "at": "assistant"} in await until_usage(socket)
        async with raw(f"{speko}/falls") as socket:
            await socket.recv()
            await speak(socket, "my name is peter")
            with pytest.raises(ConnectionClosed, match="1011"):
                await until_usage(socket)

    run(scene())


def test_a_server_that_finds_the_turns_answers_a_pause_and_yields_to_a_voice(speko: str) -> None:
    async def scene() -> None:
        async with raw(f"{speko}/server-turns") as socket:
            await socket.recv()
            await speak(socket, "tell me a story", commit=False)
            await stream(socket, silence(900))
            frame: Frame = {"t": ""}
            while frame["t"] != "audio":
                frame = await receive(socket)
            await speak(socket, "my name is peter", commit=False)
            while frame["t"] != "interruption":
                frame = await receive(socket)
            assert frame["at"] == "user"

    run(scene())
