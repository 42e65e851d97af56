"""The provider of the beta shape against a real HTTP server that answers as such a service does."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.companion.talk import http, running

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

KEY = "sk-planted-secret"


class Upstream:
    """Answers each mint with `answer` and keeps what was asked."""

    def __init__(self, answer: Any, status: int = 200) -> None:
        self.answer = answer
        self.status = status
        self.asked: list[tuple[dict[str, Any], dict[str, str]]] = []

    async def mint(self, request: Request) -> JSONResponse:
        self.asked.append((await request.json(), dict(request.headers)))
        return JSONResponse(self.answer, self.status)


def minted(folder: Path, upstream: Upstream, endpoint: str = "", **wish: Any) -> Any:
    (folder / "key").write_text(f"{KEY}\n")
    routes = [Route("/v1/realtime/sessions", upstream.mint, methods=["POST"])]
    with http(Starlette(routes=routes)) as url:
        text = f'[endpoints.default]\nprovider = "openai-beta"\n{endpoint}\n[providers.openai-beta]\n'
        with running(folder, f'{text}base_url = "{url}"\nkey_file = "key"') as one:
            return one.post(wish)


def test_a_grant_of_the_beta_shape(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    upstream = Upstream({"id": "sess_1", "client_secret": {"value": "ek_beta", "expires_at": 1_756_310_470}})
    endpoint = '[endpoints.default.session]\nvoice = "ash"\ntemperature = 0.7\ntracing = "auto"'
    answer = minted(tmp_path, upstream, endpoint, turns=1, codec="g711_alaw")
    grant = answer.json()
    [(asked, headers)] = upstream.asked
    assert (headers["authorization"], headers["openai-beta"]) == (f"Bearer {KEY}", "realtime=v1")
    assert asked == {
        **grant["session"],
        "model": "gpt-4o-realtime-preview",
        "tracing": "auto",
        "client_secret": {"expires_after": {"anchor": "created_at", "seconds": 60}},
    }
    assert (asked["voice"], asked["temperature"], asked["input_audio_format"]) == ("ash", 0.7, "g711_alaw")
    assert (grant["dialect"], grant["provider"]) == ("openai-beta", "openai-beta")
    assert (grant["session_id"], grant["resume"]) == ("sess_1", "seeded")
    assert grant["auth"] == {"kind": "bearer", "value": "ek_beta"}
    assert grant["headers"] == {"OpenAI-Beta": "realtime=v1"}
    assert grant["input"] == grant["output"] == {"encoding": "g711_alaw", "rate": 8000}
    assert grant["expires_at"] == 1_756_310_470
    assert grant["url"].endswith("/v1/realtime?model=gpt-4o-realtime-preview")
    assert KEY not in answer.text + caplog.text
    assert "ek_beta" not in caplog.text


def test_a_200_without_a_secret_is_told_in_the_service_s_own_words(tmp_path: Path) -> None:
    got = minted(tmp_path, Upstream({"error": {"message": "no such\nmodel"}}))
    assert got.status_code == 502
    assert "no such model" in got.json()["error"]["message"]
    got = minted(tmp_path, Upstream({"id": "sess_1"}))
    assert (got.status_code, got.json()["error"]["code"]) == (502, "provider_answer")
    got = minted(tmp_path, Upstream({"id": "sess_1", "client_secret": {"value": "", "expires_at": 9}}))
    assert (got.status_code, got.json()["error"]["code"]) == (502, "provider_answer")


@pytest.mark.parametrize(
    ("given", "at"),
    [({}, None), ({"expires_at": None}, None), ({"expires_at": 0}, None), ({"expires_at": 1.5}, 1)],
)
def test_services_that_do_not_tell_when_the_secret_ends(
    tmp_path: Path, given: dict[str, Any], at: int | None
) -> None:
    answer = {"id": None, "expires_at": 0.0, "client_secret": {"value": "ek_beta", **given}}
    grant = minted(tmp_path, Upstream(answer)).json()
    assert (grant["session_id"], grant["expires_at"], grant["session_ends_at"]) == ("", at, None)
    assert grant["auth"]["value"] == "ek_beta"


def test_where_the_beta_shape_is_switched_off_the_way_out_is_named(tmp_path: Path) -> None:
    error = {"code": "beta_api_shape_disabled", "message": "The Realtime Beta API is no longer supported."}
    got = minted(tmp_path, Upstream({"error": error}, 400))
    assert got.status_code == 400
    assert got.json()["error"]["message"].endswith(
        'no longer supported.; use the GA profile: provider = "openai"'
    )
