"""Failures below HTTP and WebSocket, made by real sockets and real certificates, each as one line."""

from __future__ import annotations

import errno
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from device.core.grant import Grant, GrantRequest
from device.errors import BackendError, LinkError
from device.net.backend import CompanionBackend
from device.net.failures import clock_line, describe, retry_after, untimely
from device.net.link import Link
from tests.certificates import Authority

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path

REQUEST = GrantRequest("default", "push_to_talk", "client", None, 0)


@contextmanager
def tls_server(context: ssl.SSLContext) -> Iterator[int]:
    """Shake hands with whoever comes; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    peer, _ = listener.accept()
                    with suppress(OSError), context.wrap_socket(peer, server_side=True) as safe:
                        safe.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


CERTIFICATES = {
    "expired": ("127.0.0.1", (-9, -1), True, "its certificate has expired", True),
    "not yet valid": (
        "127.0.0.1",
        (1, 9),
        True,
        "its certificate is not valid yet; is the clock right",
        True,
    ),
    "wrong host": ("other.example", (-1, 1), True, r"its certificate is for another (name|address)", False),
    "unknown CA": ("127.0.0.1", (-1, 1), False, "signed by a CA that is not known here", False),
}


@pytest.mark.parametrize(
    ("host", "days", "trusted", "line", "clock"), CERTIFICATES.values(), ids=CERTIFICATES
)
def test_a_certificate_that_is_not_right_is_told_and_never_taken(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    days: tuple[int, int],
    line: str,
    *,
    trusted: bool,
    clock: bool,
) -> None:
    authority = Authority(tmp_path)
    (tmp_path / "other").mkdir()
    for name, path in (authority if trusted else Authority(tmp_path / "other")).env.items():
        monkeypatch.setenv(name, path)
    with tls_server(authority.server(host, days)) as port:
        with pytest.raises(LinkError, match=f"TLS failed: .*{line}") as of_link:
            Link(Grant("openai", f"wss://127.0.0.1:{port}"))
        with pytest.raises(BackendError, match=f"TLS failed: .*{line}") as of_backend:
            CompanionBackend(f"https://127.0.0.1:{port}", "planted-token").mint(REQUEST, 1000.0)
    for error in (of_link.value, of_backend.value):
        assert error.untimely is clock
        assert not error.fatal
        assert f"127.0.0.1:{port}" in str(error)
        assert "planted-token" not in str(error)


def test_a_server_without_tls_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for _ in range(2):
                with listener.accept()[0] as peer:
                    peer.recv(1000)
                    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        port = listener.getsockname()[1]
        with pytest.raises(LinkError, match="does it speak TLS on this port"):
            Link(Grant("openai", f"wss://127.0.0.1:{port}"))
        with pytest.raises(BackendError, match="does it speak TLS on this port"):
            CompanionBackend(f"https://127.0.0.1:{port}", "t").mint(REQUEST, 1000.0)
        thread.join()


def test_a_name_that_dns_does_not_know_is_told_with_the_name() -> None:
    with pytest.raises(LinkError, match=r"nowhere\.invalid:1: DNS does not (know|answer)"):
        Link(Grant("openai", "ws://nowhere.invalid:1"))
    with pytest.raises(BackendError, match=r"nowhere\.invalid:1 .*: DNS does not (know|answer)"):
        CompanionBackend("http://nowhere.invalid:1", "t").mint(REQUEST, 1000.0)


def test_a_port_where_nothing_listens_and_a_missing_route_are_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(LinkError, match="connection refused; nothing listens there now"):
        Link(Grant("openai", f"ws://127.0.0.1:{port}"))
    with pytest.raises(BackendError, match="connection refused; nothing listens there now"):
        CompanionBackend(f"http://127.0.0.1:{port}", "t").mint(REQUEST, 1000.0)
    assert describe(socket.gaierror(socket.EAI_AGAIN, "later")).startswith("DNS does not answer: later")
    assert describe(OSError(errno.ENETUNREACH, "x")) == "no route to it; is the network up?"


def test_other_errors_are_their_own_words_on_one_line() -> None:
    assert describe(OSError("odd\nthing")) == "odd thing"
    assert describe(ValueError()) == "ValueError"
    assert not untimely(ValueError())


AT = "Sun, 06 Nov 1994 08:49:37 GMT"  # RFC 9110's own example


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": " 120 "}, 120.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon", "date": AT}, None),
        ({"retry-after": AT}, None),
        ({"retry-after": AT, "date": "Sun, 06 Nov 1994 08:48:37 GMT"}, 60.0),
        ({"retry-after": AT, "date": "Sun, 06 Nov 1994 08:59:37 GMT"}, 0.0),
        ({"retry-after": "Sun, 06 Nov 99999999 08:49:37 GMT", "date": AT}, None),
    ],
)
def test_a_wait_is_read_in_seconds_or_from_two_dates_of_one_answer(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers) == seconds


@pytest.mark.parametrize(
    ("theirs", "says"),
    [
        (1_500, "500 s behind the companion's"),
        (400.4, "600 s ahead of the companion's"),
        ("1500", "is the clock right"),
        (None, "is the clock right"),
        (10**400, "is the clock right"),
        (-5, "is the clock right"),
    ],
)
def test_two_clocks_are_told_by_how_far_they_are_apart(theirs: Any, says: str) -> None:
    assert says in clock_line(theirs, 1000.0)
