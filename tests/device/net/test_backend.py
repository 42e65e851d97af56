"""Grants from real HTTP servers, good ones and bad ones."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any

import msgspec
import pytest

from device.core.grant import Auth, GrantRequest
from device.errors import BackendError
from device.net.backend import Backend, CompanionBackend, get
from device.net.cancel import CancelledError, CancelScope
from rig.proxy import Proxy
from tests.servers import Answer, http_server, until

REQUEST = GrantRequest("default", "push_to_talk", "client", "sess_0", 2)
GRANT = {
    "dialect": "openai",
    "url": "ws://127.0.0.1:1/v1/realtime",
    "auth": {"kind": "bearer", "value": "ek_1"},
    "expires_at": 2000,
    "session_id": "sess_1",
    "resume": "live",
    "a_field_of_the_future": 1,
}
NOW = 1000.0


def ok(body: Any) -> Answer:
    return (200, json.dumps(body).encode(), {})


HTML = {"Content-Type": "text/html; charset=utf-8"}


def companion(url: str) -> Backend:
    return CompanionBackend(url, "pst_device")


def test_the_companion_is_asked_with_the_token_and_its_grant_is_read() -> None:
    with http_server(ok(GRANT)) as server:
        grant = companion(server.url).mint(REQUEST, NOW)
    path, headers, body = server.asked[0]
    assert path == "/v1/sessions"
    assert headers["Authorization"] == "Bearer pst_device"
    assert json.loads(body) == {
        "endpoint": "default",
        "mode": "push_to_talk",
        "turn_end": "client",
        "resume_session": "sess_0",
        "turns": 2,
    }
    assert grant.auth == Auth("bearer", "ek_1")
    assert grant.resume == "live"


class Renewed:
    """A credential that is renewed for one reason."""

    def __init__(self, reason: str) -> None:
        self.reason, self.told = reason, list[str]()

    def header(self) -> str:
        return f"Bearer number-{len(self.told)}"

    def renew(self, code: str) -> bool:
        self.told.append(code)
        return code == self.reason


def refused(code: str, **more: Any) -> Answer:
    return (401, json.dumps({"error": {"code": code, "message": "no", **more}}).encode(), {})


def test_a_credential_that_was_renewed_is_tried_once_more_and_no_more_than_that() -> None:
    credential = Renewed("rotate_key")
    with http_server(refused("rotate_key"), ok(GRANT), refused("rotate_key")) as server:
        backend = CompanionBackend(server.url, credential)
        assert backend.mint(REQUEST, NOW).auth == Auth("bearer", "ek_1")
        with pytest.raises(BackendError, match="answered 401: no") as caught:
            backend.mint(REQUEST, NOW)
    shown = [headers["Authorization"] for _, headers, _ in server.asked]
    assert shown == ["Bearer number-0", "Bearer number-1", "Bearer number-1", "Bearer number-2"]
    assert (caught.value.code, caught.value.fatal) == ("rotate_key", False)


def test_a_credential_that_cannot_be_renewed_is_not_tried_again() -> None:
    credential = Renewed("rotate_key")
    with http_server(refused("revoked")) as server, pytest.raises(BackendError, match=r"401: no$") as caught:
        CompanionBackend(server.url, credential).mint(REQUEST, NOW)
    assert credential.told == ["revoked"]
    assert len(server.asked) == 1
    assert caught.value.fatal


def test_clocks_that_differ_are_told_apart_and_are_no_reason_to_give_up() -> None:
    with (
        http_server(refused("untimely", time=time.time() + 3600)) as server,
        pytest.raises(BackendError, match=r"the clock here is 3[56]\d\d s behind the companion's") as caught,
    ):
        companion(server.url).mint(REQUEST, NOW)
    assert (caught.value.fatal, caught.value.untimely) == (False, True)


@pytest.mark.parametrize(
    ("answer", "line", "fatal", "retry_after_s"),
    [
        (
            (401, b'{"error":{"code":"unauthorized","message":"no such token"}}', {}),
            "401: no such token; check",
            True,
            None,
        ),
        ((429, b"{}", {"Retry-After": "7"}), "answered 429: Too Many Requests", False, 7.0),
        ((403, b"{}", {}), "403: Forbidden; check the key at the backend", True, None),
        ((405, b"{}", {}), "405: Method Not Allowed; check backend.url", True, None),
        ((511, b"<html>", HTML), "captive portal) in between? Else try another network", False, None),
        ((404, b"no such page", {}), "404: Not Found; check backend.url and backend.endpoint", False, None),
        ((500, b"<html>", {}), "answered 500", False, None),
        (
            (401, b'{"error":{"code":"provider_refused","message":"Incorrect API key"}}', {}),
            "401: Incorrect API key",
            True,
            None,
        ),
        ((200, b'{"error":"\xff"}', {}), "where JSON belongs", False, None),
        ((200, b"{}", {"Content-Encoding": "gzip"}), "cannot be reached", False, None),
        (
            (200, b"<html>hi", {"Content-Type": "text/html"}),
            "text/html where JSON belongs; is this network's login page (a captive portal) in between?",
            False,
            None,
        ),
        (
            (302, b"", {"Location": "http://login.cafe.example/portal?user=1"}),
            "redirects to http://login.cafe.example/portal; is this network's login page",
            False,
            None,
        ),
        ((200, b"[" * 100_000, {}), "where JSON belongs", False, None),
        ((200, b"{}", {}), "makes no sense: Object missing required field", False, None),
        (ok({**GRANT, "expires_at": "soon"}), "makes no sense", False, None),
        (ok({**GRANT, "expires_at": 900}), "expired 100 s ago", False, None),
        ((200, b'"' + b"x" * (2 << 20) + b'"', {}), "more than 1048576 bytes", False, None),
    ],
)
def test_a_bad_answer_is_one_line_that_says_whether_to_try_again(
    answer: Answer, line: str, *, fatal: bool, retry_after_s: float | None
) -> None:
    with http_server(answer) as server, pytest.raises(BackendError, match=r"backend|companion") as caught:
        companion(server.url).mint(REQUEST, NOW)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "pst_device" not in str(caught.value)
    assert caught.value.fatal is fatal
    assert caught.value.retry_after_s == retry_after_s


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 422])
@pytest.mark.parametrize(
    ("answer", "fatal"), [((b"<html>Log in", HTML), False), ((b'{"error":{"message":"no"}}', {}), True)]
)
def test_only_the_backend_itself_refuses_for_good_and_every_refusal_names_a_mend(
    status: int, answer: tuple[bytes, dict[str, str]], *, fatal: bool
) -> None:
    with (
        http_server((status, *answer)) as server,
        pytest.raises(BackendError, match=f"answered {status}: .*; .*check ") as caught,
    ):
        companion(server.url).mint(REQUEST, NOW)
    assert caught.value.fatal is fatal
    assert ("(a captive portal) in between? Else check" in str(caught.value)) is not fatal


def test_a_date_to_come_back_at_counts_from_the_answer_s_own_date() -> None:
    with Proxy("http://127.0.0.1:1") as proxy:
        dates = {"Date": "Wed, 21 Oct 2026 07:28:00 GMT", "Retry_After": "Wed, 21 Oct 2026 07:28:07 GMT"}
        proxy.answer("429 Too Many Requests", b"{}", **dates)
        with pytest.raises(BackendError, match="429") as caught:
            companion(proxy.url).mint(REQUEST, NOW)
    assert caught.value.retry_after_s == 7.0


def test_a_wish_for_a_codec_is_passed_on() -> None:
    wish = msgspec.structs.replace(REQUEST, codec="g711_ulaw")
    coded = {**GRANT, "input": {"encoding": "g711_ulaw", "rate": 8000}}
    with http_server(ok(coded)) as server:
        grant = companion(server.url).mint(wish, NOW)
    assert json.loads(server.asked[0][2])["codec"] == "g711_ulaw"
    assert grant.input.bytes_per_ms == 8.0


def test_a_grant_may_not_lead_to_an_open_line() -> None:
    plain = {**GRANT, "url": "ws://companion.example/v1/realtime?secret=1"}
    with http_server(ok(plain)) as server:
        with pytest.raises(
            BackendError, match=r"companion\.example/v1/realtime, which is not encrypted"
        ) as caught:
            companion(server.url).mint(REQUEST, NOW)
        assert caught.value.fatal
        assert CompanionBackend(server.url, "t", allow_insecure=True).mint(REQUEST, NOW).url == plain["url"]
    with http_server(ok({**GRANT, "url": "wss://x"})) as server:
        assert companion(server.url).mint(REQUEST, NOW).url == "wss://x"


def test_a_backend_that_is_down_is_one_line() -> None:
    with http_server(ok({})) as server:
        url = server.url
    with pytest.raises(BackendError, match=r"cannot be reached: .*refused") as caught:
        companion(url).mint(REQUEST, NOW)
    assert not caught.value.fatal


def test_the_companion_says_who_this_device_is() -> None:
    with http_server(ok({"device": "kitchen", "endpoints": ["default"]})) as server:
        assert CompanionBackend(server.url + "/", "pst_device").check() == "kitchen"
    path, headers, _ = server.asked[0]
    assert (path, headers["Authorization"]) == ("/v1/me", "Bearer pst_device")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (ok({"name": "kitchen"}), "does not say who this device is"),
        (ok(["kitchen"]), "does not say who this device is"),
        ((401, b'{"error": {"code": "unauthorized", "message": "no such token"}}', {}), "answered 401"),
    ],
)
def test_a_companion_that_does_not_know_this_device_is_told_apart(answer: Answer, why: str) -> None:
    with http_server(answer) as server, pytest.raises(BackendError, match=why):
        CompanionBackend(server.url, "pst_device").check()


def test_the_token_follows_no_redirect() -> None:
    with http_server(ok(GRANT)) as other, http_server((307, b"", {"Location": other.url})) as first:
        with pytest.raises(BackendError, match="redirects to"):
            companion(first.url).mint(REQUEST, NOW)
        assert other.asked == []


@pytest.mark.parametrize("drips", [True, False])
def test_an_answer_that_drips_or_stalls_has_a_limit_in_all(drips: bool) -> None:
    with http_server(ok({})) as server, Proxy(server.url) as proxy:
        if drips:
            proxy.drip(50, "down")
        else:
            proxy.stall()
        began = time.monotonic()
        with pytest.raises(BackendError, match=r"did not answer within 0\.5 s"):
            get(proxy.url, 0.5)
        assert time.monotonic() - began < 5
        proxy.resume()
        until(lambda: proxy.open == 0)  # what was left behind has been closed


def test_a_request_that_is_cancelled_in_the_middle_of_tls_leaves_no_connection_behind() -> None:
    scope = CancelScope()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def cancel_midway() -> None:
            peer, _ = server.accept()
            peers.append(peer)
            peer.recv(1)  # the client has begun to shake hands
            scope.cancel()

        peers: list[socket.socket] = []
        thread = threading.Thread(target=cancel_midway)
        thread.start()
        with scope, pytest.raises(CancelledError):
            companion(f"https://127.0.0.1:{server.getsockname()[1]}").mint(REQUEST, NOW)
        thread.join(5)
    with peers[0] as peer:
        peer.settimeout(2.0)  # the client's own limit would be 5 s
        while peer.recv(65536):
            pass


def test_a_request_that_is_cancelled_ends_and_its_connection_with_it() -> None:
    scope = CancelScope()
    with http_server(ok(GRANT)) as server, Proxy(server.url) as proxy:
        proxy.stall("down")
        timer = threading.Timer(0.2, scope.cancel)
        timer.start()
        began = time.monotonic()
        with scope, pytest.raises(CancelledError):
            companion(proxy.url).mint(REQUEST, NOW)
        assert time.monotonic() - began < 5
        proxy.resume()
        until(lambda: proxy.open == 0)
