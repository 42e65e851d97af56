"""The Delphi provider against the service's stand-in, and against servers whose answers make no sense."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from websockets.sync.client import connect

from companion.config import load
from companion.errors import ConfigError, RequestError
from companion.providers import MintRequest
from companion.providers.delphi import Minted, make
from companion.settings import DelphiOptions, DelphiSettings, Endpoint, SessionSettings
from companion.simulators import KEY, Options
from companion.simulators.delphi import ENDPOINT, build
from companion.wire import SessionRequest
from tests.companion.talk import Running, config_file, http, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.requests import Request

TOKEN: dict[str, Any] = {
    "sessionId": "s/1",
    "wsToken": "a.b&c",
    "wsTokenExpiresIn": 300,
    "expiresIn": 3600,
}
OFFERS: dict[str, Any] = {"interactionModes": {"text": True}, "flows": {"browserActions": []}}


def text(url: str, options: str = "", more: str = "") -> str:
    return (
        f'[endpoints.default]\nprovider = "delphi"\n{more}\n'
        f'[endpoints.default.delphi]\nendpoint_id = "{ENDPOINT}"\n{options}\n'
        f'[providers.delphi]\nbase_url = "{url}"\nkey_file = "key"\n'
    )


@contextmanager
def standing(folder: Path, *mistakes: str, options: str = "") -> Iterator[Running]:
    """A companion before the stand-in."""
    (folder / "key").write_text(KEY)
    with (
        http(build(Options(folder, mistakes=frozenset(mistakes)))) as url,
        running(folder, text(url, options), "mints_per_minute = 6000") as one,
    ):
        yield one


@contextmanager
def answering(folder: Path, token: Any, offers: Any = OFFERS, status: int = 200) -> Iterator[Any]:
    """A provider before a service that answers like this; gives it and what was asked."""
    (folder / "key").write_text(KEY)
    asked: list[tuple[str, str]] = []

    async def serve(request: Request) -> JSONResponse:
        asked.append((request.url.path.rpartition("/")[2], request.headers["x-api-key"]))
        return JSONResponse(token) if request.method == "POST" else JSONResponse(offers, status)

    app = Starlette(routes=[Route("/{rest:path}", serve, methods=["GET", "POST"])])
    with http(app) as url:
        yield DelphiSettings(base_url=url, key_file=str(folder / "key")), asked


def mint(settings: DelphiSettings, *wishes: SessionRequest, **options: Any) -> list[Any]:
    """Mint one after the other with one provider; returns the grants."""
    endpoint = Endpoint(provider="delphi", delphi=DelphiOptions(endpoint_id="ep", **options))

    async def all_of_them() -> list[Any]:
        provider = make(settings, {"default": endpoint})
        try:
            wish = MintRequest("kitchen", endpoint, SessionRequest(), "http://x")
            return [
                await provider.mint(MintRequest(wish.device, endpoint, one, wish.base_url))
                for one in wishes or (wish.wish,)
            ]
        finally:
            await provider.close()

    return asyncio.run(all_of_them())


def test_a_grant_opens_the_channel_and_shows_no_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with standing(tmp_path) as one:
        grant = one.grant(turns=3)
        assert (grant["dialect"], grant["provider"], grant["resume"]) == ("delphi", "delphi", "fresh")
        assert grant["input"]["encoding"] == "none"
        assert grant["session"] == {"mode": "audio_playback"}
        assert grant["expires_at"] < grant["session_ends_at"]
        assert grant["auth"]["kind"] == "query"
        with connect(f"{grant['url']}?{grant['auth']['value']}") as socket:
            assert "connected" in str(socket.recv(timeout=20))
    token = grant["auth"]["value"].rpartition("token=")[2]
    told = [record.getMessage() for record in caplog.records if record.name != "websockets.client"]
    assert not [line for line in told if token in line or KEY in line]
    assert "t0ken" not in repr(Minted("s-1", "t0ken", 1, 1))


def test_a_session_that_lives_is_given_again_to_the_device_that_asks_for_it(tmp_path: Path) -> None:
    with standing(tmp_path) as one:
        first = one.grant()
        again = one.grant(resume_session=first["session_id"], turns=2)
        assert again == {**first, "resume": "live"}
        other = one.grant(resume_session="s-other", turns=2)
        assert other["session_id"] != first["session_id"]
        assert other["resume"] == "fresh"
        assert one.grant()["session_id"] != other["session_id"]


def test_a_token_that_is_about_to_end_is_not_given_again(tmp_path: Path) -> None:
    with standing(tmp_path, "short-token") as one:
        first = one.grant()
        assert one.grant(resume_session=first["session_id"])["resume"] == "fresh"


def test_a_listener_is_told_whom_and_a_reader_by_whom(tmp_path: Path) -> None:
    options = 'mode = "listen"\nidentifier = "booth-1"\ntarget_language = "fr"\ncaptions = false'
    with standing(tmp_path, options=options) as one:
        assert one.grant()["session"]["listen"] == {
            "identifier": "booth-1",
            "targetLanguage": "fr",
            "scope": ENDPOINT,
            "endpointId": ENDPOINT,
            "startMode": "closest_to_now",
            "includeCaptions": False,
        }
    with standing(tmp_path, options="read_aloud = true") as one:
        named = {"capabilityId": "cap-read", "capabilitySlug": "read-aloud"}
        assert one.grant()["session"] == {"mode": "audio_playback", "readAloud": named}


def test_a_mode_that_the_endpoint_does_not_have_is_one_line(tmp_path: Path) -> None:
    with standing(tmp_path, "no-listen", options='mode = "listen"') as one:
        refusal = one.post()
    assert refusal.status_code == 400
    line = refusal.json()["error"]["message"]
    assert line.startswith(
        'Delphi\'s endpoint does not offer "listen"; it has: audio_playback, browser_actions'
    )


def test_a_voice_call_goes_through_the_gateway_and_is_new_each_time(tmp_path: Path) -> None:
    with standing(tmp_path, options='mode = "voice_conversation"') as one:
        grant = one.grant()
        assert grant["url"].startswith(f"{one.url.replace('http', 'ws', 1)}/v1/gateway/")
        assert (grant["dialect"], grant["auth"]["kind"]) == ("speko", "bearer")
        assert grant["input"] == grant["output"] == {"encoding": "pcm16", "rate": 24000}
        again = one.grant(resume_session=grant["session_id"])
        assert again["session_id"] != grant["session_id"]
        assert again["resume"] == "fresh"
    with standing(tmp_path, "no-gateway", options='mode = "voice_conversation"') as one:
        refusal = one.post()
        assert refusal.status_code == 502
        assert "webrtcGatewayUrl" in refusal.json()["error"]["message"]


def test_a_voice_call_without_the_gateway_names_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    options = DelphiOptions(endpoint_id=ENDPOINT, mode="voice_conversation")
    settings = DelphiSettings(base_url="https://api.example", key_file=str(tmp_path / "key"))
    with pytest.raises(ConfigError, match=r"pressel\[webrtc\]"):
        make(settings, {"hall": Endpoint(provider="delphi", delphi=options)})


def test_a_refusal_keeps_its_status_and_its_words(tmp_path: Path) -> None:
    with standing(tmp_path, "mint-429") as one:
        refusal = one.post()
        assert (refusal.status_code, refusal.headers["Retry-After"]) == (429, "1")
        assert refusal.json()["error"]["message"] == "the provider answered 429: Too many requests"
        assert one.post().status_code == 200
    (tmp_path / "key").write_text("wrong")
    with http(build(Options(tmp_path))) as url, running(tmp_path, text(url)) as one:
        assert one.post().json()["error"]["message"] == "the provider answered 401: Invalid API key"


def test_the_offers_are_asked_once_and_the_session_each_time(tmp_path: Path) -> None:
    with answering(tmp_path, TOKEN) as (settings, asked):
        (grant, _) = mint(settings, SessionRequest(), SessionRequest(), mode="text")
    assert [name for name, _ in asked] == ["capabilities", "token", "token"]
    assert {key for _, key in asked} == {KEY}
    assert grant.auth.value == "sessionId=s%2F1&token=a.b%26c"


@pytest.mark.parametrize("offers", [{"error": {"message": "no such page"}}, ["odd"]])
def test_a_service_that_does_not_tell_its_offers_is_asked_all_the_same(tmp_path: Path, offers: Any) -> None:
    status = 404 if isinstance(offers, dict) else 200
    with answering(tmp_path, TOKEN, offers, status) as (settings, _):
        (grant,) = mint(settings, mode="listen", read_aloud=True)
    assert grant.session["readAloud"] == {}


@pytest.mark.parametrize(
    "token",
    [{"error": "later"}, {**TOKEN, "wsToken": ""}, {**TOKEN, "expiresIn": 0}, [], {**TOKEN, "sessionId": 3}],
)
def test_an_answer_without_a_usable_token_is_one_line(tmp_path: Path, token: Any) -> None:
    with answering(tmp_path, token) as (settings, _), pytest.raises(RequestError) as refused:
        mint(settings, mode="text")
    assert refused.value.status == 502
    assert "\n" not in str(refused.value)
    assert "a.b&c" not in str(refused.value)


def test_settings_that_delphi_does_not_have_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    settings = DelphiSettings(base_url="https://api.example", key_file=str(tmp_path / "key"))
    options = DelphiOptions(endpoint_id="ep")
    for endpoint, name in (
        (Endpoint(provider="delphi"), "delphi.endpoint_id"),
        (Endpoint(provider="delphi", delphi=options, model="m"), "model"),
        (Endpoint(provider="delphi", delphi=options, session=SessionSettings(voice="v")), "session.voice"),
    ):
        with pytest.raises(ConfigError, match=rf"endpoints\.hall\.{name}"):
            make(settings, {"hall": endpoint})


def test_the_file_names_the_modes_there_are(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    with pytest.raises(ConfigError, match=r"delphi\.mode"):
        load(config_file(tmp_path, text("https://api.example", 'mode = "karaoke"')))
    with pytest.raises(ConfigError, match="base_url"):
        load(config_file(tmp_path, text("")))
