"""An attempt from the mint to the close, against a real HTTP backend and a real WebSocket."""

from __future__ import annotations

import base64
import json
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from device.core import events as e
from device.core.grant import Grant, GrantRequest
from device.net.attempt import Attempt
from device.net.backend import CompanionBackend
from rig.proxy import Proxy
from tests.device.net.test_downlink import FakeHeard, FakePlayer
from tests.servers import http_server, until, ws_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.sync.server import ServerConnection

REQUEST = GrantRequest("default", "push_to_talk", "client", None, 0)


class Rig:
    """Starts attempts and keeps what they report."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[e.Event] = queue.SimpleQueue()
        self.player = FakePlayer(heard=FakeHeard("3.1", "i1", 30))

    def start(
        self, backend: Any, request: GrantRequest = REQUEST, number: int = 3, **options: Any
    ) -> Attempt:
        return Attempt(
            number,
            backend,
            request,
            (),
            self.player,
            now=lambda: 1000.0,
            clock_offset_s=0.0,
            on_event=self.events.put,
            **options,
        )

    def next(self) -> e.Event:
        return self.events.get(timeout=5)


def grant(url: str) -> tuple[int, bytes, dict[str, str]]:
    return (200, json.dumps({"dialect": "openai", "url": url, "provider": "test"}).encode(), {})


def opening(peer: ServerConnection) -> None:
    peer.send(json.dumps({"type": "session.created", "session": {"id": "sess_1"}}))
    assert json.loads(peer.recv())["type"] == "session.update"
    peer.send(json.dumps({"type": "session.updated", "session": {"id": "sess_1"}}))


def session(peer: ServerConnection, got: list[Any]) -> None:
    """One reply, bad messages in between, then whatever the device says."""
    opening(peer)
    peer.send(b"\0\0")
    peer.send("{")
    peer.send(json.dumps({"type": "response.created", "response": {"id": "r1"}}))
    audio = base64.b64encode(b"\1\1" * 2400).decode()
    kind = "response.output_audio.delta"
    peer.send(json.dumps({"type": kind, "response_id": "r1", "item_id": "i1", "delta": audio}))
    got.extend(json.loads(message) for message in peer)


def with_session(check: Callable[[Rig, Attempt, list[Any]], None]) -> None:
    got: list[Any] = []
    with ws_server(lambda peer: session(peer, got)) as url, http_server(grant(url)) as backend:
        rig = Rig()
        attempt = rig.start(CompanionBackend(backend.url, "t"))
        assert rig.next() == e.Opened(3, "sess_1", "test", "fresh")
        check(rig, attempt, got)
        attempt.cancel()
        attempt.join(5)


def test_a_session_opens_survives_bad_messages_and_carries_both_ways() -> None:
    def check(rig: Rig, attempt: Attempt, got: list[Any]) -> None:
        assert "binary" in str(rig.next())
        assert "bad message" in str(rig.next())
        assert rig.next() == e.ReplyStarted(3, "3.1")
        attempt.downlink.admit("3.1")
        until(lambda: rig.player.played)
        live = attempt.session
        assert live
        live.send_audio(b"\0\0")
        live.interrupt(attempt.downlink.cut())
        live.refuse_tool("c1")
        live.discard_turn()
        live.refuse_reply("3.1")
        live.end_turn()
        live.request_reply()
        until(lambda: len(got) >= 6)
        assert [message["type"] for message in got[:6]] == [
            "input_audio_buffer.append",
            "response.cancel",
            "conversation.item.truncate",
            "conversation.item.create",
            "input_audio_buffer.clear",  # and no second cancel of the same reply
            "input_audio_buffer.commit",
        ]
        assert got[2]["audio_end_ms"] == 30

    with_session(check)


def test_no_grant_is_one_loss_and_says_whether_to_try_again() -> None:
    rig = Rig()
    with http_server((401, b"{}", {})) as backend:
        rig.start(CompanionBackend(backend.url, "t"))
        lost = rig.next()
    assert isinstance(lost, e.Lost)
    assert lost.fatal


def test_a_refused_socket_is_one_loss() -> None:
    rig = Rig()
    with http_server(grant("ws://127.0.0.1:1/v1")) as backend:
        rig.start(CompanionBackend(backend.url, "t"))
        lost = rig.next()
    assert isinstance(lost, e.Lost)
    assert "no session with" in lost.reason


def test_an_attempt_that_was_cancelled_while_minting_opens_nothing() -> None:
    minting, go = threading.Event(), threading.Event()

    class SlowBackend:
        def mint(self, _request: GrantRequest, _now: float) -> Grant:
            minting.set()
            go.wait(5)
            return Grant("openai", "ws://127.0.0.1:1/never")

    rig = Rig()
    attempt = rig.start(SlowBackend())
    assert minting.wait(5)
    attempt.cancel()
    go.set()
    attempt.join(5)
    assert rig.events.empty()
    assert attempt.session is None


def test_a_bug_ends_the_thread_and_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    class BrokenBackend:
        def mint(self, _request: GrantRequest, _now: float) -> Grant:
            raise ZeroDivisionError("a bug")

    died: queue.SimpleQueue[threading.ExceptHookArgs] = queue.SimpleQueue()
    monkeypatch.setattr(threading, "excepthook", died.put)
    Rig().start(BrokenBackend()).join(5)
    assert died.get(timeout=5).exc_type is ZeroDivisionError


def test_a_refused_token_is_minted_once_more_without_the_old_session() -> None:
    request = msgspec.structs.replace(REQUEST, resume_session="s-old")
    for refusals, ends in ((1, e.Opened), (2, e.Lost)):
        left = [refusals]

        def serve(peer: ServerConnection, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] >= 0:
                peer.close(4001, "invalid token")
                return
            peer.send(json.dumps({"type": "status", "status": {"state": "connected"}}))
            list(peer)

        with ws_server(serve) as url:
            answer = json.dumps({"dialect": "delphi", "url": url, "session_id": "s-1", "resume": "live"})
            with http_server((200, answer.encode(), {})) as backend:
                rig = Rig()
                attempt = rig.start(CompanionBackend(backend.url, "t"), request)
                told = rig.next()
                assert isinstance(told, e.Troubled)
                assert "4001 invalid token" in told.text
                assert told.text.endswith("; asking for a new session")
                end = rig.next()
                attempt.cancel()
                attempt.join(5)
            wanted = [json.loads(body)["resume_session"] for _, _, body in backend.asked]
            assert wanted == ["s-old", None]
            assert isinstance(end, ends)
            assert not isinstance(end, e.Lost) or (end.fatal and "key at the companion" in end.reason)


def test_a_token_refused_at_the_upgrade_is_minted_once_more_too() -> None:
    with ws_server(lambda _peer: None, process_request=lambda peer, _: peer.respond(403, "")) as url:
        answer = json.dumps({"dialect": "delphi", "url": url, "session_id": "s-1"})
        with http_server((200, answer.encode(), {})) as backend:
            rig = Rig()
            rig.start(CompanionBackend(backend.url, "t"))
            told, end = rig.next(), rig.next()
        assert isinstance(told, e.Troubled)
        assert told.text.endswith("HTTP 403; asking for a new session")
        assert isinstance(end, e.Lost)
        assert len(backend.asked) == 2


def refusing(*statuses: int) -> Callable[[ServerConnection, Any], Any]:
    """Refuse the first upgrades with these statuses."""
    left = list(statuses)
    return lambda peer, _request: peer.respond(left.pop(0), "") if left else None


@pytest.mark.parametrize("status", [401, 403])
def test_a_secret_that_expired_on_the_way_is_minted_once_more_for_the_same_session(status: int) -> None:
    request = msgspec.structs.replace(REQUEST, resume_session="s-old")
    got: list[Any] = []
    with (
        ws_server(lambda peer: session(peer, got), process_request=refusing(status)) as url,
        http_server(grant(url)) as backend,
    ):
        rig = Rig()
        attempt = rig.start(CompanionBackend(backend.url, "t"), request)
        told = rig.next()
        assert isinstance(told, e.Troubled)
        assert told.text.endswith(f"HTTP {status}; asking for a new session")
        assert isinstance(rig.next(), e.Opened)
        attempt.cancel()
        attempt.join(5)
    assert [json.loads(body)["resume_session"] for _, _, body in backend.asked] == ["s-old", "s-old"]


def test_a_new_secret_that_is_refused_too_is_the_end_and_says_what_to_check() -> None:
    with (
        ws_server(opening, process_request=refusing(401, 401, 401)) as url,
        http_server(grant(url)) as backend,
    ):
        rig = Rig()
        rig.start(CompanionBackend(backend.url, "t"))
        rig.next()
        lost = rig.next()
    assert isinstance(lost, e.Lost)
    assert lost.fatal
    assert lost.reason.endswith("a new secret was refused too: check the key and the model at the backend")
    assert len(backend.asked) == 2


def test_an_upgrade_s_retry_after_is_told() -> None:
    with Proxy("ws://127.0.0.1:1") as proxy, http_server(grant(proxy.url)) as backend:
        proxy.answer("429 Too Many Requests", Retry_After="3")
        rig = Rig()
        rig.start(CompanionBackend(backend.url, "t"))
        lost = rig.next()
    assert isinstance(lost, e.Lost)
    assert (lost.fatal, lost.retry_after_s) == (False, 3.0)


@pytest.mark.parametrize("is_set", [True, False, None])
def test_a_date_that_does_not_fit_a_clock_that_is_not_set_is_tried_again_until_it_is(
    *, is_set: bool | None
) -> None:
    old = json.dumps({"dialect": "openai", "url": "ws://127.0.0.1:1", "expires_at": 900}).encode()
    rig = Rig()
    with http_server((200, old, {})) as backend:
        rig.start(CompanionBackend(backend.url, "t"), clock_is_set=lambda: is_set)
        lost = rig.next()
    assert isinstance(lost, e.Lost)
    assert not lost.fatal
    assert lost.reason.endswith("the clock is not set yet: tried again until time sync has set it") is (
        is_set is False
    )


class HangingBackend:
    """Gives its grant when it is let go, and counts how many mints are under way at once."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.go = threading.Event()
        self.most = self.now = self.asked = 0

    def mint(self, _request: GrantRequest, _now: float) -> Grant:
        self.asked += 1
        self.now += 1
        self.most = max(self.most, self.now)
        self.go.wait(10)
        self.now -= 1
        return Grant("openai", self.url)


def test_an_attempt_waits_for_the_older_one_to_end() -> None:
    got: list[Any] = []
    with ws_server(lambda peer: session(peer, got)) as url:
        backend, rig = HangingBackend(url), Rig()
        older = rig.start(backend)
        until(lambda: backend.now)
        older.cancel()
        newer = rig.start(backend, number=4, after=older)
        backend.go.set()
        assert rig.next() == e.Opened(4, "sess_1", "", "fresh")
        assert backend.most == 1
        newer.cancel()
        newer.join(5)


def test_an_attempt_that_was_cancelled_while_it_waited_for_the_older_one_asks_for_nothing() -> None:
    backend, rig = HangingBackend("ws://127.0.0.1:1/never"), Rig()
    older = rig.start(backend)
    until(lambda: backend.now)
    newer = rig.start(backend, number=4, after=older)
    newer.cancel()
    older.cancel()
    backend.go.set()
    newer.join(5)
    assert backend.asked == 1
    assert rig.events.empty()


def test_an_older_attempt_that_does_not_end_is_left_behind_and_its_grant_never_used() -> None:
    connections: list[ServerConnection] = []
    with ws_server(connections.append) as url:
        hanging, rig = HangingBackend(url), Rig()
        older = rig.start(hanging)
        until(lambda: hanging.now)
        older.cancel()
        with http_server((503, b"{}", {})) as backend:
            rig.start(CompanionBackend(backend.url, "t"), number=4, after=older)
            lost = rig.next()
        assert isinstance(lost, e.Lost)
        assert lost.attempt == 4
        hanging.go.set()
        older.join(5)
    assert connections == []
    assert rig.events.empty()


@pytest.mark.parametrize("stage", ["minting", "connecting"])
def test_a_cancel_ends_an_attempt_whose_peer_hangs(stage: str) -> None:
    rig = Rig()
    with ws_server(opening) as url, Proxy(url) as proxy:
        proxy.black_hole()
        hanging = proxy.url.replace("ws:", "http:") if stage == "minting" else ""
        with http_server(grant(proxy.url)) as backend:
            attempt = rig.start(CompanionBackend(hanging or backend.url, "t"))
            until(lambda: proxy.connections)
            attempt.cancel()
            began = time.monotonic()
            attempt.join(5)
            assert time.monotonic() - began < 3
    assert rig.events.empty()
