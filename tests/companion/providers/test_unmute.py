"""The Unmute provider: the simulator's answers, and those of servers that are not well."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from companion.errors import ConfigError, RequestError
from companion.local.engine import Engine
from companion.providers import MintRequest
from companion.providers.unmute import make
from companion.settings import (
    Endpoint,
    LocalSettings,
    SessionSettings,
    UnmuteOptions,
    UnmuteSettings,
    VoiceId,
)
from companion.simulators import Options
from companion.simulators.unmute import Unmute, routes
from companion.wire import AudioFormat, Auth, SessionRequest
from tests.companion.talk import http, running

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

    from companion.wire import Grant

PATH = "unmute-prod-website/p329_022.wav"


def endpoint(session: SessionSettings | None = None, model: str = "", **own: Any) -> Endpoint:
    return Endpoint(
        provider="unmute",
        model=model,
        session=session or SessionSettings(),
        unmute=UnmuteOptions(**own),
    )


def mint(url: str, asked: Endpoint, **settings: Any) -> Grant:
    async def scene() -> Grant:
        provider = make(UnmuteSettings(base_url=url, **settings), {"default": asked})
        try:
            return await provider.mint(MintRequest("kitchen", asked, SessionRequest(), "http://here:8790"))
        finally:
            await provider.close()

    return asyncio.run(scene())


def service(folder: Path, *mistakes: str) -> Starlette:
    options = Options(folder, mistakes=frozenset(mistakes))
    return Starlette(routes=routes(Unmute(options, Engine(LocalSettings(), folder))))


def test_a_grant_for_a_server_that_is_well(tmp_path: Path) -> None:
    asked = endpoint(
        SessionSettings(voice="watercooler", instructions="Be brief."),
        character="You are a cook.",
        scenario="In a kitchen.",
        language="en",
    )
    with http(service(tmp_path)) as url:
        grant = mint(url, asked)
    assert grant.url == f"ws{url.removeprefix('http')}/v1/realtime"
    assert (grant.provider, grant.dialect, grant.resume) == ("unmute", "unmute", "fresh")
    assert (grant.auth, grant.subprotocols) == (Auth("none", ""), ["realtime"])
    assert grant.input == grant.output == AudioFormat("ogg_opus", 24_000)
    assert (grant.expires_at, grant.session_ends_at) == (None, None)
    assert grant.session_id.startswith("unmute_")
    text = "You are a cook.\n\nIn a kitchen.\n\nBe brief."
    assert grant.session == {
        "instructions": {"type": "constant", "text": text, "language": "en"},
        "fallback_instructions": {"character": "You are a cook.", "scenario": "In a kitchen.\n\nBe brief."},
        "allow_recording": False,
        "voice": PATH,
    }


@pytest.mark.parametrize(
    ("own", "instructions"),
    [
        ({}, {"type": "smalltalk", "language": None}),
        ({"topic": "news", "language": "fr"}, {"type": "news", "language": "fr"}),
        ({"topic": "unmute_explanation"}, {"type": "unmute_explanation"}),
        (
            {"topic": "news", "character": "A cook."},
            {"type": "constant", "text": "A cook.", "language": None},
        ),
    ],
)
def test_topics(tmp_path: Path, own: Any, instructions: Any) -> None:
    with http(service(tmp_path)) as url:
        assert mint(url, endpoint(**own)).session["instructions"] == instructions


@pytest.mark.parametrize("voice", ["custom:1-2", "mine/voice.wav"])
def test_a_path_is_a_voice(tmp_path: Path, voice: str) -> None:
    with http(service(tmp_path, "bad-voices")) as url:
        assert mint(url, endpoint(SessionSettings(voice=voice))).session["voice"] == voice


def test_devices_may_reach_the_socket_elsewhere(tmp_path: Path) -> None:
    public = "wss://unmute.example/api/v1/realtime"
    with http(service(tmp_path)) as url:
        assert mint(url, endpoint(), realtime_url=public).url == public


@pytest.mark.parametrize(
    ("mistakes", "status", "line"),
    [
        (["unhealthy"], 503, "the Unmute server is not well; down: text to speech"),
        (["bad-voices"], 502, "the provider's answer to /v1/voices makes no sense"),
        ([], 422, 'the Unmute server has no voice "nobody"; it has: Watercooler, Quiz show'),
    ],
)
def test_a_server_that_cannot_be_used_is_one_line(
    tmp_path: Path, mistakes: list[str], status: int, line: str
) -> None:
    with http(service(tmp_path, *mistakes)) as url, pytest.raises(RequestError) as caught:
        mint(url, endpoint(SessionSettings(voice="nobody")))
    assert caught.value.status == status
    assert str(caught.value).startswith(line)


def test_a_server_that_is_slow_or_away_is_one_line() -> None:
    async def slow(_: Request) -> JSONResponse:
        await asyncio.sleep(1)
        return JSONResponse({})

    with http(Starlette(routes=[Route("/v1/health", slow)])) as url:
        with pytest.raises(RequestError, match=r"no answer within 0.2 s") as caught:
            mint(url, endpoint(), timeout_s=0.2)
        assert caught.value.status == 503
    with pytest.raises(RequestError, match="cannot be reached"):
        mint("http://127.0.0.1:9", endpoint())


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (endpoint(allow_recording=True), "recording_consent = true"),
        (endpoint(SessionSettings(voice=VoiceId(id="v"))), "a voice's name alone"),
        (endpoint(model="llama"), "chooses its model"),
        (endpoint(SessionSettings(speed=1.2)), "session.speed: Unmute has no such setting"),
    ],
)
def test_an_endpoint_that_cannot_be_is_refused(asked: Endpoint, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        make(UnmuteSettings(), {"default": asked})


def test_consent_lets_the_server_record(tmp_path: Path) -> None:
    with http(service(tmp_path)) as url:
        grant = mint(url, endpoint(allow_recording=True, recording_consent=True))
    assert grant.session["allow_recording"] is True


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"base_url": "ws://x"}, "base_url"),
        ({"base_url": "http://"}, "base_url"),
        ({"base_url": ""}, "missing"),
        ({"realtime_url": "http://x"}, "realtime_url"),
        ({"base_url": "http://me:planted@x"}, "password"),
    ],
)
def test_addresses_that_cannot_be_are_refused(settings: dict[str, str], line: str) -> None:
    with pytest.raises(ConfigError, match=line) as caught:
        make(UnmuteSettings(**settings), {})  # type: ignore[arg-type] # all of them are strings
    assert "planted" not in str(caught.value)


def test_a_companion_serves_it_by_its_name(tmp_path: Path) -> None:
    with http(service(tmp_path)) as url:
        text = f'[endpoints.default]\nprovider = "unmute"\n[providers.unmute]\nbase_url = "{url}"\n'
        with running(tmp_path, text) as companion:
            assert companion.grant()["dialect"] == "unmute"
