"""The simulated Speko's mint: both shapes of its answer, and a user's own backend."""

from __future__ import annotations

import httpx
import pytest

from tests.companion.simulators.speko_socket import MINT, mint


def test_a_wrong_key_and_a_wrong_body_are_refused(speko: str) -> None:
    bodies = [{"mode": "s2s"}, {**MINT, "s2s": {"provider": "openai"}}, {**MINT, "ttlSeconds": 0}]
    bodies += [{**MINT, "s2s": {**MINT["s2s"], "inputSampleRate": 44_100}}, {**MINT, "sampleRate": 24_000}]
    bodies += [{**MINT, "webhookTags": {"k": "v"}}]
    for body in bodies:
        answer = mint(speko, body)
        assert answer.status_code == 400, body
        assert answer.json()["code"] == "VALIDATION_ERROR"
    answer = httpx.post(f"{speko}/v1/sessions", json=MINT, headers={"Authorization": "Bearer wrong"})
    assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized", "code": "UNAUTHORIZED"})


def test_a_backend_of_ones_own_answers_with_six_fields(speko: str) -> None:
    answer = httpx.post(f"{speko}/api/realtime-session")
    assert set(answer.json()) == {
        "sessionId",
        "wsUrl",
        "wsToken",
        "expiresAt",
        "inputSampleRate",
        "outputSampleRate",
    }
    for mistake, status in (("unauthorized", 401), ("rate-limited", 429), ("create-failed", 502)):
        answer = httpx.post(f"{speko}/{mistake}/api/realtime-session")
        assert (answer.status_code, answer.json()) == (
            status,
            {"error": "Could not start realtime session"},
        )
    direct = httpx.post(f"{speko}/provider-direct/api/realtime-session").json()
    assert direct["transport"] == "provider_direct"
    assert mint(f"{speko}/no-token").json()["wsToken"] == ""
    assert mint(f"{speko}/not-json").headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("provider", "transport"), [("openai", "webrtc"), ("xai", "websocket"), ("google", "websocket")]
)
def test_the_newer_shape_names_the_providers_own_door(speko: str, provider: str, transport: str) -> None:
    asked = {"mode": "s2s", "s2s": {"provider": provider, "model": "m", "systemPrompt": "Be concise."}}
    answer = mint(f"{speko}/provider-direct", asked).json()
    assert answer["transport"] == "provider_direct"
    assert answer["providerTransport"] == transport
    assert (answer["sidebandUrl"] is None) == (transport == "websocket")
    assert answer["session"]["instructions"] == "Be concise."
    assert answer["credential"]["kind"] == "bearer"


def test_what_was_reported_can_be_read(speko: str) -> None:
    base = f"{speko}/provider-direct"
    body = {"attempt_id": "att_1", "provider_session_id": "rtc_12345678"}
    path = "/v1/sessions/sess_1/sidebands/openai"
    assert httpx.post(f"{base}{path}", json=body).status_code == 401
    httpx.post(f"{base}{path}", json=body, headers={"Authorization": "Bearer tel_x"}).raise_for_status()
    found = httpx.get(f"{base}/reports").json()
    assert found[-1]["body"] == body
    assert found[-1]["path"].endswith(path)
