"""The link against a real WebSocket server."""

from __future__ import annotations

import base64
import contextlib
import hashlib
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
from device.net.link import Link
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


@pytest.mark.parametrize(
    ("code", "fatal"), [(1000, False), (1001, False), (1011, False), (3000, True), (4000, True), (4099, True)]
)
def test_a_server_s_close_is_told_with_its_code(code: int, *, fatal: bool) -> None:
    with ws_server(lambda peer: peer.close(code, "so\x1bit is")) as url:
        link = Link(Grant("openai", url))
        with pytest.raises(LinkError, match=f"closed the session with {code} so it is") as caught:
            link.receive()
        assert caught.value.fatal is fatal
        assert caught.value.code == code
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
    with ws_server(echo, process_request=lambda peer, _request: peer.respond(404, "none")) as url:
        with pytest.raises(LinkError, match="HTTP 404") as caught:
            Link(Grant("openai", url))
        assert caught.value.fatal


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


def test_a_peer_that_answers_no_ping_is_gone() -> None:
    """A listener that shakes hands by hand and then never reads or writes: a half-open link."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def mute() -> None:
            peer, _ = listener.accept()
            request = peer.recv(4096).decode()
            key = request.split("Sec-WebSocket-Key: ")[1].split("\r\n")[0]
            accept = (key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()
            token = base64.b64encode(hashlib.sha1(accept).digest())  # noqa: S324 # RFC 6455 asks for it
            lines = ("HTTP/1.1 101 ok", "Upgrade: websocket", "Connection: Upgrade")
            peer.sendall(
                ("\r\n".join(lines) + f"\r\nSec-WebSocket-Accept: {token.decode()}\r\n\r\n").encode()
            )
            done.wait(10)
            peer.close()

        done = threading.Event()
        thread = threading.Thread(target=mute)
        thread.start()
        link = Link(Grant("openai", f"ws://127.0.0.1:{listener.getsockname()[1]}"), idle_silence_s=0.2)
        began = time.monotonic()
        with pytest.raises(LinkError, match="nothing heard"):
            link.receive()
        assert time.monotonic() - began < 5
        done.set()
        thread.join()
        link.close()


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
