"""The proxy passes bytes on and breaks as it is told to."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import requests

from rig.proxy import Proxy
from tests.servers import http_server, until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy before a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def echo(peer: socket.socket) -> None:
            with peer, suppress(OSError):
                while data := peer.recv(65536):
                    peer.sendall(data)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    peer, _ = listener.accept()
                    threading.Thread(target=echo, args=(peer,), daemon=True).start()

        thread = threading.Thread(target=accept)
        thread.start()
        with Proxy(f"ws://127.0.0.1:{listener.getsockname()[1]}/path") as running:
            yield running
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def dial(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), 5)


def read(peer: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count and (data := peer.recv(count - len(got))):
        got += data
    return got


def silent(peer: socket.socket, seconds: float = 0.1) -> bool:
    """Whether nothing comes: neither bytes nor an end."""
    peer.settimeout(seconds)
    with pytest.raises(TimeoutError):
        peer.recv(1)
    peer.settimeout(5)
    return True


def test_every_byte_passes_and_so_does_the_end(proxy: Proxy) -> None:
    assert proxy.url == f"ws://127.0.0.1:{proxy.port}/path"
    blob = bytes(range(256)) * 4000
    with dial(proxy) as peer:
        threading.Thread(target=peer.sendall, args=(blob,), daemon=True).start()
        assert read(peer, len(blob)) == blob
        peer.shutdown(socket.SHUT_WR)
        assert peer.recv(1) == b""
    assert (proxy.passed("up"), proxy.passed("down"), proxy.connections) == (len(blob), len(blob), 1)
    until(lambda: proxy.open == 0)


def test_a_cut_is_a_reset_and_a_close_is_an_end(proxy: Proxy) -> None:
    with dial(proxy) as peer:
        peer.sendall(b"x")
        read(peer, 1)
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
    with dial(proxy) as peer:
        peer.sendall(b"x")
        read(peer, 1)
        proxy.close()
        assert peer.recv(1) == b""


def test_a_cut_after_so_many_bytes(proxy: Proxy) -> None:
    proxy.cut_after("up", 3)
    with dial(proxy) as peer, suppress(ConnectionResetError):
        peer.sendall(b"12345")
        assert read(peer, 5) in (b"123", b"12", b"1", b"")
    assert proxy.passed("up") == 3
    with dial(proxy) as peer:  # and the next one lives
        peer.sendall(b"12345")
        assert read(peer, 5) == b"12345"


def test_a_stall_holds_bytes_back_and_loses_none(proxy: Proxy) -> None:
    with dial(proxy) as peer:
        proxy.stall("up")
        peer.sendall(b"late")
        assert silent(peer)
        proxy.resume()
        assert read(peer, 4) == b"late"


def test_a_black_hole_swallows_bytes_and_ends(proxy: Proxy) -> None:
    with dial(proxy) as peer:
        peer.sendall(b"x")
        read(peer, 1)
        proxy.black_hole()
        peer.sendall(b"gone")
        assert silent(peer)
    assert proxy.passed("up") == 1


def test_a_drip_takes_its_time(proxy: Proxy) -> None:
    proxy.drip(20, "down")
    with dial(proxy) as peer:
        peer.sendall(b"12345")
        began = time.monotonic()
        assert read(peer, 5) == b"12345"
        assert time.monotonic() - began >= 0.2


def test_a_refusal_spares_what_is_open_and_ends_with_resume(proxy: Proxy) -> None:
    with dial(proxy) as peer:
        peer.sendall(b"x")
        read(peer, 1)
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            dial(proxy)
        peer.sendall(b"y")
        assert read(peer, 1) == b"y"
        proxy.resume()
        with dial(proxy) as other:
            other.sendall(b"z")
            assert read(other, 1) == b"z"


def test_an_answer_stands_in_for_the_server() -> None:
    with http_server((200, b"{}", {})) as server, Proxy(server.url) as proxy:
        proxy.answer("502 Bad Gateway", b"<html>", Retry_After="3")
        answer = requests.post(proxy.url, json={"a": 1}, timeout=5)
        assert (answer.status_code, answer.text, answer.headers["Retry-After"]) == (502, "<html>", "3")
        assert server.asked == []
        proxy.resume()
        assert requests.post(proxy.url, json={}, timeout=5).status_code == 200
