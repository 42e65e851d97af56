"""The chat brain against a real HTTP server that streams as chat servers do."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from companion.errors import BrainError
from companion.local.brain.chat import SPOKEN, Chat
from companion.local.items import Turn
from tests.companion.talk import http, running, session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.requests import Request

PIECES = ["", "The sea", " is blue. It", " is 3.5 km", " away!", "\nGo", " there"]
TURNS = [Turn("user", "where is the sea"), Turn("assistant", "Near."), Turn("user", "how near")]


def chunk(text: str) -> bytes:
    body = {"id": "c", "choices": [{"index": 0, "delta": {"content": text}}]}
    return f"data: {json.dumps(body)}\n\n".encode()


class Server:
    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.keys: list[str | None] = []
        self.answer: Response | None = None
        self.app = Starlette(routes=[Route("/v1/chat/completions", self.chat, methods=["POST"])])

    async def chat(self, request: Request) -> Response:
        self.asked.append(await request.json())
        self.keys.append(request.headers.get("authorization"))
        return self.answer or StreamingResponse(self.stream(), media_type="text/event-stream")

    async def stream(self) -> AsyncIterator[bytes]:
        yield b": a comment\n\n"
        for piece in PIECES:
            yield chunk(piece)
        yield b'data: {"choices":[],"usage":{"total_tokens":9}}\n\ndata: [DONE]\n\n'


def ask(url: str, key_file: str = "") -> list[str]:
    async def collect() -> list[str]:
        chat = Chat(f"{url}/v1/chat/completions", "small", key_file)
        try:
            return [sentence async for sentence in chat.reply(TURNS, "Be kind.")]
        finally:
            await chat.close()

    return asyncio.run(collect())


def test_the_stream_is_spoken_by_the_sentence(tmp_path: Path) -> None:
    server = Server()
    (tmp_path / "key").write_text("planted\n")
    with http(server.app) as url:
        assert ask(url, str(tmp_path / "key")) == ["The sea is blue.", "It is 3.5 km away!", "Go there"]
    [asked] = server.asked
    assert (asked["model"], asked["stream"]) == ("small", True)
    assert asked["messages"] == [
        {"role": "system", "content": f"Be kind.\n{SPOKEN}"},
        {"role": "user", "content": "where is the sea"},
        {"role": "assistant", "content": "Near."},
        {"role": "user", "content": "how near"},
    ]
    assert server.keys == ["Bearer planted"]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (JSONResponse({"error": "x"}, 500), "answered 500"),
        (Response("data: {\n\n"), "no chat chunk"),
        (Response('data: {"choices": 3}\n\n'), "no chat chunk"),
    ],
)
def test_a_chat_server_that_fails_is_named(answer: Response, says: str) -> None:
    server = Server()
    server.answer = answer
    with http(server.app) as url, pytest.raises(BrainError, match=says):
        ask(url)


def test_a_chat_server_that_is_away_is_named() -> None:
    with pytest.raises(BrainError, match=r"chat server at http://127\.0\.0\.1:1/.* failed: ConnectError"):
        ask("http://127.0.0.1:1")


def test_a_session_speaks_what_the_chat_server_says_and_survives_its_fall(tmp_path: Path) -> None:
    server = Server()
    with http(server.app) as url:
        text = f"""
[endpoints.default]
provider = "local"
[providers.local]
brain = "chat"
chat_url = "{url}/v1/chat/completions"
chat_model = "small"
"""
        with running(tmp_path, text) as one, session(one.grant()) as client:
            client.ask("what time is it")
            assert client.answer()[0] == "The sea is blue. It is 3.5 km away! Go there"
            assert server.asked[0]["messages"][1:] == [{"role": "user", "content": "what time is it"}]
            server.answer = Response("", 500)
            client.ask("what time is it")
            response = client.answer()[2]["response"]
            assert response["status"] == "failed"
            assert response["status_details"]["error"]["code"] == "brain_error"
            server.answer = None
            client.ask("what time is it")
            assert client.answer()[2]["response"]["status"] == "completed"
