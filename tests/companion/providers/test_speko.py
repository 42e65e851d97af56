"""The Speko provider: both shapes of the mint, from the simulator and from servers that answer nonsense."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from companion.errors import ConfigError, RequestError
from companion.gateway.gateway import Gateway
from companion.local.engine import Engine
from companion.providers import MintRequest
from companion.providers.speko import Speko, make
from companion.providers.speko_leg import SpekoCallLeg
from companion.settings import (
    Endpoint,
    LocalSettings,
    SessionSettings,
    SpekoOptions,
    SpekoSettings,
    Tool,
    VoiceId,
)
from companion.simulators import KEY, Options
from companion.simulators.speko import Speko as Service
from companion.simulators.speko import routes
from companion.wire import SessionRequest
from tests.companion.talk import http, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.requests import Request

    from companion.wire import Grant

EXPIRES = "2026-11-21T10:15:00Z"
PROXY: dict[str, Any] = {
    "mode": "s2s",
    "sessionId": "f6567dd8",
    "wsUrl": "wss://api.speko.dev/v1/realtime/f6567dd8/ws",
    "wsToken": "planted-token",
    "inputSampleRate": 24000,
    "outputSampleRate": 24000,
    "expiresAt": EXPIRES,
}
DIRECT: dict[str, Any] = {
    "mode": "s2s",
    "transport": "provider_direct",
    "sessionId": "sess_1",
    "attemptId": "att_1",
    "provider": "xai",
    "model": "grok-voice-latest",
    "adapter": "xai.realtime.v1",
    "providerTransport": "websocket",
    "endpoint": "wss://api.x.ai/v1/realtime",
    "sidebandUrl": None,
    "credential": {"kind": "bearer", "value": "planted-token", "expiresAt": "2026-11-21T10:05:00Z"},
    "session": {"voice": "eve", "instructions": "Be concise.", "temperature": 0.8, "tools": []},
    "expiresAt": EXPIRES,
}


class Upstream:
    """Answers each mint with `answer` and keeps what was asked."""

    def __init__(self, answer: Response) -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []
        self.headers: list[Any] = []

    async def mint(self, request: Request) -> Response:
        self.asked.append(await request.json())
        self.headers.append(request.headers)
        return self.answer


@contextmanager
def upstream(answer: Any, status: int = 200) -> Iterator[tuple[str, Upstream]]:
    found = Upstream(answer if isinstance(answer, Response) else JSONResponse(answer, status))
    with http(Starlette(routes=[Route("/v1/sessions", found.mint, methods=["POST"])])) as url:
        yield url, found


@contextmanager
def simulator(folder: Path, *mistakes: str) -> Iterator[str]:
    engine = Engine(LocalSettings(), folder)
    with http(
        Starlette(routes=routes(Service(Options(folder, mistakes=frozenset(mistakes)), engine)))
    ) as url:
        yield url


def endpoint(model: str = "", session: SessionSettings | None = None, **speko: Any) -> Endpoint:
    return Endpoint(
        provider="speko", model=model, session=session or SessionSettings(), speko=SpekoOptions(**speko)
    )


def mint(
    url: str, one: Endpoint, wish: SessionRequest | None = None, gateway: Gateway | None = None
) -> Grant:
    async def ask() -> Grant:
        provider = provided(url, one, gateway)
        try:
            return await provider.mint(
                MintRequest("kitchen", one, wish or SessionRequest(), "http://host:8790")
            )
        finally:
            await provider.close()

    return asyncio.run(ask())


def provided(url: str, one: Endpoint, gateway: Gateway | None = None) -> Speko:
    return make(SpekoSettings(base_url=url, key_env="SPEKO_TEST_KEY"), {"default": one}, gateway)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEKO_TEST_KEY", KEY)


def test_the_proxys_grant_has_the_token_as_the_only_subprotocol(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with upstream({**PROXY, "inputSampleRate": 16000, "outputSampleRate": 44100}) as (url, _):
        grant = mint(url, endpoint(output_rate=16000), SessionRequest(turns=3, resume_session="old"))
    assert (grant.dialect, grant.provider, grant.session_id) == ("speko", "speko", "f6567dd8")
    assert grant.url == PROXY["wsUrl"]
    assert (grant.auth.kind, grant.auth.value, grant.subprotocols) == ("subprotocol", "planted-token", [])
    assert grant.resume == "fresh"
    assert grant.expires_at == 1_795_256_100
    assert (grant.input.rate, grant.output.rate) == (16_000, 16_000)
    assert grant.notice == ""
    assert KEY not in caplog.text
    assert "planted-token" not in caplog.text


def test_what_the_owner_has_set_is_asked_for() -> None:
    session = SessionSettings(voice="alloy", instructions="Be concise.", tools=[Tool(name="get_time")])
    one = endpoint(
        "gpt-realtime-mini",
        session,
        agent_id="agent_123",
        temperature=0.8,
        output_rate=16_000,
        session_seconds=1800,
        metadata={"room": "kitchen"},
        webhook_tags={"k": "v"},
    )
    with upstream(PROXY) as (url, service):
        grant = mint(url, one)
    assert service.asked == [
        {
            "mode": "s2s",
            "agentId": "agent_123",
            "s2s": {
                "provider": "openai",
                "model": "gpt-realtime-mini",
                "voice": "alloy",
                "systemPrompt": "Be concise.",
                "temperature": 0.8,
                "inputSampleRate": 24000,
                "outputSampleRate": 16000,
                "tools": [
                    {
                        "name": "get_time",
                        "description": "",
                        "parameters": {"type": "object", "properties": {}},
                    }
                ],
            },
            "webhookTags": {"k": "v"},
            "metadata": {"device": "kitchen", "room": "kitchen"},
            "ttlSeconds": 1800,
        }
    ]
    assert service.headers[0]["authorization"] == f"Bearer {KEY}"
    assert len(service.headers[0]["idempotency-key"]) == 36
    assert grant.session_ends_at


def test_what_is_asked_is_taken_by_the_stricter_simulator(tmp_path: Path) -> None:
    with simulator(tmp_path) as url:
        session = SessionSettings(voice="alloy", tools=[Tool(name="get_time")])
        grant = mint(url, endpoint("", session, temperature=0.8, agent_id="a", webhook_tags={"k": "v"}))
        assert grant.url == f"{url.replace('http', 'ws')}/v1/realtime/{grant.session_id}/ws"


def test_a_thin_link_sends_16_khz() -> None:
    with upstream({**PROXY, "inputSampleRate": None}) as (url, service):
        grant = mint(url, endpoint(), SessionRequest(codec="g711_ulaw"))
    assert service.asked[0]["s2s"]["inputSampleRate"] == 16000
    assert (grant.input.encoding, grant.input.rate, grant.output.rate) == ("pcm16", 16_000, 24_000)


def test_that_turns_cannot_be_left_to_the_proxy_is_said() -> None:
    with upstream(PROXY) as (url, _):
        grant = mint(url, endpoint(), SessionRequest(mode="open_mic", turn_end="server"))
    assert 'talk.turn_end = "client"' in grant.notice


@pytest.mark.parametrize("server_turns", [False, True])
def test_xai_is_reached_directly_in_its_own_shape(server_turns: bool) -> None:
    wish = SessionRequest(mode="open_mic", turn_end="server" if server_turns else "client", turns=2)
    tools = [{"name": "get_time", "description": "", "parameters": {"type": "object"}}]
    with upstream({**DIRECT, "session": {**DIRECT["session"], "tools": tools}}) as (url, _):
        grant = mint(url, endpoint(provider="xai"), wish)
    assert grant.dialect == "openai"
    assert grant.url == "wss://api.x.ai/v1/realtime?model=grok-voice-latest"
    assert (grant.auth.kind, grant.auth.value) == ("subprotocol", "xai-client-secret.planted-token")
    assert (grant.resume, grant.expires_at) == ("seeded", 1_795_255_500)
    pcm = {"type": "audio/pcm", "rate": 24000}
    assert grant.session == {
        "output_modalities": ["audio"],
        "audio": {
            "input": {"format": pcm, "transcription": {"model": "grok-transcribe"}},
            "output": {"format": pcm},
        },
        "turn_detection": {"type": "server_vad"} if server_turns else None,
        "model": "grok-voice-latest",
        "voice": "eve",
        "instructions": "Be concise.",
        "tools": [{"type": "function", **tools[0]}],
        "tool_choice": "auto",
    }


def test_googles_socket_is_refused_with_a_way_out(tmp_path: Path) -> None:
    with simulator(tmp_path, "provider-direct") as url, pytest.raises(RequestError) as caught:
        mint(url, endpoint("gemini-live", provider="google"))
    assert caught.value.status == 422
    assert "choose another speko.provider" in str(caught.value)


def test_openai_goes_through_the_gateway_and_the_call_is_bound_to_the_session(tmp_path: Path) -> None:
    async def scene(url: str) -> list[dict[str, Any]]:
        gateway = Gateway()
        one = endpoint(session=SessionSettings(voice="marin"))
        provider = provided(url, one, gateway)
        request = MintRequest("kitchen", one, SessionRequest(), "https://host:8790")
        grant = await provider.mint(request)
        await provider.close()
        assert grant.dialect == "openai"
        assert grant.url.startswith("wss://host:8790/v1/gateway/")
        assert grant.auth.kind == "bearer"
        [ticket] = gateway._tickets.values()
        leg = ticket.leg
        assert isinstance(leg, SpekoCallLeg)
        assert leg.url == f"{url}/v1/realtime/calls"
        assert leg.session == {"type": "realtime", "model": "gpt-realtime", **grant.session}
        assert grant.session["audio"]["output"]["voice"] == "marin"
        assert grant.session["audio"]["input"]["turn_detection"] is None
        assert leg.on_call
        await leg.on_call("rtc_12345678")
        async with httpx.AsyncClient() as client:
            found: list[dict[str, Any]] = (await client.get(f"{url}/reports")).json()
        return found

    with simulator(tmp_path, "provider-direct") as url:
        [report] = asyncio.run(scene(url))
    assert report["path"].startswith("/v1/sessions/sess_")
    assert report["body"]["provider_session_id"] == "rtc_12345678"
    assert report["body"]["attempt_id"].startswith("att_")


def test_openai_over_webrtc_without_the_gateway_names_what_is_missing() -> None:
    with (
        upstream({**DIRECT, "provider": "openai", "providerTransport": "webrtc"}) as (url, _),
        pytest.raises(RequestError, match="pressel\\[webrtc\\]") as caught,
    ):
        mint(url, endpoint())
    assert caught.value.status == 503


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({**PROXY, "wsToken": ""}, "no wsUrl with a wsToken"),
        ({**PROXY, "wsUrl": "https://api.speko.dev"}, "no wsUrl with a wsToken"),
        ({**PROXY, "expiresAt": "soon"}, "expiresAt is no time"),
        ({**PROXY, "transport": "pigeon"}, "transport 'pigeon'"),
        ({"sessionId": "s"}, "expiresAt"),
        ({**DIRECT, "credential": None}, "no credential"),
        ({**DIRECT, "credential": {"value": ""}}, "no credential"),
        ({**DIRECT, "credential": {"value": "x", "expiresAt": "?"}}, "credential.expiresAt is no time"),
        ({**DIRECT, "providerTransport": "webrtc"}, "no way to 'xai' by 'webrtc'"),
        ({**DIRECT, "endpoint": ""}, "no way to .* at ''"),
        ({**DIRECT, "provider": "alibaba"}, "no way to 'alibaba'"),
        (Response("<html>", media_type="text/html"), "text/html.* where JSON belongs"),
    ],
)
def test_an_answer_that_makes_no_sense_is_one_line(answer: Any, why: str) -> None:
    with upstream(answer) as (url, _), pytest.raises(RequestError, match=why) as caught:
        mint(url, endpoint())
    assert caught.value.status == 502
    assert "\n" not in str(caught.value)
    assert "planted-token" not in str(caught.value)


@pytest.mark.parametrize(
    ("mistake", "status", "words"),
    [
        ("unauthorized", 401, "Unauthorized"),
        ("rate-limited", 429, "Too many requests"),
        ("create-failed", 502, "No provider answered"),
    ],
)
def test_a_refusal_is_passed_on_with_its_status(
    tmp_path: Path, mistake: str, status: int, words: str
) -> None:
    with simulator(tmp_path, mistake) as url, pytest.raises(RequestError, match=words) as caught:
        mint(url, endpoint())
    assert caught.value.status == status
    assert caught.value.retry_after_s == (2.0 if status == 429 else None)


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (endpoint(provider="google"), "endpoints.default.model is missing"),
        (endpoint(webhook_tags={"k": "v"}), "speko.webhook_tags: they need an agent_id"),
        (endpoint(session=SessionSettings(speed=1.2)), "session.speed: Speko has no such setting"),
        (endpoint(session=SessionSettings(vad_silence_ms=200)), "session.vad_silence_ms"),
        (endpoint(session=SessionSettings(voice=VoiceId(id="v1"))), "session.voice: .* name alone"),
    ],
)
def test_a_setting_that_speko_has_not_is_refused_by_name(bad: Endpoint, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        provided("https://api.speko.dev", bad)


def test_secrets_are_in_no_repr(tmp_path: Path) -> None:
    from companion.providers.speko_wire import Credential, Minted, Telemetry  # noqa: PLC0415 - this test alone

    held = Credential(value="planted-token"), Telemetry(endpoint="x", token="planted-token")
    minted = Minted(session_id="s", expires_at="", ws_token="planted-token", credential=held[0])
    assert "planted-token" not in repr((*held, minted))


def test_the_companion_serves_it_by_its_word(tmp_path: Path) -> None:
    with simulator(tmp_path / "service") as url:
        text = f"""
[endpoints.default]
provider = "speko"
[providers.speko]
base_url = "{url}"
key_env = "SPEKO_TEST_KEY"
"""
        with running(tmp_path, text) as one:
            assert one.grant()["dialect"] == "speko"
