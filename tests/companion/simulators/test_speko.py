"""The simulated Speko against the vendor's own client, spekoai 0.1.3, and against its two mint answers."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from spekoai import AsyncSpeko, RealtimeConnectParams, SpekoAuthError, SpekoRateLimitError
from spekoai.errors import SpekoApiError
from spekoai.models import RealtimeToolSpec
from starlette.applications import Starlette
from starlette.routing import Mount
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from companion.local.engine import Engine
from companion.serve import Announcing, listen, url_of
from companion.settings import LocalSettings
from companion.simulators import KEY, Options
from companion.simulators.speko import MISTAKES, Speko, routes
from tests.companion.talk import recognised, silence, speech

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator
    from pathlib import Path

    from spekoai.realtime import AsyncRealtimeSession

WAIT_S = 20.0
Frame = dict[str, Any]
MINT: dict[str, Any] = {"mode": "s2s", "s2s": {"provider": "openai", "model": "gpt-realtime"}}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One process, one engine: "/" without mistakes, "/MISTAKE" with one."""
    folder: Path = tmp_path_factory.mktemp("speko")
    with _serving(folder) as url:
        yield url


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    engine = Engine(LocalSettings(), folder)
    mounts = [
        Mount(f"/{name}", routes=routes(Speko(Options(folder, mistakes=frozenset({name})), engine)))
        for name in sorted(MISTAKES)
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        engine.warm()
        yield
        await engine.close()

    app = Starlette(routes=[*mounts, *routes(Speko(Options(folder), engine))], lifespan=lifespan)
    bound, ready = listen("127.0.0.1", 0), threading.Event()
    settings = uvicorn.Config(app, log_config=None, access_log=False, ws="websockets-sansio")
    serving = Announcing(settings, ready.set)
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        assert ready.wait(WAIT_S)
        yield url_of(bound)
    finally:
        serving.should_exit = True
        thread.join(WAIT_S)
        bound.close()


def run(scene: Coroutine[Any, Any, Any]) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(WAIT_S):
            return await scene

    return asyncio.run(limited())


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


def test_the_vendors_client_holds_a_conversation(service: str) -> None:
    async def scene() -> None:
        async with vendor(service, ttl_seconds=900, metadata={"device": "pi-1"}) as talk:
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


def test_transcripts_that_are_not_final_are_whole_replacements(service: str) -> None:
    async def scene() -> None:
        async with vendor(service) as talk:
            frames = await talk.ask("my name is peter")
            for role in ("user", "assistant"):
                said = [*texts(frames, role, final=False), *texts(frames, role)]
                assert len(said) > 1
                assert all(later.startswith(earlier) for earlier, later in pairwise(said))

    run(scene())


def test_sound_comes_faster_than_it_plays(service: str) -> None:
    async def scene() -> None:
        async with vendor(service) as talk:
            frames = await talk.ask("tell me a story", until="audio")
            begun = asyncio.get_running_loop().time()
            while len(sound(frames)) < 2 * 48_000:
                frames += await talk.until("audio")
            assert asyncio.get_running_loop().time() - begun < 1.9

    run(scene())


def test_an_interrupted_story_goes_on_where_it_was(service: str) -> None:
    async def scene() -> None:
        async with vendor(service) as talk:
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


def test_the_clients_function_is_called_and_its_result_spoken(service: str) -> None:
    tool = RealtimeToolSpec(name="get_time", description="Time", parameters={"type": "object"})

    async def scene() -> None:
        async with vendor(service, tools=[tool]) as talk:
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


def test_the_services_own_tool_is_only_told(service: str) -> None:
    async def scene() -> list[Frame]:
        async with raw(service) as socket:
            await socket.recv()
            for at in range(0, len(pcm := speech("what time is it")), 960):
                await socket.send(pcm[at : at + 960])
            await socket.send('{"t":"control","action":"end_turn"}')
            return [frame for frame in await until_usage(socket) if frame["t"] == "server_tool_call"]

    assert [frame["status"] for frame in run(scene())] == ["started", "completed"]


@pytest.mark.parametrize(
    ("mistake", "error"),
    [
        ("unauthorized", SpekoAuthError),
        ("rate-limited", SpekoRateLimitError),
        ("create-failed", SpekoApiError),
    ],
)
def test_a_refused_mint_has_the_vendors_shape(service: str, mistake: str, error: type[Exception]) -> None:
    async def scene() -> None:
        async with vendor(f"{service}/{mistake}"):
            pass

    with pytest.raises(error) as caught:
        run(scene())
    assert getattr(caught.value, "retry_after", None) == (2 if mistake == "rate-limited" else None)


def test_a_wrong_key_and_a_wrong_body_are_refused(service: str) -> None:
    bodies = [{"mode": "s2s"}, {**MINT, "s2s": {"provider": "openai"}}, {**MINT, "ttlSeconds": 0}]
    bodies += [{**MINT, "s2s": {**MINT["s2s"], "inputSampleRate": 44_100}}, {**MINT, "sampleRate": 24_000}]
    bodies += [{**MINT, "webhookTags": {"k": "v"}}]
    for body in bodies:
        answer = mint(service, body)
        assert answer.status_code == 400, body
        assert answer.json()["code"] == "VALIDATION_ERROR"
    answer = httpx.post(f"{service}/v1/sessions", json=MINT, headers={"Authorization": "Bearer wrong"})
    assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized", "code": "UNAUTHORIZED"})


def test_a_token_opens_its_own_session_once(service: str) -> None:
    answer = mint(service).json()

    async def scene() -> None:
        other = answer["wsUrl"].replace(answer["sessionId"], "sess_other")
        for url, token in ((other, answer["wsToken"]), (answer["wsUrl"], "wrong")):
            await refused(url, token)
        async with connect(answer["wsUrl"], subprotocols=[answer["wsToken"]]) as socket:
            assert socket.subprotocol == answer["wsToken"]
        await refused(answer["wsUrl"], answer["wsToken"])
        late = mint(f"{service}/expired-token").json()
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
def test_the_rates_are_told_in_the_ready_frame(service: str, mistake: str, ready: Frame) -> None:
    async def scene() -> None:
        async with raw(f"{service}/{mistake}".rstrip("/"), inputSampleRate=16_000) as socket:
            assert (socket.subprotocol is None) == (mistake == "no-echo")
            assert json.loads(await socket.recv()) == ready

    run(scene())


def test_sound_at_16_khz_is_understood_and_answered_at_16_khz(service: str) -> None:
    async def scene() -> None:
        async with raw(f"{service}/other-rates") as socket:
            await socket.recv()
            await speak(socket, "my name is peter", rate=16_000)
            frames = await until_usage(socket)
            assert "peter" in words(frames, "user")
            spoken = sum(len(frame["pcm"]) for frame in frames if frame["t"] == "audio")
            assert frames[-1]["outputAudioTokens"] == spoken // 32 // 50

    run(scene())


def test_no_ready_frame_and_an_error_in_its_place(service: str) -> None:
    async def scene() -> None:
        async with raw(f"{service}/no-ready") as socket:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(socket.recv(), 0.3)
        async with raw(f"{service}/error-before-ready") as socket:
            error = json.loads(await socket.recv())
            assert error["code"] == "S2S_PROVIDER_CONNECT_FAILED"
            with pytest.raises(ConnectionClosed) as caught:
                await socket.recv()
            assert caught.value.rcvd
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1011, "Provider connect failed")

    run(scene())


def test_errors_after_ready_leave_the_session_open(service: str) -> None:
    async def scene() -> None:
        async with raw(f"{service}/error-after-ready") as socket:
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


def test_a_second_commit_during_a_reply_is_refused(service: str) -> None:
    async def scene() -> None:
        async with raw(service) as socket:
            await socket.recv()
            await speak(socket, "tell me a story")
            await speak(socket, "hello")
            frame: Frame = {"t": ""}
            while frame["t"] != "error":
                frame = await receive(socket)
            assert "conversation_already_has_active_response" in frame["message"]

    run(scene())


def test_the_end_is_told_and_the_socket_closed(service: str) -> None:
    async def scene() -> list[Frame]:
        async with vendor(f"{service}/ends-at-ttl") as talk:
            return await talk.until("gone")

    assert run(scene()) == [{"type": "close", "reason": "ttl"}, {"type": "gone"}]


@pytest.mark.parametrize(
    "mistake", ["odd-frames", "late-transcripts", "no-transcripts", "unknown-frames", "rewritten-transcripts"]
)
def test_the_mistakes_of_a_reply(service: str, mistake: str) -> None:
    async def scene() -> list[Frame]:
        async with raw(f"{service}/{mistake}") as socket:
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


def test_a_server_that_interrupts_and_one_that_falls(service: str) -> None:
    async def scene() -> None:
        async with raw(f"{service}/interrupts") as socket:
            await socket.recv()
            await speak(socket, "tell me a story")
            assert {"t": "interruption", "at": "assistant"} in await until_usage(socket)
        async with vendor(f"{service}/falls") as talk:
            assert (await talk.ask("my name is peter"))[-1]["type"] == "gone"

    run(scene())


def test_a_server_that_finds_the_turns_answers_a_pause_and_yields_to_a_voice(service: str) -> None:
    async def scene() -> None:
        async with raw(f"{service}/server-turns") as socket:
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


def test_a_backend_of_ones_own_answers_with_six_fields(service: str) -> None:
    answer = httpx.post(f"{service}/api/realtime-session")
    assert set(answer.json()) == {
        "sessionId",
        "wsUrl",
        "wsToken",
        "expiresAt",
        "inputSampleRate",
        "outputSampleRate",
    }
    for mistake, status in (("unauthorized", 401), ("rate-limited", 429), ("create-failed", 502)):
        answer = httpx.post(f"{service}/{mistake}/api/realtime-session")
        assert (answer.status_code, answer.json()) == (
            status,
            {"error": "Could not start realtime session"},
        )
    direct = httpx.post(f"{service}/provider-direct/api/realtime-session").json()
    assert direct["transport"] == "provider_direct"
    assert mint(f"{service}/no-token").json()["wsToken"] == ""
    assert mint(f"{service}/not-json").headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("provider", "transport"), [("openai", "webrtc"), ("xai", "websocket"), ("google", "websocket")]
)
def test_the_newer_shape_names_the_providers_own_door(service: str, provider: str, transport: str) -> None:
    asked = {"mode": "s2s", "s2s": {"provider": provider, "model": "m", "systemPrompt": "Be concise."}}
    answer = mint(f"{service}/provider-direct", asked).json()
    assert answer["transport"] == "provider_direct"
    assert answer["providerTransport"] == transport
    assert (answer["sidebandUrl"] is None) == (transport == "websocket")
    assert answer["session"]["instructions"] == "Be concise."
    assert answer["credential"]["kind"] == "bearer"


@pytest.mark.parametrize("older", [False, True])
def test_the_socket_of_xai_takes_the_credential_and_its_own_shape_of_a_session(
    service: str, older: bool
) -> None:
    name = "older-xai" if older else "provider-direct"
    direct = mint(f"{service}/provider-direct", {**MINT, "s2s": {"provider": "xai", "model": "grok"}}).json()

    async def scene() -> None:
        secret = f"xai-client-secret.{direct['credential']['value']}"
        url = f"{direct['endpoint']}?model=grok"
        if older:
            one = mint(f"{service}/older-xai", {**MINT, "s2s": {"provider": "xai", "model": "grok"}}).json()
            secret = f"xai-client-secret.{one['wsToken']}"
            url = f"{service.replace('http', 'ws')}/{name}/v1/realtime?model=grok"
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


def test_what_was_reported_can_be_read(service: str) -> None:
    base = f"{service}/provider-direct"
    body = {"attempt_id": "att_1", "provider_session_id": "rtc_12345678"}
    path = "/v1/sessions/sess_1/sidebands/openai"
    assert httpx.post(f"{base}{path}", json=body).status_code == 401
    httpx.post(f"{base}{path}", json=body, headers={"Authorization": "Bearer tel_x"}).raise_for_status()
    found = httpx.get(f"{base}/reports").json()
    assert found[-1]["body"] == body
    assert found[-1]["path"].endswith(path)


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
