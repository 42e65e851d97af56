"""The HTTP face: who gets a grant, what it holds, and how each refusal reads."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.companion.talk import Running, running

if TYPE_CHECKING:
    from pathlib import Path


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    assert set(error) == {"code", "message"}
    assert "\n" not in error["message"]
    return answer.status_code, error["code"], error["message"]


def test_health_needs_no_token_and_tells_no_secret(companion: Running) -> None:
    answer = httpx.get(f"{companion.url}/v1/health")
    assert answer.status_code == 200
    body = answer.json()
    assert body["version"]
    assert body == {"ok": True, "version": body["version"], "endpoints": {"default": "local"}}


def test_a_grant_says_all_that_a_session_needs(companion: Running) -> None:
    grant = companion.grant(
        endpoint="default", mode="push_to_talk", turn_end="client", resume_session=None, turns=0
    )
    assert set(grant) == {
        *("dialect", "provider", "session_id", "resume", "url", "auth", "expires_at", "session_ends_at"),
        *("input", "output", "session", "history", "subprotocols", "headers", "notice"),
    }
    assert (grant["dialect"], grant["provider"], grant["resume"]) == ("openai", "local", "fresh")
    assert grant["session_id"].startswith("sess_")
    assert grant["url"] == f"{companion.url.replace('http', 'ws')}/v1/realtime?model=pressel-local"
    assert grant["auth"]["kind"] == "bearer"
    assert grant["auth"]["value"] not in grant["url"]
    assert time.time() < grant["expires_at"] < grant["session_ends_at"]
    assert grant["input"] == grant["output"] == {"encoding": "pcm16", "rate": 24000}
    assert grant["history"] == []


@pytest.mark.parametrize(
    ("wish", "kind"),
    [
        ({"mode": "push_to_talk", "turn_end": "client"}, None),
        ({"mode": "push_to_talk", "turn_end": "server"}, None),
        ({"mode": "open_mic", "turn_end": "client"}, None),
        ({"mode": "open_mic", "turn_end": "server"}, "server_vad"),
    ],
)
def test_who_ends_a_turn_is_in_the_session(
    companion: Running, wish: dict[str, str], kind: str | None
) -> None:
    detection = companion.grant(**wish)["session"]["audio"]["input"]["turn_detection"]
    assert (detection and detection["type"]) == kind


def test_turns_make_a_seeded_session(companion: Running) -> None:
    assert companion.grant(turns=3)["resume"] == "seeded"
    assert companion.grant(turns=3, resume_session="sess_0123456789abcdef")["resume"] == "seeded"
    assert companion.grant(resume_session="../../etc/passwd")["resume"] == "fresh"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", "Basic {token}", "Bearer {token}x"])
def test_an_unknown_token_is_401(companion: Running, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.format(token=companion.token)}
    answer = httpx.post(f"{companion.url}/v1/sessions", json={}, headers=headers)
    status, code, message = refusal(answer)
    assert (status, code) == (401, "unauthorized")
    assert "pressel-companion token new" in message
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "Expected `object`"),
        (b'{"mode":"shout"}', '"mode"'),
        (b'{"turns":-1}', '"turns"'),
        (b'{"turns":"3"}', '"turns"'),
        (b'{"resume":"x"}', "unknown field `resume`"),
        (b'{"endpoint":"a b\\nc"}', '"endpoint"'),
        (b'{"endpoint":"' + b"x" * 20_000 + b'"}', "larger than"),
    ],
)
def test_a_bad_request_is_400_and_names_the_key(companion: Running, body: bytes, says: str) -> None:
    headers = {"Authorization": f"Bearer {companion.token}"}
    status, _, message = refusal(httpx.post(f"{companion.url}/v1/sessions", content=body, headers=headers))
    assert status == 400
    assert says in message


def test_an_unknown_endpoint_is_404_with_the_nearest_name(companion: Running) -> None:
    status, code, message = refusal(companion.post({"endpoint": "defualt"}))
    assert (status, code) == (404, "unknown_endpoint")
    assert 'Did you mean "default"?' in message


def test_other_methods_and_paths_are_refused(companion: Running) -> None:
    assert httpx.get(f"{companion.url}/v1/sessions").status_code == 405
    assert httpx.get(f"{companion.url}/v1/tokens").status_code == 404


def test_limits_of_devices(tmp_path: Path) -> None:
    endpoints = """
[endpoints.default]
provider = "local"
[endpoints.private]
provider = "local"
devices = ["hall"]
"""
    with running(tmp_path, endpoints, "mints_per_minute = 2") as one:
        status, code, message = refusal(one.post({"endpoint": "private"}))
        assert (status, code) == (403, "not_allowed")
        assert '"kitchen"' in message
        assert one.post({}).status_code == 200
        late = one.post({})
        assert refusal(late)[:2] == (429, "too_many_requests")
        assert 20 <= int(late.headers["Retry-After"]) <= 31


def test_a_token_file_that_breaks_is_503_and_mends_itself(tmp_path: Path) -> None:
    with running(tmp_path) as one:
        path = tmp_path / "tokens.json"
        good = path.read_bytes()
        path.write_text("{")
        assert refusal(one.post({}))[:2] == (503, "tokens_unreadable")
        path.write_bytes(good)
        assert one.post({}).status_code == 200


def test_a_revoked_device_is_refused_at_once(tmp_path: Path) -> None:
    from companion.access.tokens import Tokens  # noqa: PLC0415

    with running(tmp_path) as one:
        assert one.post({}).status_code == 200
        Tokens(tmp_path / "tokens.json").revoke("kitchen")
        assert one.post({}).status_code == 401


def test_the_session_of_the_endpoint_reaches_the_grant(tmp_path: Path) -> None:
    text = """
[endpoints.default]
provider = "local"
[endpoints.default.session]
voice = "marin"
instructions = "Be brief."
speed = 1.2
transcription = "off"
noise_reduction = "far_field"
max_output_tokens = 50
vad_threshold = 0.7
vad_silence_ms = 300
"""
    with running(tmp_path, text) as one:
        session: dict[str, Any] = one.grant(mode="open_mic", turn_end="server")["session"]
    assert session["instructions"] == "Be brief."
    assert session["max_output_tokens"] == 50
    assert session["audio"]["output"] == {
        "format": {"type": "audio/pcm", "rate": 24000},
        "voice": "marin",
        "speed": 1.2,
    }
    hear = session["audio"]["input"]
    assert "transcription" not in hear
    assert hear["noise_reduction"] == {"type": "far_field"}
    assert (hear["turn_detection"]["threshold"], hear["turn_detection"]["silence_duration_ms"]) == (0.7, 300)
