"""Asking a provider over real HTTP: what is wrong is one line, and keys stay unseen."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from companion.errors import ConfigError, RequestError
from companion.settings import OpenAISettings
from companion.upstream import Upstream, epoch, read_key, socket_url
from tests.servers import Answer, http_server

if TYPE_CHECKING:
    from pathlib import Path


class Minted(msgspec.Struct):
    value: str


def ask(answer: Answer, path: str = "/mint") -> tuple[Any, Any]:
    """POST once; returns what the server was asked and the typed answer."""

    async def once(url: str) -> Minted:
        upstream = Upstream(url, 2.0, {"Authorization": "Bearer sk-planted"})
        try:
            return await upstream.post(path, {"a": 1}, answer=Minted, params={"resume": "a/b c"})
        finally:
            await upstream.close()

    with http_server(answer) as server:
        return server.asked, asyncio.run(once(server.url))


def test_a_request_has_body_query_and_key_and_the_answer_its_type() -> None:
    asked, minted = ask((200, b'{"value":"ek","more":1}', {}))
    path, headers, body = asked[0]
    assert path == "/mint?resume=a%2Fb+c"
    assert headers["Authorization"] == "Bearer sk-planted"
    assert json.loads(body) == {"a": 1}
    assert minted == Minted("ek")


@pytest.mark.parametrize(
    ("answer", "status", "line"),
    [
        ((401, b'{"error":{"message":"Incorrect API key\\nprovided."}}', {}), 401, "401: Incorrect API key"),
        ((400, b'{"error":"no such voice","code":"V"}', {}), 400, "400: no such voice"),
        ((500, b'{"type":"error","message":"upstream"}', {}), 500, "500: upstream"),
        ((502, b"<html>", {}), 502, "502: Bad Gateway"),
        ((302, b"", {}), 502, "302"),
        ((200, b'{"error":{"message":"quota"}}', {}), 502, "/mint makes no sense: quota"),
        ((200, b'{"value":1}', {}), 502, "makes no sense: Expected `str`, got `int`"),
        ((200, b"<html>", {"Content-Type": "text/html"}), 502, "/mint with text/html where JSON belongs"),
        ((200, b'{"value":' + b"[" * 100_000, {}), 502, "mint"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_status(answer: Answer, status: int, line: str) -> None:
    with pytest.raises(RequestError) as caught:
        ask(answer)
    assert caught.value.status == status
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "sk-planted" not in str(caught.value)


def test_a_service_that_is_busy_says_when_to_come_again() -> None:
    with pytest.raises(RequestError) as caught:
        ask((429, b"{}", {"Retry-After": "7"}))
    assert caught.value.retry_after_s == 7


@pytest.mark.parametrize("wait", ["²", "9" * 400, "-1", "inf", "Fri, 31 Dec 1999 23:59:59 GMT"])
def test_a_time_that_is_none_or_absurd_is_not_passed_on(wait: str) -> None:
    with pytest.raises(RequestError) as caught:
        ask((503, b"{}", {"Retry-After": wait}))
    assert caught.value.retry_after_s is None


@pytest.mark.parametrize(
    "answer",
    [
        (401, b'{"error":{"message":"bad header Bearer sk-planted"}}', {}),
        (401, b'{"error":"sk-planted?"}', {}),
        (401, b'{"message":"' + b"x" * 292 + b'sk-planted"}', {}),
        (200, b'{"error":{"message":"bad header Bearer sk-planted"}}', {}),
        (200, b"<html>", {"Content-Type": "text/sk-planted"}),
    ],
)
def test_a_service_that_echoes_the_key_does_not_put_it_into_the_line(answer: Answer) -> None:
    with pytest.raises(RequestError) as caught:
        ask(answer)
    assert "***" in str(caught.value)
    assert "sk-pl" not in str(caught.value)


@pytest.mark.parametrize("code", ["disabled", 5, None, ["x"]])
def test_the_service_s_own_code_leads_to_the_mend(code: Any) -> None:
    async def once(url: str) -> None:
        upstream = Upstream(url, 2.0, mends={"disabled": "; do this"})
        try:
            await upstream.get("/x", answer=Minted)
        finally:
            await upstream.close()

    body = json.dumps({"error": {"code": code, "message": None}, "message": "no"}).encode()
    with http_server((400, body, {})) as server, pytest.raises(RequestError) as caught:
        asyncio.run(once(server.url))
    assert str(caught.value) == f"the provider answered 400: no{'; do this' if code == 'disabled' else ''}"


@pytest.mark.parametrize(("at", "whole"), [(None, None), (0, None), (-1, None), (0.5, None), (9.5, 9)])
def test_a_time_in_whole_seconds(at: float | None, whole: int | None) -> None:
    assert epoch(at) == whole


def test_a_service_that_is_down_is_named() -> None:
    async def once() -> None:
        await Upstream("http://127.0.0.1:1", 2.0).get("/x", answer=Minted)

    with pytest.raises(RequestError, match=r"127\.0\.0\.1:1 cannot be reached"):
        asyncio.run(once())


def test_the_key_is_read_from_where_the_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", " sk-1 \n")
    assert read_key("openai", OpenAISettings(key_env="A_KEY")) == "sk-1"
    (tmp_path / "key").write_text("sk-2\n")
    assert read_key("openai", OpenAISettings(key_file=str(tmp_path / "key"))) == "sk-2"
    with pytest.raises(ConfigError, match=r"providers\.openai: cannot read key_file"):
        read_key("openai", OpenAISettings(key_file=str(tmp_path / "none")))
    monkeypatch.setenv("A_KEY", "sk-plantéd-planted")
    with pytest.raises(ConfigError, match="A_KEY holds no usable key") as caught:
        read_key("openai", OpenAISettings(key_env="A_KEY"))
    assert "planted" not in str(caught.value)


def test_a_socket_s_url_follows_the_scheme() -> None:
    assert socket_url("https://x/", "/v1") == "wss://x/v1"
    assert socket_url("http://x:1", "/v1") == "ws://x:1/v1"
