"""Who may open the socket, and what each refusal looks like on the wire."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.companion.talk import WAIT_S, Client, Running, running, session

if TYPE_CHECKING:
    from pathlib import Path

    from websockets.typing import Subprotocol


def refused(url: str, **how: Any) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as caught:
        connect(url, **how)
    response = caught.value.response
    error = json.loads(response.body or b"{}")["error"]
    assert error["type"] == "invalid_request_error"
    return response.status_code, error["code"]


def protocols(*names: str) -> list[Subprotocol]:
    return list(names)  # type: ignore[arg-type]


def test_a_bearer_header_opens_the_session_of_the_grant(companion: Running) -> None:
    grant = companion.grant()
    with session(grant) as client:
        created = client.seen[0]
        assert created["type"] == "session.created"
        assert created["session"]["id"] == grant["session_id"]
        assert created["session"]["object"] == "realtime.session"
        assert created["session"]["expires_at"] >= grant["session_ends_at"]
        assert client.socket.subprotocol is None


def test_subprotocols_open_it_and_the_secret_is_not_echoed(companion: Running) -> None:
    grant = companion.grant()
    offered = protocols("realtime", f"openai-insecure-api-key.{grant['auth']['value']}")
    with connect(grant["url"], subprotocols=offered) as socket:
        assert socket.subprotocol == "realtime"
        assert Client(socket).until("session.created")


@pytest.mark.parametrize("value", [None, "Bearer ek_wrong", "Bearer", "Basic x"])
def test_without_a_good_secret_the_upgrade_is_401(companion: Running, value: str | None) -> None:
    headers = {"Authorization": value} if value else {}
    assert refused(companion.grant()["url"], additional_headers=headers) == (401, "invalid_api_key")


def test_the_device_token_is_no_session_secret(companion: Running) -> None:
    headers = {"Authorization": f"Bearer {companion.token}"}
    assert refused(companion.grant()["url"], additional_headers=headers)[0] == 401


def test_a_secret_in_the_address_is_not_taken(companion: Running) -> None:
    grant = companion.grant()
    assert refused(f"{grant['url']}&client_secret={grant['auth']['value']}")[0] == 401


def test_an_expired_secret_is_401(tmp_path: Path) -> None:
    text = '[endpoints.default]\nprovider = "local"\n[providers.local]\nsecret_seconds = 0.001'
    with running(tmp_path, text) as one:
        grant = one.grant()
        one.grant()  # a round trip is longer than the secret's life
        headers = {"Authorization": f"Bearer {grant['auth']['value']}"}
        assert refused(grant["url"], additional_headers=headers) == (401, "invalid_api_key")


def test_another_model_is_refused(companion: Running) -> None:
    grant = companion.grant()
    headers = {"Authorization": f"Bearer {grant['auth']['value']}"}
    url = grant["url"].replace("pressel-local", "gpt-realtime")
    assert refused(url, additional_headers=headers) == (400, "model_not_found")


@pytest.mark.parametrize("by_header", [True, False])
def test_the_beta_shape_is_told_and_closed_with_4000(companion: Running, by_header: bool) -> None:
    grant = companion.grant()
    secret = grant["auth"]["value"]
    if by_header:
        headers = {"Authorization": f"Bearer {secret}", "OpenAI-Beta": "realtime=v1"}
        socket = connect(grant["url"], additional_headers=headers)
    else:
        names = protocols("realtime", f"openai-insecure-api-key.{secret}", "openai-beta.realtime-v1")
        socket = connect(grant["url"], subprotocols=names)
    with socket:
        assert Client(socket).error()["code"] == "beta_api_shape_disabled"
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(timeout=WAIT_S)
        assert caught.value.rcvd
        assert caught.value.rcvd.code == 4000


def test_a_newer_connection_takes_the_session_over(companion: Running) -> None:
    grant = companion.grant()
    with session(grant) as old:
        content = [{"type": "input_text", "text": "My name is Peter."}]
        old.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
        item = old.until("conversation.item.done")["item"]
        with session(grant) as new:
            with pytest.raises(ConnectionClosed) as caught:
                old.socket.recv(timeout=WAIT_S)
            assert caught.value.rcvd
            assert caught.value.rcvd.code == 1000
            new.send("conversation.item.retrieve", item_id=item["id"])
            assert new.until("conversation.item.retrieved")["item"] == item
