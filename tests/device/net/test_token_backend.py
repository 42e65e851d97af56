"""A plain backend that passes a mint response through, good ones and bad ones, over real HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from device.core.grant import Auth
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
