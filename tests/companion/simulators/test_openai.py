"""OpenAI's stand-in, GA shape: it checks what the vendor checks, and makes each mistake that it promises."""

from __future__ import annotations

import base64
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from companion.simulators.openai import MISTAKES, Service
from tests.companion.simulators.openai_talk import Json, ask, client, post, say_nothing, served

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.companion.talk import Client

SESSION: Json = {"type": "realtime", "model": "gpt-realtime", "audio": {"input": {"turn_detection": None}}}
WRITTEN = {**SESSION, "audio": {"input": {"turn_detection": None, "transcription": {"model": "x"}}}}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("openai"), Service) as one:
        yield one


def mint(url: str, session: Json | None = None, **more: Any) -> httpx.Response:
    body = {"session": session or SESSION, **more.pop("body", {})}
    return post(url, "/v1/realtime/client_secrets", body, **more)


def secret(url: str, session: Json | None = None) -> str:
    value: str = mint(url, session).json()["value"]
    return value


def opened(one: Client) -> Client:
    one.until("session.created")
    one.until("conversation.created")
    return one


# The mint


def test_a_secret_and_its_session(url: str) -> None:
    audio = {"input": {"turn_detection": {"type": "semantic_vad"}}, "output": {"voice": {"id": "voice_1"}}}
    answer = mint(url, {**SESSION, "audio": audio}, body={"expires_after": {"seconds": 10}}).json()
    assert answer["value"].startswith("ek_")
    assert answer["expires_at"] - time.time() == pytest.approx(10, abs=2)
    shown = answer["session"]
    assert (shown["model"], shown["expires_at"]) == ("gpt-realtime", 0)
    assert shown["audio"]["output"]["voice"] == {"id": "voice_1"}
    assert shown["audio"]["input"]["turn_detection"]["type"] == "semantic_vad"


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"session": {**SESSION, "temperature": 0.8}}, 400, "unknown_parameter", "session.temperature"),
        ({"session": {**SESSION, "model": "whisper"}}, 404, "model_not_found", "session.model"),
        ({"session": {**SESSION, "tracing": "on"}}, 400, "invalid_value", "session.tracing"),
        (
            {"session": {**SESSION, "audio": {"output": {"voice": "bob"}}}},
            400,
            "invalid_value",
            "session.audio.output.voice",
        ),
        ({"expires_after": {"seconds": 9}}, 400, "invalid_value", "expires_after.seconds"),
        ({"expires_after": {"seconds": 7201}}, 400, "invalid_value", "expires_after.seconds"),
        ({"session": {"type": "translation"}}, 400, "invalid_value", "session.type"),
    ],
)
def test_a_bad_mint_is_refused_by_name(url: str, body: Json, status: int, code: str, param: str) -> None:
    answer = mint(url, body=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)


def test_a_wrong_key_is_401(url: str) -> None:
    answer = mint(url, key="sk-wrong")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


# The socket


def test_two_ways_to_show_the_secret(url: str) -> None:
    with client(url, secret(url)) as one:
        first = one.until("session.created")["session"]["id"]
    value = secret(url)
    for _ in range(2):  # one secret, several sessions
        offered = ["realtime", f"openai-insecure-api-key.{value}"]
        with client(url, "", headers={"Authorization": ""}, subprotocols=offered) as one:
            assert one.socket.subprotocol == "realtime"
            assert one.until("session.created")["session"]["id"] != first


@pytest.mark.parametrize(("model", "status"), [("gpt-realtime", 401), ("gpt-realtime-mini", 400)])
def test_a_wrong_secret_or_model_is_no_socket(url: str, model: str, status: int) -> None:
    value = secret(url, {**SESSION, "model": "gpt-realtime-mini"}) if status == 400 else "ek_unknown"
    with pytest.raises(InvalidStatus) as caught, client(url, value):
        pass
    assert caught.value.response.status_code == status


@pytest.mark.parametrize(
    "more",
    [{"headers": {"OpenAI-Beta": "realtime=v1"}}, {"subprotocols": ["realtime", "openai-beta.realtime-v1"]}],
)
def test_a_beta_client_is_told_and_closed(url: str, more: Json) -> None:
    with client(url, secret(url), **more) as one:
        assert one.error()["code"] == "beta_api_shape_disabled"
        assert closed(one)[0] == 4000


def test_what_the_vendor_has_and_the_local_server_has_not(url: str) -> None:
    with client(url, secret(url)) as one:
        opened(one)
        detection = {"type": "semantic_vad", "eagerness": "high"}
        audio: Json = {"input": {"turn_detection": detection}, "output": {"voice": {"id": "voice_9"}}}
        one.send("session.update", session={"type": "realtime", "audio": audio, "tracing": "auto"})
        told = one.until("session.updated")["session"]
        assert told["audio"]["input"]["turn_detection"]["eagerness"] == "high"
        assert told["audio"]["output"]["voice"] == {"id": "voice_9"}
        audio = {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 6000}}}
        one.send("session.update", session={"type": "realtime", "audio": audio})
        told = one.until("session.updated")["session"]
        assert told["audio"]["input"]["turn_detection"]["idle_timeout_ms"] == 6000
        assert told["audio"]["output"]["voice"] == {"id": "voice_9"}
        one.send("session.update", event_id="c1", session={"type": "realtime", "tracing": None})
        assert (one.error()["param"], one.seen[-1]["error"]["event_id"]) == ("session.tracing", "c1")


def test_speed_changes_only_between_turns(url: str) -> None:
    with client(url, secret(url)) as one:
        opened(one)
        ask(one)
        one.until("response.created")
        faster = {"type": "realtime", "audio": {"output": {"speed": 1.5}}}
        one.send("session.update", session=faster)
        assert one.error()["param"] == "session.audio.output.speed"
        one.send("response.cancel")
        one.until("response.done")
        one.send("session.update", session=faster)
        assert one.until("session.updated")["session"]["audio"]["output"]["speed"] == 1.5


def test_the_vendor_s_errors(url: str) -> None:
    with client(url, secret(url)) as one:
        opened(one)
        one.send("input_audio_buffer.append", audio=base64.b64encode(bytes(4700)).decode())
        one.send("input_audio_buffer.commit")
        assert one.error()["code"] == "input_audio_buffer_commit_empty"
        one.send("session.update", session={"type": "realtime", "instructions": "x", "modalities": ["text"]})
        assert one.error()["code"] == "unknown_parameter"
        one.send("session.update", session={"type": "realtime"})
        assert one.until("session.updated")["session"]["instructions"] == ""  # refused as a whole
        ask(one)
        item = one.until("response.output_audio.delta")["item_id"]
        one.send("response.create")
        assert one.error()["code"] == "conversation_already_has_active_response"
        one.send("response.cancel")
        one.until("response.done")
        cut = {"item_id": item, "content_index": 0}
        one.send("conversation.item.truncate", **cut, audio_end_ms=600_000)
        assert "already shorter" in one.error()["message"]
        one.send("conversation.item.truncate", **cut, audio_end_ms=10)
        assert one.until("conversation.item.truncated")["audio_end_ms"] == 10


def test_a_refused_update_changes_nothing_that_is_shown(url: str) -> None:
    with client(url, secret(url)) as one:
        opened(one)
        audio = {"output": {"voice": {"id": "voice_9"}}}
        one.send("session.update", session={"type": "realtime", "model": "other", "audio": audio})
        assert one.error()["param"] == "session.model"
        one.send("session.update", session={"type": "realtime"})
        assert one.until("session.updated")["session"]["audio"]["output"]["voice"] == "heart"


def test_sound_comes_faster_than_real_time(url: str) -> None:
    with client(url, secret(url)) as one:
        opened(one)
        start = time.monotonic()
        ask(one)
        one.until("response.done")
        sound = sum(len(base64.b64decode(e["delta"])) for e in one.seen if e["type"].endswith("audio.delta"))
        assert sound / 48_000 > 2 * (time.monotonic() - start)


# The mistakes


def closed(one: Client) -> tuple[int, str]:
    """Read on to the end; returns the close code and its reason."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            one.receive()
    assert one.socket.close_code is not None
    return one.socket.close_code, one.socket.close_reason or ""


def told(url: str, mistake: str) -> list[str]:
    """Commit silence and read one reply of a server that makes the mistake; returns the kinds of events."""
    with client(f"{url}/{mistake}", secret(f"{url}/{mistake}")) as one:
        opened(one)
        say_nothing(one)
        one.until("response.done")
        one.send("input_audio_buffer.clear")
        one.until("input_audio_buffer.cleared")
        return one.kinds()


def test_late_transcripts(url: str) -> None:
    with client(f"{url}/late-transcripts", secret(f"{url}/late-transcripts", WRITTEN)) as one:
        opened(one)
        say_nothing(one)
        one.until("conversation.item.input_audio_transcription.completed")
        assert "response.done" in one.kinds()


def test_transcription_fails(url: str) -> None:
    with client(f"{url}/transcription-fails", secret(f"{url}/transcription-fails", WRITTEN)) as one:
        opened(one)
        say_nothing(one)
        failed = one.until("conversation.item.input_audio_transcription.failed")
        assert failed["error"]["code"] == "audio_unintelligible"


def test_words_last(url: str) -> None:
    kinds = told(url, "words-last")
    words = kinds.index("response.output_audio_transcript.delta")
    assert words > kinds.index("response.output_audio.done")


def test_unknown_events(url: str) -> None:
    assert "response.mood.delta" in told(url, "unknown-events")


def test_odd_audio(url: str) -> None:
    with client(f"{url}/odd-audio", secret(f"{url}/odd-audio")) as one:
        opened(one)
        ask(one)
        sound = one.until("response.output_audio.delta")["delta"]
        assert len(base64.b64decode(sound)) % 2 == 1


def test_late_audio(url: str) -> None:
    with client(f"{url}/late-audio", secret(f"{url}/late-audio")) as one:
        opened(one)
        ask(one)
        one.until("response.output_audio.delta")
        one.send("response.cancel")
        assert one.until("response.done")["response"]["status"] == "cancelled"
        assert one.receive()["type"] == "response.output_audio.delta"


def test_garbage(url: str) -> None:
    with client(f"{url}/garbage", secret(f"{url}/garbage")) as one:
        opened(one)
        ask(one)
        frames: list[str | bytes] = []
        while not frames or "response.created" not in str(frames[-1]):
            frames.append(one.socket.recv(timeout=10))
    assert any(isinstance(frame, bytes) for frame in frames)
    assert '{"type": "response.cre' in frames


@pytest.mark.parametrize("mistake", ["session-expires", "expires-silently"])
def test_the_session_s_end(url: str, mistake: str) -> None:
    where = f"{url}/{mistake}"
    value = secret(where)
    with client(where, value) as one:
        opened(one)
        ask(one)
        one.until("response.done")
        if mistake == "session-expires":
            assert one.error()["code"] == "session_expired"
        code, reason = closed(one)
        assert (code, "60 minutes" in reason) == (1001, True)
    with client(where, value) as one:  # the next one lives
        opened(one)
        ask(one, "what time is it")
        one.until("response.done")
        one.send("input_audio_buffer.clear")
        one.until("input_audio_buffer.cleared")


def test_falls_at_commit(url: str) -> None:
    with client(f"{url}/falls-at-commit", secret(f"{url}/falls-at-commit")) as one:
        opened(one)
        say_nothing(one)
        assert closed(one)[0] == 1011
        assert "input_audio_buffer.committed" not in one.kinds()


def test_breaks(url: str) -> None:
    with client(f"{url}/breaks", secret(f"{url}/breaks")) as one:
        opened(one)
        ask(one)
        assert closed(one)[0] == 1011
        assert one.kinds().count("response.output_audio.delta") == 3


def test_reply_fails(url: str) -> None:
    with client(f"{url}/reply-fails", secret(f"{url}/reply-fails")) as one:
        opened(one)
        ask(one)
        response = one.until("response.done")["response"]
        assert (response["status"], response["output"]) == ("failed", [])
        assert "response.output_audio.delta" not in one.kinds()
        ask(one, "what time is it")
        assert one.until("response.done")["response"]["status"] == "completed"


def test_no_room(url: str) -> None:
    with client(f"{url}/no-room", secret(f"{url}/no-room")) as one:
        opened(one)
        ask(one)
        assert one.until("rate_limits.updated")["rate_limits"][0]["remaining"] == 0


def test_calls_a_tool(url: str) -> None:
    with client(f"{url}/calls-a-tool", secret(f"{url}/calls-a-tool")) as one:
        opened(one)
        ask(one)
        [call] = one.until("response.done")["response"]["output"]
        assert (call["type"], call["name"]) == ("function_call", "set_lamp")
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "{}"}
        one.send("conversation.item.create", item=output)
        one.until("conversation.item.done", lambda e: e["item"].get("call_id") == call["call_id"])
        one.send("conversation.item.create", item={"type": "function_call_output"})
        assert one.error()["code"] == "missing_required_parameter"
        one.send("response.create")
        assert one.until("response.done")["response"]["output"][0]["type"] == "message"


@pytest.mark.parametrize(("mistake", "code"), [("key-refused", 3000), ("beta-disabled", 4000)])
def test_closed_at_the_door(url: str, mistake: str, code: int) -> None:
    with client(f"{url}/{mistake}", secret(f"{url}/{mistake}")) as one:
        assert closed(one)[0] == code


@pytest.mark.parametrize(("mistake", "status"), [("stale-secret", 401), ("upgrade-fails", 500)])
def test_refused_at_the_door(url: str, mistake: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as caught, client(f"{url}/{mistake}", secret(f"{url}/{mistake}")):
        pass
    assert caught.value.response.status_code == status


def test_mints_that_fail(url: str) -> None:
    limited = mint(f"{url}/rate-limited")
    assert (limited.status_code, limited.headers["Retry-After"]) == (429, "1")
    assert mint(f"{url}/rate-limited").status_code == 200
    broken = mint(f"{url}/server-error")
    assert (broken.status_code, broken.text[:6]) == (500, "<html>")
    empty = mint(f"{url}/no-secret")
    assert (empty.status_code, "value" in empty.json()) == (200, False)


def test_every_mistake_has_its_test() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in MISTAKES if f'"{name}"' not in here and f'/{name}"' not in here] == []
