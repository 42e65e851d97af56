"""The link against a real WebSocket server."""

from __future__ import annotations

import contextlib
import inspect
import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from device.core.grant import Auth, Grant
from device.errors import LinkError
from device.net.cancel import CancelScope
from device.net.link import Link
from rig.proxy import Proxy
from tests.servers import until, ws_server

if TYPE_CHECKING:
    from websockets.http11 import Request, Response
    from websockets.sync.server import ServerConnection


def echo(peer: ServerConnection) -> None:
    for message in peer:
        peer.send(message)


def test_text_and_binary_come_back_and_order_is_kept() -> None:
    with ws_server(echo) as url:
        link = Link(Grant("openai", url))
        sent: list[str | bytes] = [f"frame {n}" for n in range(200)] + [b"\0\1"]
        for frame in sent:
            link.send(frame)
        assert [link.receive() for _ in sent] == sent
        link.close()


def test_a_close_is_shaken_hands_on_and_what_waits_is_sent_first() -> None:
    got: list[str | bytes] = []
    codes: list[int | None] = []

    def collect(peer: ServerConnection) -> None:
        got.extend(peer)
        codes.append(peer.close_code)

    with ws_server(collect) as url:
        link = Link(Grant("openai", url))
        for n in range(50):
            link.send(str(n))
        link.close()
        link.close()
        until(lambda: codes)
    assert got == [str(n) for n in range(50)]
    assert codes == [1000]


def test_the_secret_travels_as_the_grant_says() -> None:
    seen: list[tuple[str | None, list[str], str]] = []

    def note(peer: ServerConnection) -> None:
        request = peer.request
        assert request
        offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
        seen.append((request.headers.get("Authorization"), [*filter(None, offered)], request.path))

    def has(number: int) -> bool:
        return len(seen) == number

    first = lambda _peer, offered: offered[0] if offered else None  # noqa: E731 # what a server selects
    with ws_server(note, select_subprotocol=first) as url:
        one = Grant("openai", f"{url}/v1?model=m")
        grants = (
            msgspec.structs.replace(one, auth=Auth("bearer", "ek")),
            msgspec.structs.replace(one, auth=Auth("subprotocol", "key.ek"), subprotocols=("realtime",)),
            msgspec.structs.replace(one, auth=Auth("subprotocol", "ek")),
            msgspec.structs.replace(one, auth=Auth("query", "token=ek")),
            one,
        )
        for number, grant in enumerate(grants, 1):
            Link(grant).close()
            until(partial(has, number))
    assert seen == [
        ("Bearer ek", [], "/v1?model=m"),
        (None, ["realtime", "key.ek"], "/v1?model=m"),
        (None, ["ek"], "/v1?model=m"),
        (None, [], "/v1?model=m&token=ek"),
        (None, [], "/v1?model=m"),
    ]


@pytest.mark.parametrize(("answer", "taken"), [(None, True), ("pressel", True), ("other", False)])
def test_a_server_need_not_choose_a_subprotocol_but_no_other_one(
    answer: str | None, taken: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="websocket")

    def choose(_peer: ServerConnection, _request: Request, response: Response) -> None:
        if answer:
            response.headers["Sec-WebSocket-Protocol"] = answer

    with ws_server(echo, process_response=choose) as url:
        grant = Grant("speko", url, Auth("subprotocol", "planted-token"), subprotocols=("pressel",))
        if taken:
            Link(grant).close()
        else:
            with pytest.raises(LinkError, match="a subprotocol that was not offered"):
                Link(grant)
    told = [record.getMessage() for record in caplog.records if record.name == "websocket"]
    assert not any("planted-token" in line for line in told)


def test_a_url_that_makes_no_sense_is_one_line() -> None:
    with pytest.raises(LinkError, match="the grant's URL makes no sense") as caught:
        Link(Grant("openai", "wss://[bad"))
    assert caught.value.fatal


def test_a_password_in_the_url_is_in_no_line() -> None:
    with pytest.raises(LinkError, match="127") as caught:
        Link(Grant("openai", "ws://ada:s3cret@127.0.0.1:1/x"))
    assert "s3cret" not in str(caught.value)


def test_the_secret_is_for_the_host_that_was_granted() -> None:
    asked: list[str] = []

    def elsewhere(peer: ServerConnection, _request: Request) -> Response:
        answer = peer.respond(302, "")
        answer.headers["Location"] = url + "/stolen"
        return answer

    def note(peer: ServerConnection) -> None:
        assert peer.request
        asked.append(peer.request.path)

    with ws_server(note) as url, ws_server(note, process_request=elsewhere) as first:
        with pytest.raises(LinkError, match=r"it redirects to ws://.*/stolen; .*captive portal"):
            Link(Grant("openai", first, Auth("bearer", "ek_planted")))
        assert asked == []


def test_public_headers_are_sent() -> None:
    seen: list[str | None] = []

    def note(peer: ServerConnection) -> None:
        assert peer.request
        seen.append(peer.request.headers.get("OpenAI-Beta"))

    with ws_server(note) as url:
        Link(Grant("openai-beta", url, headers={"OpenAI-Beta": "realtime=v1"})).close()
        until(lambda: seen)
    assert seen == ["realtime=v1"]


CLOSES = {  # code: (fatal, not to be dialled sooner)
    1000: (False, None),
    1001: (False, None),
    1008: (False, None),
    1011: (False, None),
    1012: (False, 1.0),
    1013: (False, 1.0),
    3000: (True, None),
    4000: (True, None),
    4099: (True, None),
}


@pytest.mark.parametrize("code", CLOSES)
def test_a_server_s_close_is_told_with_its_code(code: int) -> None:
    with ws_server(lambda peer: peer.close(code, "so\x1bit is")) as url:
        link = Link(Grant("openai", url))
        with pytest.raises(LinkError, match=f"closed the session with {code} so it is") as caught:
            link.receive()
        assert (caught.value.fatal, caught.value.retry_after_s) == CLOSES[code]
        assert caught.value.code == code
        link.close()


@pytest.mark.parametrize(
    ("payload", "line"),
    [(b"", "closed the session with 1005"), (b"\x03\xee", "broke: Invalid close opcode 1006")],
)
def test_a_close_without_a_code_or_with_one_that_may_not_be_sent_is_told(payload: bytes, line: str) -> None:
    def close(peer: ServerConnection) -> None:
        peer.socket.sendall(Frame(Opcode.CLOSE, payload).serialize(mask=False))
        with contextlib.suppress(ConnectionClosed):
            peer.recv()

    with ws_server(close) as url:
        link = Link(Grant("openai", url))
        with pytest.raises(LinkError, match=line) as caught:
            link.receive()
        assert not caught.value.fatal
        link.close()


def test_a_cut_is_told() -> None:
    with ws_server(lambda peer: peer.socket.shutdown(socket.SHUT_RDWR)) as url:
        link = Link(Grant("openai", url))
        with pytest.raises(LinkError, match="broke"):
            link.receive()
        link.close()


def test_a_refusal_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(LinkError, match="no session with"):
        Link(Grant("openai", f"ws://127.0.0.1:{port}"))


REFUSALS = {  # HTTP status: (words, fatal, seconds)
    "404 Not Found": ("HTTP 404; .*captive portal.* Else check the realtime URL and the model", False, None),
    "400 Bad Request": ("HTTP 400; .*captive portal.* Else check the model and the session's", False, None),
    "401 Unauthorized": ("HTTP 401", False, None),
    "429 Too Many Requests": ("HTTP 429", False, 3.0),
    "502 Bad Gateway": ("HTTP 502", False, 3.0),
    "200 OK": ("HTTP 200; a page where a session belongs; .*captive portal", False, 3.0),
    "511 Network Authentication Required": ("HTTP 511; .*captive portal", False, 3.0),
}


@pytest.mark.parametrize("status", REFUSALS)
def test_an_upgrade_that_is_refused_is_told_with_its_status(status: str) -> None:
    words, fatal, after_s = REFUSALS[status]
    with Proxy("ws://127.0.0.1:1") as proxy:
        headers = {"Retry_After": "3" if after_s else "soon", "Content_Type": "text/html"}
        proxy.answer(status, b"<html>", **headers)
        with pytest.raises(LinkError, match=words) as caught:
            Link(Grant("openai", proxy.url))
    assert (caught.value.fatal, caught.value.retry_after_s) == (fatal, after_s)


@pytest.mark.parametrize(
    ("body", "fatal"), [(b'{"error":{"message":"no such model"}}', True), (b"not found", False), (b"", False)]
)
@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found"])
def test_an_upgrade_that_the_server_itself_refuses_is_refused_for_good(
    status: str, body: bytes, *, fatal: bool
) -> None:
    with Proxy("ws://127.0.0.1:1") as proxy:
        proxy.answer(status, body, Content_Type="application/json")
        with pytest.raises(LinkError, match=f"HTTP {status[:3]}; check the .* at the backend") as caught:
            Link(Grant("openai", proxy.url))
    assert caught.value.fatal is fatal


def test_a_date_to_come_back_at_counts_from_the_answer_s_own_date() -> None:
    with Proxy("ws://127.0.0.1:1") as proxy:
        dates = {"Date": "Wed, 21 Oct 2026 07:28:00 GMT", "Retry_After": "Wed, 21 Oct 2026 07:30:00 GMT"}
        proxy.answer("503 Service Unavailable", b"", **dates)
        with pytest.raises(LinkError, match="HTTP 503") as caught:
            Link(Grant("openai", proxy.url))
    assert caught.value.retry_after_s == 120.0


def test_a_handshake_that_waits_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as full:
        url = f"ws://127.0.0.1:{full.getsockname()[1]}"
        with pytest.raises(LinkError, match=r"within 0\.2 s; all its places may be taken") as caught:
            Link(Grant("unmute", url), open_limit_s=0.2)
    assert not caught.value.fatal


def test_an_oversized_message_is_dropped_and_the_link_lives() -> None:
    def big(peer: ServerConnection) -> None:
        peer.send("x" * 2000)
        peer.send("small")
        peer.recv()

    with ws_server(big) as url:
        link = Link(Grant("openai", url), frame_limit=1000)
        assert link.receive() is None
        assert link.receive() == "small"
        link.close()


def test_text_that_is_no_text_is_given_as_binary() -> None:
    def bad(peer: ServerConnection) -> None:
        peer.socket.sendall(Frame(Opcode.TEXT, b"\xff\xfe").serialize(mask=False))
        peer.recv()

    with ws_server(bad) as url:
        link = Link(Grant("openai", url))
        assert link.receive() == b"\xff\xfe"
        link.close()


def test_a_handshake_that_drips_is_given_up() -> None:
    with ws_server(echo) as url, Proxy(url) as proxy:
        proxy.drip(50, "down")
        began = time.monotonic()
        with pytest.raises(LinkError, match=r"within 0\.5 s"):
            Link(Grant("unmute", proxy.url), open_limit_s=0.5)
        assert time.monotonic() - began < 5
        until(lambda: proxy.open == 0)  # what was left behind has been closed


@pytest.mark.parametrize(("talks", "limit"), [(True, "0.6"), (False, "1.5")])
def test_a_half_open_link_is_gone_soon_while_somebody_talks_and_later_at_rest(
    limit: str, *, talks: bool
) -> None:
    with ws_server(echo) as url, Proxy(url) as proxy:
        link = Link(Grant("openai", proxy.url), talk_silence_s=0.6, idle_silence_s=1.5)
        link.talking(talks)
        proxy.black_hole()
        began = time.monotonic()
        with pytest.raises(LinkError, match=f"nothing heard for {limit} s"):
            link.receive()
        assert time.monotonic() - began < 5
        link.close(0)


def test_the_device_s_own_limits_are_five_seconds_and_thirty() -> None:
    options = inspect.signature(Link).parameters
    tick_s = 0.25
    assert options["talk_silence_s"].default + tick_s <= 5.0
    assert options["idle_silence_s"].default + tick_s <= 30.0


def test_the_opening_has_the_attempt_s_limit_up_to_fifteen_seconds() -> None:
    assert inspect.signature(Link).parameters["open_limit_s"].default == 15.0
    with socket.create_server(("127.0.0.1", 0)) as full, CancelScope(0.2):
        url = f"ws://127.0.0.1:{full.getsockname()[1]}"
        with pytest.raises(LinkError, match=r"within 0\.2 s"):
            Link(Grant("openai", url))


def test_a_talk_that_begins_asks_for_a_sign_of_life_at_once() -> None:
    with ws_server(echo) as url, Proxy(url) as proxy:
        link = Link(Grant("openai", proxy.url), talk_silence_s=0.6)
        before = proxy.passed("up")
        link.talking(on=True)
        until(lambda: proxy.passed("up") > before)
        link.close(0)


def test_a_stall_that_ends_in_time_loses_nothing() -> None:
    with ws_server(echo) as url, Proxy(url) as proxy:
        link = Link(Grant("openai", proxy.url), talk_silence_s=3.0)
        link.talking(on=True)
        proxy.stall()
        timer = threading.Timer(1.0, proxy.resume)
        timer.start()
        for n in range(20):
            link.send(str(n))
        assert [link.receive() for _ in range(20)] == [str(n) for n in range(20)]
        timer.join()
        link.close()


def test_pings_keep_a_quiet_link_alive() -> None:
    with ws_server(echo) as url:
        link = Link(Grant("openai", url), talk_silence_s=0.9)
        link.talking(on=True)
        timer = threading.Timer(2.0, link.send, ("still here",))
        timer.start()
        assert link.receive() == "still here"
        timer.join()
        link.close()


def test_a_message_that_drips_is_given_up() -> None:
    with ws_server(echo) as url, Proxy(url) as proxy:
        link = Link(Grant("openai", proxy.url), talk_silence_s=0.5, idle_silence_s=1.0)
        proxy.drip(20, "down")
        link.send("x" * 10_000)
        began = time.monotonic()
        with pytest.raises(LinkError, match="a message dripped for too long"):
            link.receive()
        assert time.monotonic() - began < 5
        link.close(0)


def test_a_session_that_is_not_opened_in_time_is_given_up() -> None:
    with ws_server(lambda peer: peer.recv()) as url:  # type: ignore[arg-type] # the message is no matter
        link = Link(Grant("openai", url), idle_silence_s=0.1)
        with pytest.raises(LinkError, match="not opened in time"):
            link.receive(time.monotonic() + 0.2)
        link.close()


@pytest.mark.parametrize("talks", [True, False])
def test_neither_talk_nor_pongs_put_the_deadline_off(talks: bool) -> None:
    stop = threading.Event()

    def server(peer: ServerConnection) -> None:  # its library answers the pings
        with contextlib.suppress(ConnectionClosed):
            while not stop.wait(0.01):
                if talks:
                    peer.send("not yet")

    with ws_server(server) as url:
        link = Link(Grant("openai", url), idle_silence_s=0.3)
        deadline = time.monotonic() + 0.4
        with pytest.raises(LinkError, match="not opened in time"):
            [link.receive(deadline) for _ in range(200)]
        assert time.monotonic() - deadline < 0.2
        stop.set()
        link.close()


def test_a_full_outbox_is_a_lost_link() -> None:
    stop = threading.Event()

    def deaf(_peer: ServerConnection) -> None:
        stop.wait(10)

    with ws_server(deaf) as url:
        link = Link(Grant("openai", url), outbox_bytes=100_000)
        for _ in range(500):
            link.send("x" * 60_000)
        with pytest.raises(LinkError, match="stalled"):
            link.receive()
        stop.set()
        link.close()
