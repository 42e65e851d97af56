"""The OpenAI provider against a real HTTP server that answers as OpenAI does, or does not."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from companion.gateway.gateway import Gateway
from companion.providers import MintRequest
from companion.providers.openai import OpenAI, SecretAnswer
from companion.serve import listen, url_of
from companion.settings import Endpoint, OpenAIOptions, OpenAISettings
from companion.wire import Auth, SessionRequest
from tests.companion.talk import Running, http, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.requests import Request

KEY = "sk-planted-secret"
MINTED = {
    "value": "ek_68af296e8e40",
    "expires_at": 1_756_310_470,
    "session": {"type": "realtime", "object": "realtime.session", "id": "sess_C9CiUVUz", "expires_at": 0},
}


class Upstream:
    """Answers each mint with `answer` and keeps what was asked."""

    def __init__(self) -> None:
        self.answer: Response = JSONResponse(MINTED)
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []

    async def mint(self, request: Request) -> Response:
        self.asked.append(await request.json())
        self.keys.append(request.headers["authorization"])
        return self.answer


@contextmanager
def standing(folder: Path, more: str = "", endpoint: str = "") -> Iterator[tuple[Running, Upstream]]:
    upstream = Upstream()
    (folder / "key").write_text(f"{KEY}\n")
    with http(
        Starlette(routes=[Route("/v1/realtime/client_secrets", upstream.mint, methods=["POST"])])
    ) as url:
        text = f"""
[endpoints.default]
provider = "openai"
{endpoint}
[providers.openai]
base_url = "{url}"
key_file = "key"
{more}
"""
        with running(folder, text, "mints_per_minute = 6000") as one:
            yield one, upstream


def test_a_grant_is_minted_with_the_key_and_without_showing_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint = 'model = "gpt-realtime-mini"\n[endpoints.default.session]\nvoice = "marin"'
    with standing(tmp_path, "secret_seconds = 120", endpoint) as (one, upstream):
        answer = one.post(
            {"mode": "open_mic", "turn_end": "server", "turns": 2, "resume_session": "sess_old"}
        )
    grant = answer.json()
    [asked] = upstream.asked
    assert upstream.keys == [f"Bearer {KEY}"]
    assert asked["expires_after"] == {"anchor": "created_at", "seconds": 120}
    assert asked["session"] == {**grant["session"], "model": "gpt-realtime-mini"}
    assert asked["session"]["audio"]["input"]["transcription"] == {"model": "gpt-4o-mini-transcribe"}
    assert asked["session"]["audio"]["input"]["turn_detection"]["type"] == "server_vad"
    assert (grant["provider"], grant["resume"], grant["session_id"]) == ("openai", "seeded", "sess_C9CiUVUz")
    assert grant["auth"] == {"kind": "bearer", "value": "ek_68af296e8e40"}
    assert (grant["expires_at"], grant["session_ends_at"]) == (1_756_310_470, None)
    assert grant["url"].endswith("/v1/realtime?model=gpt-realtime-mini")
    assert grant["url"].startswith("ws://127.0.0.1:")
    assert KEY not in answer.text
    assert KEY not in caplog.text
    assert "ek_68af296e8e40" not in caplog.text


def test_the_socket_is_secure_where_the_mint_is(tmp_path: Path) -> None:
    with standing(tmp_path, 'realtime_url = "wss://edge.example/v1/realtime"') as (one, _):
        assert one.grant()["url"] == "wss://edge.example/v1/realtime?model=gpt-realtime"


@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        (
            JSONResponse({"error": {"message": "Incorrect API key\nprovided."}}, 401),
            401,
            "401: Incorrect API key provided.",
        ),
        (JSONResponse({"error": "no"}, 403), 403, "403: no"),
        (JSONResponse({"error": {"message": "slow down"}}, 429, {"Retry-After": "7"}), 429, "429: slow down"),
        (Response("<html>", 500), 500, "500: Internal Server Error"),
        (JSONResponse({}, 503), 503, "503: Service Unavailable"),
        (Response("", 302), 502, "302"),
        (Response("not json"), 502, "no type where JSON belongs"),
        (JSONResponse({"client_secret": {"value": "x"}}), 502, "missing required field `value`"),
        (JSONResponse({"value": 3, "expires_at": 1}), 502, "Expected `str`, got `int`"),
        (JSONResponse({"value": "", "expires_at": 1}), 502, "Expected `str` of length >= 1"),
    ],
)
def test_an_upstream_fault_is_one_line_with_its_status(
    tmp_path: Path, answer: Response, status: int, says: str
) -> None:
    with standing(tmp_path) as (one, upstream):
        upstream.answer = answer
        got = one.post()
    assert got.status_code == status
    message = got.json()["error"]["message"]
    assert says in message
    assert "\n" not in message
    assert got.headers.get("Retry-After") == ("7" if status == 429 else None)


@pytest.mark.parametrize(
    ("more", "at"),
    [({}, None), ({"expires_at": 9.5}, 9), ({"session": None}, None), ({"expires_at": 0}, None)],
)
def test_services_that_tell_little_of_the_session(
    tmp_path: Path, more: dict[str, Any], at: int | None
) -> None:
    with standing(tmp_path) as (one, upstream):
        upstream.answer = JSONResponse({"value": "ek_1", **more})
        grant = one.grant()
    assert (grant["session_id"], grant["expires_at"], grant["session_ends_at"]) == ("", at, None)


def test_the_gateway_s_own_secret_ends_in_time_where_the_service_does_not_tell(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    door, settings = Gateway(), OpenAISettings(key_file=str(tmp_path / "key"), secret_seconds=120)
    endpoint = Endpoint(provider="openai", openai=OpenAIOptions(transport="webrtc"))
    request = MintRequest("kitchen", endpoint, SessionRequest(), "https://own.example")
    now = time.time()
    OpenAI(settings, door)._way(request, SecretAnswer("ek_1"), "gpt-realtime")
    [ticket] = door._tickets.values()
    assert now + 120 <= ticket.expires_at <= time.time() + 120


def test_an_upstream_that_is_away_is_502(tmp_path: Path) -> None:
    bound = listen("127.0.0.1", 0)
    url = url_of(bound)
    bound.close()
    (tmp_path / "key").write_text(KEY)
    text = (
        f'[endpoints.default]\nprovider = "openai"\n[providers.openai]\nbase_url = "{url}"\nkey_file = "key"'
    )
    with running(tmp_path, text) as one:
        got = one.post()
    assert got.status_code == 502
    assert got.json()["error"]["code"] == "provider_unreachable"


def test_an_upstream_that_says_nothing_is_503_in_time(tmp_path: Path) -> None:
    silent = listen("127.0.0.1", 0)
    silent.listen()
    (tmp_path / "key").write_text(KEY)
    text = f"""
[endpoints.default]
provider = "openai"
[providers.openai]
base_url = "{url_of(silent)}"
key_file = "key"
timeout_s = 0.2
"""
    with running(tmp_path, text) as one:
        got = one.post()
    silent.close()
    assert (got.status_code, got.json()["error"]["code"]) == (503, "provider_timeout")
    assert got.headers["Retry-After"] == "2"


def test_the_key_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = Upstream()
    monkeypatch.setenv("PLANTED_KEY", KEY)
    with http(
        Starlette(routes=[Route("/v1/realtime/client_secrets", upstream.mint, methods=["POST"])])
    ) as url:
        text = '[endpoints.default]\nprovider = "openai"\n[providers.openai]\nkey_env = "PLANTED_KEY"'
        with running(tmp_path, f'{text}\nbase_url = "{url}"') as one:
            one.grant()
    assert upstream.keys == [f"Bearer {KEY}"]


def test_the_device_s_codec_and_what_cannot_be_changed_later(tmp_path: Path) -> None:
    endpoint = """
[endpoints.default.session]
voice = {id = "voice_1234"}
input_codec = "g711_alaw"
tracing = {workflow_name = "kitchen"}
vad = "none"
"""
    with standing(tmp_path, endpoint=endpoint) as (one, upstream):
        own = one.grant()
        wished = one.grant(codec="g711_ulaw")
        turnless = one.post({"mode": "open_mic", "turn_end": "server"})
    assert own["input"] == {"encoding": "g711_alaw", "rate": 8000}
    assert own["output"] == {"encoding": "pcm16", "rate": 24_000}
    assert wished["input"] == wished["output"] == {"encoding": "g711_ulaw", "rate": 8000}
    assert upstream.asked[0]["session"]["tracing"] == {"workflow_name": "kitchen"}
    assert "tracing" not in own["session"]
    assert own["session"]["audio"]["output"]["voice"] == {"id": "voice_1234"}
    assert (turnless.status_code, turnless.json()["error"]["code"]) == (400, "no_turn_detection")
    assert len(upstream.asked) == 2


def test_a_secret_is_in_no_repr() -> None:
    assert "ek_1" not in repr(SecretAnswer("ek_1", 5)) + repr(Auth("bearer", "ek_1"))
