"""Real servers on loopback for the tests, told in advance what to do."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from websockets.sync.server import ServerConnection, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Answer = tuple[int, bytes, dict[str, str]]


class HttpServer:
    """Answers GET and POST with the next of `answers` (the last one for ever) and keeps what was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.url = ""


@contextmanager
def http_server(*answers: Answer) -> Iterator[HttpServer]:
    """Serve `answers` (status, body, headers) on a free port."""
    facts = HttpServer()
    facts.answers = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            facts.asked.append((self.path, dict(self.headers), body))
            status, text, headers = facts.answers.pop(0) if len(facts.answers) > 1 else facts.answers[0]
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST  # noqa: N815 - the name that the library calls

        def log_message(self, *args: Any) -> None:
            pass

    with serving(Handler) as facts.url:
        yield facts


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve HTTP on a free port; gives the URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def ws_server(handler: Callable[[ServerConnection], None], **options: Any) -> Iterator[str]:
    """Serve WebSockets on a free port; gives the URL."""
    server = serve(handler, "127.0.0.1", 0, **options)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
    finally:
        server.shutdown()
        thread.join()


def until(fact: Callable[[], Any], seconds: float = 5.0) -> Any:
    """Wait for a fact, with a deadline; returns it."""
    deadline = time.monotonic() + seconds
    tick = threading.Event()
    while not (found := fact()):
        assert time.monotonic() < deadline, "it did not come true in time"
        tick.wait(0.005)
    return found
