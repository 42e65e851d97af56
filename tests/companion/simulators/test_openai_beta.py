"""OpenAI's stand-in, beta shape: flat sessions, older names, the marker at the door."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import InvalidStatus

from companion.simulators.openai_beta import BetaService
from tests.companion.simulators.openai_talk import Json, ask, client, post, say_nothing, served

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

MARK = {"OpenAI-Beta": "realtime=v1"}
FLAT: Json = {
    "model": "gpt-realtime",
    "voice": "alloy",
    "turn_detection": None,
    "temperature": 0.7,
    "input_audio_transcription": {"model": "whisper-1"},
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("beta"), BetaService) as one:
        yield one


def mint(url: str, **more: Any) -> httpx.Response:
    return post(url, "/v1/realtime/sessions", {**FLAT, **more})


def secret(url: str) -> str:
    value: str = mint(url).json()["client_secret"]["value"]
    return value


def test_a_mint_answers_the_flat_session_with_its_secret(url: str) -> None:
    answer = mint(url).json()
    assert answer["client_secret"]["expires_at"] - time.time() == pytest.approx(60, abs=2)
    assert {name: answer[name] for name in FLAT} == FLAT
    assert (answer["object"], answer["modalities"]) == ("realtime.session", ["text", "audio"])
    later = mint(url, client_secret={"expires_after": {"anchor": "created_at", "seconds": 600}}).json()
    assert later["client_secret"]["expires_at"] - time.time() == pytest.approx(600, abs=2)
    assert "client_secret" not in mint(f"{url}/no-secret").json()


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"temperature": 0.5}, "temperature"),
        ({"type": "realtime"}, "type"),
        ({"turn_detection": {"type": "server_vad", "threshold": 2}}, "turn_detection.threshold"),
        ({"speed": 2}, "speed"),
        ({"client_secret": {"expires_after": {"seconds": 9}}}, "client_secret.expires_after.seconds"),
    ],
)
def test_a_bad_mint_is_refused_by_name(url: str, more: Json, param: str) -> None:
    answer = mint(url, **more)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_a_turn_in_beta_s_names(url: str) -> None:
    with client(url, secret(url), headers=MARK) as one:
        created = one.until("session.created")["session"]
        assert (created["voice"], created["temperature"]) == ("alloy", 0.7)
        one.send("session.update", session={"turn_detection": None, "temperature": 1.1})
        assert one.until("session.updated")["session"]["temperature"] == 1.1
        say_nothing(one)
        done = one.until("response.done")["response"]
        assert done["output"][0]["content"][0]["type"] == "audio"
        kinds = set(one.kinds())
    assert {"conversation.item.created", "response.audio.delta", "response.audio_transcript.delta"} <= kinds
    assert not [kind for kind in kinds if "output_audio" in kind or kind.startswith("conversation.item.done")]


def test_ga_fields_are_refused_as_a_whole(url: str) -> None:
    with client(url, secret(url), headers=MARK) as one:
        one.until("session.created")
        one.send("session.update", session={"voice": "ash", "output_modalities": ["audio"]})
        assert one.error()["param"] == "session.output_modalities"
        one.send("session.update", session={})
        assert one.until("session.updated")["session"]["voice"] == "alloy"


def test_the_marker_opens_the_door(url: str) -> None:
    value = secret(url)
    with pytest.raises(InvalidStatus) as caught, client(url, value):
        pass
    assert caught.value.response.status_code == 400
    with client(url, value, subprotocols=["realtime", "openai-beta.realtime-v1"]) as one:
        assert one.socket.subprotocol == "realtime"
        one.until("session.created")


def test_the_beta_shape_may_be_switched_off(url: str) -> None:
    where = f"{url}/beta-disabled"
    with client(where, secret(where), headers=MARK) as one:
        assert one.error()["code"] == "beta_api_shape_disabled"


@pytest.mark.parametrize("mistake", ["odd-audio", "words-last", "unknown-events", "reply-fails", "no-room"])
def test_the_mistakes_are_made_in_beta_s_names_too(url: str, mistake: str) -> None:
    where = f"{url}/{mistake}"
    with client(where, secret(where), headers=MARK) as one:
        one.until("session.created")
        ask(one)
        status = one.until("response.done")["response"]["status"]
        kinds = one.kinds()
    assert status == ("failed" if mistake == "reply-fails" else "completed")
    if mistake == "words-last":
        assert kinds.index("response.audio_transcript.delta") > kinds.index("response.audio.done")
    if mistake == "unknown-events":
        assert "response.mood.delta" in kinds


def test_a_tool_call_in_beta(url: str) -> None:
    where = f"{url}/calls-a-tool"
    with client(where, secret(where), headers=MARK) as one:
        one.until("session.created")
        ask(one)
        [call] = one.until("response.done")["response"]["output"]
    assert (call["type"], call["name"]) == ("function_call", "set_lamp")
