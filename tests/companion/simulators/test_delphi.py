"""The simulated Delphi, with a client that reads the vendor's SDK on its own."""

from __future__ import annotations

import base64
import io
import json
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import av
import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from companion.simulators import KEY
from companion.simulators.delphi import ENDPOINT, MISTAKES, Delphi, routes
from tests.companion.simulators.serving import served
from tests.companion.talk import recognised
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT_S = 20.0
Json = dict[str, Any]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One engine: "/" without mistakes, "/MISTAKE" with one."""
    folder: Path = tmp_path_factory.mktemp("delphi")
    with served(folder, Delphi, routes, MISTAKES) as url:
        yield url


def mint(url: str, mode: str = "audio_playback", key: str = KEY, **fields: Any) -> httpx.Response:
    body = {"endpointId": ENDPOINT, "mode": mode, **fields}
    headers = {"X-API-Key": key}
    return httpx.post(f"{url}/api/v1/sessions/token", json=body, headers=headers, timeout=WAIT_S)


class Browser:
    """The SDK's side of one channel."""

    def __init__(self, socket: ClientConnection, session_id: str) -> None:
        self.socket = socket
        self.session_id = session_id
        self.seen: list[Json] = []

    def send(self, kind: str, **payload: Any) -> None:
        envelope = {
            "type": kind,
            "sessionId": self.session_id,
            "messageId": str(uuid.uuid4()),
            "timestamp": int(time.time() * 1000),
            "direction": "to_ari",
            **payload,
        }
        self.socket.send(json.dumps(envelope))

    def ask(self, text: str, wanted: str = "both") -> None:
        chat = {
            "role": "user",
            "content": text,
            "intent": "conversation",
            "responseExpected": True,
            "preferredResponse": wanted,
        }
        self.send("chat", chat=chat)

    def receive(self) -> Json:
        said: Json = json.loads(self.socket.recv(timeout=WAIT_S))
        assert said["sessionId"] == self.session_id
        assert said["direction"] == "to_browser"
        self.seen.append(said)
        return said

    def until(self, kind: str, **about: Any) -> Json:
        """Read on until a message of the kind whose payload has these fields; returns the payload."""
        while True:
            said = self.receive()
            payload: Json = said.get(kind) or {}
            if said["type"] == kind and about.items() <= payload.items():
                return payload

    def sound(self) -> tuple[str, bytes]:
        """Put a response together as the SDK does: the base64 texts joined, `audio/mpeg` unless named."""
        parts = [said["audio"] for said in self.seen if said["type"] == "audio"]
        mime = next((part["mimeType"] for part in parts if "mimeType" in part), "audio/mpeg")
        return mime, base64.b64decode("".join(part.get("delta", "") for part in parts))


@contextmanager
def channel(url: str, session: Json | None = None, mode: str = "audio_playback") -> Iterator[Browser]:
    session = session or mint(url, mode).json()
    query = f"sessionId={session['sessionId']}&token={session['wsToken']}"
    with connect(f"{url.replace('http', 'ws')}/ws/session?{query}", max_size=2**24) as socket:
        yield Browser(socket, session["sessionId"])


def close_code(browser: Browser) -> int:
    """Read to the end; returns the code with which the server closed."""
    try:
        while True:
            browser.receive()
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006


def from_mp3(sound: bytes) -> bytes:
    with av.open(io.BytesIO(sound), "r") as box:
        frames = [frame.to_ndarray().reshape(-1) for frame in box.decode(audio=0)]
    pcm: bytes = (np.clip(np.concatenate(frames), -1, 1) * 32767).astype("<i2").tobytes()
    return pcm


# --- tokens and capabilities


def test_a_token_needs_the_key_a_known_endpoint_and_a_known_mode(service: str) -> None:
    assert mint(service, key="wrong").status_code == 401
    assert mint(service, "shouting").status_code == 400
    assert mint(service, endpointId="other").status_code == 404
    assert mint(service, more=1).json()["error"].startswith("Invalid request")
    assert mint(service).json().keys() == {"sessionId", "wsToken", "wsTokenExpiresIn", "expiresIn"}


def test_a_voice_session_names_its_gateway(service: str) -> None:
    assert mint(service, "voice_conversation").json()["webrtcGatewayUrl"].startswith("ws://")
    assert "webrtcGatewayUrl" not in mint(f"{service}/no-gateway", "voice_conversation").json()


def test_the_first_mint_may_be_too_many_and_every_one_may_fail(service: str) -> None:
    refused = mint(f"{service}/mint-429")
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
    assert mint(f"{service}/mint-429").status_code == 200
    assert mint(f"{service}/mint-500").status_code == 500


def test_the_capabilities_say_what_is_offered(service: str) -> None:
    def ask(url: str, endpoint: str = ENDPOINT, key: str = KEY) -> httpx.Response:
        where = f"{url}/api/v1/runtime/capabilities"
        return httpx.get(where, params={"endpointId": endpoint}, headers={"X-API-Key": key}, timeout=WAIT_S)

    assert ask(service).json()["interactionModes"]["listen"]
    assert ask(service).json()["flows"]["browserActions"][0]["type"] == "readAloud"
    assert not ask(f"{service}/no-listen").json()["interactionModes"]["listen"]
    assert mint(f"{service}/no-listen", "listen").status_code == 400
    assert ask(service, "other").json()["error"]["message"] == "Endpoint not found"
    assert ask(service, key="wrong").status_code == 401


# --- who may come in


def test_a_wrong_a_refused_and_an_old_token_are_client_errors(service: str) -> None:
    wrong = {**mint(service).json(), "wsToken": "x"}
    with channel(service, wrong) as browser:
        assert close_code(browser) == 4001
    with channel(f"{service}/close-4001-always") as browser:
        assert close_code(browser) == 4001
    with channel(f"{service}/close-4001") as browser:
        assert close_code(browser) == 4001
    with channel(f"{service}/close-4001") as browser:
        browser.until("status", state="connected")
    brief = mint(f"{service}/short-token").json()
    until(lambda: _refused(f"{service}/short-token", brief), WAIT_S)


def _refused(url: str, session: Json) -> bool:
    try:
        with channel(url, session) as browser:
            browser.until("status")
    except ConnectionClosed as closed:
        return closed.rcvd is not None and closed.rcvd.code == 4002
    return False


def test_a_newer_connection_supersedes_the_older(service: str) -> None:
    session = mint(service).json()
    with channel(service, session) as older:
        older.until("status", state="connected")
        with channel(service, session) as newer:
            newer.until("status", state="connected")
            assert close_code(older) == 4000
            newer.send("ping")
            newer.until("pong")


def test_ready_comes_late_among_unknown_things_or_never(service: str) -> None:
    with channel(f"{service}/late-status") as browser:
        browser.until("status", state="reconnecting")
        browser.until("status", state="connected")
    with channel(f"{service}/unknown-types") as browser:
        browser.until("weather")
        browser.until("status", state="connected")
    with channel(f"{service}/never-ready") as browser:
        browser.send("ping")
        assert browser.receive()["type"] == "pong"
    with channel(f"{service}/not-json") as browser:
        assert browser.socket.recv(timeout=WAIT_S) == "{"
        assert browser.socket.recv(timeout=WAIT_S) == b"\0\1"


def test_what_the_protocol_does_not_have_is_an_error_and_nothing_more(service: str) -> None:
    with channel(service) as browser:
        browser.socket.send("{")
        browser.until("error", code="INVALID_MESSAGE")
        browser.send("chat", chat={"role": "user", "content": "hi", "volume": 3})
        browser.until("error", code="INVALID_MESSAGE")
        browser.send("chat")
        browser.until("error", message="a chat without its payload")
        browser.send("reconnect", reconnect={"lastReceivedMessageId": "yesterday"})
        browser.until("error", code="INVALID_MESSAGE")
        browser.session_id, own = "s-other", browser.session_id
        browser.send("ping")
        browser.session_id = own
        browser.until("error", message="sessionId is another session's")
        browser.send("action_result", actionResult={"actionId": "none", "success": True})
        browser.until("error", code="UNKNOWN_ACTION")


# --- the conversation


def test_it_answers_in_words_and_sound_and_remembers(service: str) -> None:
    session = mint(service).json()
    with channel(service, session) as browser:
        browser.ask("my name is peter")
        assert "Peter" in browser.until("chat", role="assistant")["content"]
        browser.until("audio", event="done")
        mime, sound = browser.sound()
        assert mime == "audio/pcm;rate=24000"
        assert "peter" in recognised(sound)
    with channel(service, session) as browser:
        browser.ask("what is my name", "text")
        assert "Peter" in browser.until("chat", role="assistant")["content"]
        browser.send("ping")
        browser.until("pong")
        assert not any(said["type"] == "audio" for said in browser.seen)


@pytest.mark.parametrize(("mistake", "named"), [("mp3", True), ("no-mime", False)])
def test_it_may_speak_mp3(service: str, mistake: str, named: bool) -> None:
    with channel(f"{service}/{mistake}") as browser:
        browser.ask("my name is peter")
        browser.until("audio", event="done")
        assert any("mimeType" in said.get("audio", {}) for said in browser.seen) is named
        mime, sound = browser.sound()
        assert mime == "audio/mpeg"
        assert "peter" in recognised(from_mp3(sound))


def test_base64_may_be_cut_anywhere(service: str) -> None:
    with channel(f"{service}/unaligned-base64") as browser:
        browser.ask("my name is peter")
        browser.until("audio", event="done")
        deltas = [said["audio"]["delta"] for said in browser.seen if "delta" in said.get("audio", {})]
        assert any(len(delta) % 4 for delta in deltas)
        assert "peter" in recognised(browser.sound()[1])


def test_a_response_may_come_in_segments_or_out_of_order(service: str) -> None:
    with channel(f"{service}/segments") as browser:
        browser.ask("my name is peter")
        browser.until("audio", event="done", isFinal=True)
        ends = [s["audio"] for s in browser.seen if s["type"] == "audio" and s["audio"]["event"] == "done"]
        assert len({end["requestId"] for end in ends}) == 1
        assert [end["segmentIndex"] for end in ends] == list(range(ends[0]["segmentCount"]))
    with channel(f"{service}/out-of-order") as browser:
        browser.ask("my name is peter")
        browser.until("audio", event="done")
        indexes = [said["audio"]["index"] for said in browser.seen if "index" in said.get("audio", {})]
        assert sorted(indexes) == list(range(len(indexes))) != indexes


def test_words_come_late_twice_without_sound_or_as_an_error(service: str) -> None:
    with channel(f"{service}/late-words") as browser:
        browser.ask("what time is it")
        browser.until("audio", event="done")
        browser.until("chat", role="assistant")
    with channel(f"{service}/duplicate-messages") as browser:
        browser.ask("what time is it", "text")
        browser.until("chat")
        browser.until("chat")
        assert browser.seen[-1] == browser.seen[-2]
    with channel(f"{service}/no-voice") as browser:
        browser.ask("what time is it")
        browser.until("chat")
        browser.send("ping")
        assert browser.receive()["type"] == "pong"
    with channel(f"{service}/error-reply") as browser:
        browser.ask("what time is it")
        browser.until("error", code="RUNTIME_ERROR")
        browser.ask("what time is it")
        browser.until("chat")


def test_an_action_waits_for_its_result(service: str) -> None:
    with channel(f"{service}/action") as browser:
        browser.ask("what time is it", "text")
        action = browser.until("action", name="navigate", requiresResponse=True)
        browser.send("ping")
        assert browser.receive()["type"] == "pong"
        result = {"actionId": action["actionId"], "success": False, "error": "no", "isFinal": True}
        browser.send("action_result", actionResult=result)
        assert browser.receive()["type"] == "chat"


def test_it_reads_aloud(service: str) -> None:
    with channel(service) as browser:
        action = {
            "messageType": "browser.action.readAloud",
            "text": "hello peter",
            "capabilityId": "cap-read",
        }
        browser.send("browser_action", browserAction=action)
        browser.until("audio", event="done")
        assert "hello" in recognised(browser.sound()[1])
        browser.send("browser_action", browserAction={**action, "capabilityId": "cap-none"})
        browser.until("error", code="UNKNOWN_CAPABILITY")
        browser.send("browser_action", browserAction={"messageType": "browser.action.dance"})
        browser.until("error", code="UNKNOWN_BROWSER_ACTION")
        browser.send("chat", chat={"role": "user", "content": "good bye", "intent": "read_aloud"})
        browser.until("audio", event="done")


def test_the_response_mode_and_text_chat_can_be_set(service: str) -> None:
    with channel(service) as browser:
        browser.send(
            "control", control={"command": "set_response_mode", "settings": {"responseMode": "text"}}
        )
        browser.until("status", state="response_mode_changed")
        browser.send("chat", chat={"role": "user", "content": "my name is peter"})
        browser.until("chat")
        browser.send("control", control={"command": "disable_text_chat"})
        browser.until("status", state="text_chat_disabled")
        browser.send("chat", chat={"role": "user", "content": "call me paul"})  # heard, not answered
        browser.ask("what is my name")
        assert "Paul" in browser.until("chat")["content"]
        assert not any(said["type"] == "audio" for said in browser.seen)
        browser.send("control", control={"command": "clear_context"})
        browser.ask("what is my name")
        assert "not told" in browser.until("chat")["content"]


def test_a_listener_hears_the_speech_with_captions(service: str) -> None:
    listen: Json = {
        "messageType": "browser.action.listen",
        "identifier": "booth-1",
        "data": {"identifier": "booth-1", "targetLanguage": "en", "includeCaptions": True},
    }
    with channel(service, mode="listen") as browser:
        browser.send("browser_action", browserAction=listen)
        browser.until("error", code="NOT_A_LISTENER")
        context = {"identifier": "booth-1", "role": "listener", "targetLanguage": "en"}
        chat = {
            "role": "user",
            "content": "booth-1",
            "intent": "browser_context",
            "responseExpected": False,
            "metadata": {"browserContext": context},
        }
        browser.send("chat", chat=chat)
        browser.send(
            "browser_action", browserAction={**listen, "data": {**listen["data"], "startMode": "auto"}}
        )
        browser.until("error", code="INVALID_LISTEN")
        browser.send("browser_action", browserAction=listen)
        assert "lighthouse" in browser.until("chat")["content"]
        browser.until("audio", event="done")
        assert "keeper" in browser.until("chat")["content"]


@pytest.mark.parametrize(("mistake", "code"), [("close-1012-mid-reply", 1012), ("close-4000", 4000)])
def test_a_reply_that_was_cut_is_there_after_the_reconnect(service: str, mistake: str, code: int) -> None:
    url = f"{service}/{mistake}"
    session = mint(url).json()
    with channel(url, session) as before:
        before.ask("my name is peter")
        assert close_code(before) == code
        assert before.seen[-1]["audio"]["event"] == "delta"
    cursor = before.seen[-1]["streamId"]
    with channel(url, session) as after:
        after.send("reconnect", reconnect={"lastReceivedMessageId": cursor})
        after.until("audio", event="done")
        after.seen = before.seen + after.seen
        assert len({said["messageId"] for said in after.seen}) == len(after.seen)
        assert "peter" in recognised(after.sound()[1])
