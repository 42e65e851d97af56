"""Grants from a user's own backend for Speko, good ones and bad ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from device.core.grant import Auth, GrantRequest
from device.errors import BackendError
from device.net.realtime_session_backend import Answer, RealtimeSessionBackend
from tests.servers import Answer as Http
from tests.servers import http_server

REQUEST = GrantRequest("default", "push_to_talk", "client", "sess_0", 2)
NOW = 1_795_255_000.0  # a quarter of an hour before it expires
SESSION: dict[str, Any] = {
    "sessionId": "f6567dd8",
    "wsUrl": "wss://api.speko.dev/v1/realtime/f6567dd8/ws",
    "wsToken": "planted-token",
    "expiresAt": "2026-11-21T10:15:00Z",
    "inputSampleRate": 16000,
    "outputSampleRate": 24000,
}


def ok(body: Any, status: int = 200) -> Http:
    return (status, json.dumps(body).encode(), {})


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("", "/api/realtime-session"),
        ("/", "/api/realtime-session"),
        ("/my/session", "/my/session"),
    ],
)
def test_the_backend_is_asked_with_an_empty_body_and_its_session_is_read(given: str, path: str) -> None:
    with http_server(ok(SESSION)) as server:
        grant = RealtimeSessionBackend(server.url + given).mint(REQUEST, NOW)
    [(asked, headers, body)] = server.asked
    assert (asked, body) == (path, b"")
    assert "Authorization" not in headers
    assert (grant.dialect, grant.provider, grant.session_id) == ("speko", "speko", "f6567dd8")
    assert (grant.url, grant.auth) == (SESSION["wsUrl"], Auth("subprotocol", "planted-token"))
    assert (grant.subprotocols, grant.resume) == ((), "fresh")
    assert grant.expires_at == 1_795_256_100
    assert (grant.input.rate, grant.output.rate) == (16_000, 24_000)


def test_what_is_not_said_is_the_protocols_own() -> None:
    body = {"wsUrl": "wss://x/ws", "wsToken": "t", "outputSampleRate": 44100}
    with http_server(ok(body)) as server:
        grant = RealtimeSessionBackend(server.url).mint(REQUEST, NOW)
    assert (grant.session_id, grant.expires_at) == (None, None)
    assert (grant.input.rate, grant.output.rate) == (24_000, 24_000)


def test_a_time_without_a_zone_is_utc() -> None:
    with http_server(ok({**SESSION, "expiresAt": "2026-11-21T10:15:00.250"})) as server:
        assert RealtimeSessionBackend(server.url).mint(REQUEST, NOW).expires_at == 1_795_256_100.25


def test_a_socket_that_is_not_encrypted_is_for_loopback_or_by_leave() -> None:
    with http_server(ok({**SESSION, "wsUrl": "ws://example.org/ws?x=secret"})) as server:
        with pytest.raises(BackendError, match=r"ws://example\.org/ws, which is not encrypted") as caught:
            RealtimeSessionBackend(server.url).mint(REQUEST, NOW)
        assert caught.value.fatal
        by_leave = RealtimeSessionBackend(server.url, allow_insecure=True).mint(REQUEST, NOW)
        assert by_leave.url.startswith("ws://example.org")
    with http_server(ok({**SESSION, "wsUrl": "ws://127.0.0.1:1/ws"})) as server:
        assert RealtimeSessionBackend(server.url).mint(REQUEST, NOW).url == "ws://127.0.0.1:1/ws"


@pytest.mark.parametrize(
    ("answer", "line", "fatal"),
    [
        (ok({"error": "Could not start realtime session"}, 401), "401: Could not start", True),
        (ok({"error": "Could not start realtime session"}, 502), "502: Could not start", False),
        (ok({"error": "no key"}), "without a realtime session: no key", False),
        (ok({**SESSION, "wsToken": ""}), "no wsUrl with a wsToken", False),
        (ok({**SESSION, "wsUrl": "https://x"}), "no wsUrl with a wsToken", False),
        (ok({**SESSION, "wsUrl": 1}), "makes no sense: .*wsUrl", False),
        (ok([]), "makes no sense", False),
        (ok({**SESSION, "expiresAt": "so\non"}), 'expiresAt "so on" is no time', False),
        (ok({**SESSION, "expiresAt": "2026-11-21T08:00:00Z"}), "expired .* s ago", False),
        (ok({"transport": "provider_direct", "sessionId": "s"}), 'backend.kind = "companion"', True),
        ((200, b"<html>", {"Content-Type": "text/html"}), "text/html where JSON belongs", False),
    ],
)
def test_no_session_is_one_line(answer: Http, line: str, fatal: bool) -> None:
    with http_server(answer) as server, pytest.raises(BackendError, match=line) as caught:
        RealtimeSessionBackend(server.url).mint(REQUEST, NOW)
    assert caught.value.fatal is fatal
    assert "\n" not in str(caught.value)
    assert "planted-token" not in str(caught.value)


def test_the_token_is_in_no_repr() -> None:
    assert "planted-token" not in repr(Answer("s", ws_token="planted-token"))
