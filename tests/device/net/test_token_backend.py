"""A plain backend that passes a mint response through, good ones and bad ones, over real HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from device.core.grant import Auth, Encoding, GrantRequest
from device.errors import BackendError
from device.net.token_backend import TokenBackend
from tests.device.net.test_backend import NOW, REQUEST, ok
from tests.servers import Answer, http_server


def token(url: str) -> TokenBackend:
    return TokenBackend(url, "wss://api.example/v1/realtime", "gpt-realtime", {"audio": {}})


@pytest.mark.parametrize(
    ("body", "session_id"),
    [
        ({"value": "ek_1", "expires_at": 2000, "session": {"id": "sess_ga"}}, "sess_ga"),
        ({"id": "sess_beta", "client_secret": {"value": "ek_1", "expires_at": 2000}}, "sess_beta"),
        ({"value": "ek_1"}, None),
    ],
)
def test_a_plain_backend_passes_a_mint_through(body: Any, session_id: str | None) -> None:
    with http_server(ok(body)) as server:
        grant = token(server.url).mint(REQUEST, NOW)
    assert server.asked[0][0] == "/token"
    assert grant.auth == Auth("bearer", "ek_1")
    assert grant.url == "wss://api.example/v1/realtime?model=gpt-realtime"
    assert grant.session_id == session_id
    assert grant.resume == "seeded"


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (ok({"error": {"message": "quota"}}), "200 without a session secret: quota"),
        (ok({"client_secret": {"value": 5}}), "no secret in the answer"),
        (ok(["x"]), "no secret in the answer"),
        ((502, b'{"message":"upstream\\u001b[31m"}', {}), "502: upstream [31m"),
    ],
)
def test_a_bad_answer_is_one_line_that_says_whether_to_try_again(answer: Answer, line: str) -> None:
    with http_server(answer) as server, pytest.raises(BackendError, match="backend") as caught:
        token(server.url).mint(REQUEST, NOW)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.fatal is False


def outspeed(url: str) -> TokenBackend:
    return TokenBackend(url, "wss://own.example/v1?x=1", "Orpheus-3b", {"voice": "tara"}, "outspeed")


def minted(session_id: str) -> Answer:
    return ok({"id": session_id, "client_secret": {"value": "ek_1/2", "expires_at": 2000}})


def resuming(session_id: str | None) -> GrantRequest:
    return GrantRequest("default", "push_to_talk", "client", session_id, 2)


def test_outspeeds_session_is_asked_for_by_its_id() -> None:
    with http_server(minted("sess_0")) as server:
        grant = outspeed(server.url).mint(resuming("sess 0&x=1"), NOW)
    path, _, body = server.asked[0]
    assert path == "/token?resume_session=sess+0%26x%3D1"
    assert json.loads(body) == {"model": "Orpheus-3b", "voice": "tara"}
    assert grant.url == "wss://own.example/v1?x=1&model=Orpheus-3b"
    assert grant.auth == Auth("query", "client_secret=ek_1%2F2")
    assert (grant.dialect, grant.resume, grant.session, grant.notice) == (
        "outspeed",
        "live",
        {"voice": "tara"},
        "",
    )


@pytest.mark.parametrize(
    "refusal",
    [ok({"error": {"message": "Session sess_0 was not found"}}), (404, b'{"message":"not found"}', {})],
)
def test_a_session_that_cannot_be_resumed_is_begun_anew_once_and_told(refusal: Answer) -> None:
    with http_server(refusal, minted("sess_new")) as server:
        grant = outspeed(server.url).mint(resuming("sess_0"), NOW)
    assert [path for path, _, _ in server.asked] == ["/token?resume_session=sess_0", "/token"]
    assert (grant.session_id, grant.resume) == ("sess_new", "seeded")
    assert "could not be resumed" in grant.notice
    assert "not found" in grant.notice
    with http_server(refusal) as server, pytest.raises(BackendError):
        outspeed(server.url).mint(resuming("sess_0"), NOW)
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [401, 429, 503])
def test_what_is_not_about_the_id_is_not_tried_again_at_once(status: int) -> None:
    with http_server((status, b"{}", {})) as server, pytest.raises(BackendError) as caught:
        outspeed(server.url).mint(resuming("sess_0"), NOW)
    assert len(server.asked) == 1
    assert caught.value.status == status


def test_a_backend_that_cannot_be_reached_keeps_the_session() -> None:
    with pytest.raises(BackendError, match="cannot be reached"):
        outspeed("http://127.0.0.1:1").mint(resuming("sess_0"), NOW)


def test_without_an_id_a_new_session_is_asked_for() -> None:
    with http_server(minted("sess_new")) as server:
        grant = outspeed(server.url).mint(resuming(None), NOW)
    assert server.asked[0][0] == "/token"
    assert grant.resume == "seeded"


def test_the_beta_shape_is_asked_for_flat_and_marked() -> None:
    with http_server(minted("sess_1")) as server:
        backend = TokenBackend(server.url, "wss://x/v1", "gpt-realtime", {"voice": "alloy"}, "openai-beta")
        grant = backend.mint(REQUEST, NOW)
    assert server.asked[0][0] == "/token"
    assert json.loads(server.asked[0][2]) == {"model": "gpt-realtime", "voice": "alloy"}
    assert grant.auth == Auth("bearer", "ek_1/2")
    assert grant.headers == {"OpenAI-Beta": "realtime=v1"}


def test_a_wish_for_a_codec_is_in_the_grant() -> None:
    with http_server(ok({"value": "ek_1"})) as server:
        backend = TokenBackend(server.url, "wss://x/v1/realtime", "m", {}, codec="g711_alaw")
        grant = backend.mint(REQUEST, NOW)
    assert grant.input == grant.output == Encoding("g711_alaw", 8000)


def test_an_end_beyond_all_time_is_none() -> None:
    with http_server((200, b'{"value":"ek","expires_at":' + b"9" * 400 + b"}", {})) as server:
        assert token(server.url).mint(REQUEST, NOW).expires_at is None
