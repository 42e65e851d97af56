"""Whole sessions: speech in, speech out, interrupted, resumed, too old, too slow, and cut off."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from companion.local.brain.story import STORY
from companion.local.memory import Memory
from tests.companion.talk import WAIT_S, Client, Running, recognised, running, session, silence, speech

if TYPE_CHECKING:
    from pathlib import Path


def local(more: str) -> str:
    return f'[endpoints.default]\nprovider = "local"\n[providers.local]\n{more}\n'


def until(fact: Any) -> Any:
    """Ask until it is true."""
    end = time.monotonic() + WAIT_S
    while not (found := fact()):
        assert time.monotonic() < end
    return found


def heard_by_server(client: Client) -> list[str]:
    kind = "conversation.item.input_audio_transcription.completed"
    return [event["transcript"] for event in client.seen if event["type"] == kind]


def test_a_spoken_question_gets_a_spoken_answer(client: Client) -> None:
    client.ask("my name is peter")
    words, sound, done = client.answer()
    assert heard_by_server(client) == ["my name is peter"]
    assert words == "Hello, Peter. Nice to meet you."
    assert "hello peter nice to meet you" in recognised(sound)
    assert done["response"]["status"] == "completed"
    client.ask("what is my name")
    assert "peter" in recognised(client.answer()[1])


def test_sound_that_comes_before_the_models_are_loaded_is_not_lost(tmp_path: Path) -> None:
    with running(tmp_path) as one, session(one.grant()) as client:
        client.append(silence(1000) + speech("what is twelve times seven"), block_ms=20)
        client.send("input_audio_buffer.commit")
        client.send("response.create")
        assert client.answer()[0] == "12 times 7 is 84."


def test_one_append_may_carry_a_whole_turn(client: Client) -> None:
    client.append(speech("my name is peter"), block_ms=60_000)
    client.send("input_audio_buffer.commit")
    client.send("response.create")
    assert client.answer()[0] == "Hello, Peter. Nice to meet you."


def test_what_nobody_said_is_admitted(client: Client) -> None:
    client.append(silence(500))
    client.send("input_audio_buffer.commit")
    client.send("response.create")
    assert client.answer()[0].startswith("I did not hear anything.")
    assert heard_by_server(client) == [""]


def test_the_server_finds_the_turns(open_mic: Client) -> None:
    before = silence(1000)
    said = speech("what time is it")
    open_mic.append(before + said + silence(1200))
    started = open_mic.until("input_audio_buffer.speech_started")
    stopped = open_mic.until("input_audio_buffer.speech_stopped")
    committed = open_mic.until("input_audio_buffer.committed")
    assert started["item_id"] == stopped["item_id"] == committed["item_id"]
    assert 600 < started["audio_start_ms"] < 1300 < stopped["audio_end_ms"] <= 1000 + len(said) // 48 + 800
    words, sound, _ = open_mic.answer()
    assert words.startswith("It is ")
    assert "it is" in recognised(sound)
    assert heard_by_server(open_mic) == ["what time is it"]


def test_speech_interrupts_a_reply(open_mic: Client) -> None:
    open_mic.append(silence(500) + speech("tell me a story") + silence(1000))
    response = open_mic.until("response.created")["response"]
    open_mic.until("response.output_audio.delta")
    open_mic.append(speech("what time is it") + silence(1000))
    done = open_mic.until("response.done")["response"]
    assert done["id"] == response["id"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "turn_detected")
    started = [event for event in open_mic.seen if event["type"] == "input_audio_buffer.speech_started"]
    assert len(started) == 2
    assert open_mic.answer()[0].startswith("It is ")


@pytest.mark.parametrize("interrupt", [True, False])
def test_a_client_may_keep_replies_in_its_own_hand(companion: Running, interrupt: bool) -> None:
    grant = companion.grant(mode="open_mic", turn_end="server")
    detection = grant["session"]["audio"]["input"]["turn_detection"]
    detection.update(create_response=False, interrupt_response=interrupt)
    with session(grant) as client:
        client.append(silence(500) + speech("tell me a story") + silence(1000))
        client.until("conversation.item.input_audio_transcription.completed")
        assert "response.created" not in client.kinds()
        client.send("response.create")
        client.until("response.output_audio.delta")
        client.append(speech("what time is it") + silence(1000))
        client.until("input_audio_buffer.speech_stopped")
        assert ("response.done" in client.kinds()) == interrupt


def test_a_second_commit_by_hand_closes_a_turn_that_is_going_on(open_mic: Client) -> None:
    open_mic.append(silence(500) + speech("what time is it"))
    started = open_mic.until("input_audio_buffer.speech_started")
    open_mic.send("input_audio_buffer.commit")
    assert open_mic.until("input_audio_buffer.committed")["item_id"] == started["item_id"]
    open_mic.until("conversation.item.input_audio_transcription.completed")
    assert heard_by_server(open_mic) == ["what time is it"]


def test_a_long_reply_comes_faster_than_it_plays_but_not_all_at_once(tmp_path: Path) -> None:
    with running(tmp_path, local("send_ahead_ms = 2000")) as one, session(one.grant()) as client:
        client.ask("tell me a story")
        client.until("response.output_audio.delta")
        begun, ms = time.monotonic(), 100.0
        while ms < 3000:
            ms += len(base64.b64decode(client.until("response.output_audio.delta")["delta"])) / 48
        assert 0.8 < time.monotonic() - begun < 2.5
        client.send("response.cancel")
        words, _, done = client.answer()
        assert done["response"]["status"] == "cancelled"
        assert "".join([STORY[0], words])


def test_the_story_is_long_enough_to_be_interrupted(tmp_path: Path) -> None:
    with running(tmp_path, local("send_ahead_ms = 600000")) as one, session(one.grant()) as client:
        client.ask("tell me a story")
        words, sound, _ = client.answer()
    assert words == " ".join(STORY)
    assert 20 < len(sound) / 48_000 < 60


# resume


def test_a_session_is_restored_after_the_companion_died(tmp_path: Path) -> None:
    with running(tmp_path) as one:
        grant = one.grant()
        with session(grant) as client:
            client.ask("my name is peter")
            client.answer()
    with running(tmp_path) as one:
        again = one.grant(resume_session=grant["session_id"], turns=1)
        assert again["resume"] == "live"
        with session(again) as client:
            assert client.seen[0]["session"]["id"] == grant["session_id"]
            shown = [event["item"] for event in client.seen if event["type"] == "conversation.item.added"]
            assert [item["role"] for item in shown] == ["user", "assistant"]
            assert shown[0]["content"] == [{"type": "input_audio", "transcript": "my name is peter"}]
            client.ask("what is my name")
            assert "peter" in recognised(client.answer()[1])


def kept(one: Running, grant: dict[str, Any]) -> list[Any]:
    found = Memory(one.folder / "state" / "sessions").load(grant["session_id"], "kitchen")
    return found.items if found else []


def test_of_a_reply_cut_off_by_a_lost_line_only_what_could_be_heard_is_kept(tmp_path: Path) -> None:
    with running(tmp_path) as one:
        grant = one.grant()
        with session(grant) as client:
            client.ask("tell me a story")
            client.until("response.output_audio.delta")
            begun = time.monotonic()
            client.until("response.output_audio.delta", lambda _: time.monotonic() - begun > 0.9)
        reply = until(lambda: [item for item in kept(one, grant) if item.role == "assistant"])[0]
        assert 500 < reply.audio_ms < 4000  # 8 s were sent ahead
        assert STORY[0].startswith(reply.text) or reply.text.startswith(STORY[0])
        assert len(reply.text) < len(" ".join(STORY[:2]))
        with session(one.grant(resume_session=grant["session_id"])) as client:
            client.send(
                "conversation.item.truncate",
                item_id=reply.id,
                content_index=0,
                audio_end_ms=int(reply.audio_ms),
            )
            client.until("conversation.item.truncated")
            client.ask("carry on")
            assert client.until("response.output_audio_transcript.delta")["delta"] in STORY


def test_a_turn_that_was_committed_keeps_its_words_though_the_line_is_lost_at_once(tmp_path: Path) -> None:
    with running(tmp_path) as one:
        grant = one.grant()
        with session(grant) as client:
            client.append(speech("my name is peter"))
            client.send("input_audio_buffer.commit")
            committed = client.until("input_audio_buffer.committed")
        with session(one.grant(resume_session=grant["session_id"])) as client:
            [item] = [event["item"] for event in client.seen if event["type"] == "conversation.item.done"]
            assert item["id"] == committed["item_id"]
            assert item["content"] == [{"type": "input_audio", "transcript": "my name is peter"}]
            client.send("response.create")
            assert client.answer()[0] == "Hello, Peter. Nice to meet you."


def test_sound_that_was_not_committed_is_gone_with_its_line(tmp_path: Path) -> None:
    with running(tmp_path) as one:
        grant = one.grant()
        with session(grant) as client:
            client.ask("hello there")
            client.answer()
            client.append(speech("my name is peter"))
        with session(one.grant(resume_session=grant["session_id"])) as client:
            client.append(silence(50))
            client.send("input_audio_buffer.commit")
            assert client.error()["code"] == "input_audio_buffer_commit_empty"


# the end


def test_a_session_has_a_greatest_length(tmp_path: Path) -> None:
    with running(tmp_path, local("session_minutes = 0.01")) as one:
        grant = one.grant()
        headers = {"Authorization": f"Bearer {grant['auth']['value']}"}
        with connect(grant["url"], additional_headers=headers) as socket:
            client = Client(socket)
            assert client.error()["code"] == "session_expired"
            with pytest.raises(ConnectionClosed) as caught:
                socket.recv(timeout=WAIT_S)
        assert caught.value.rcvd
        assert caught.value.rcvd.code == 1001
        assert caught.value.rcvd.reason == "Your session hit the maximum duration of 0.01 minutes."


def test_too_many_replies_fail_and_say_when(tmp_path: Path) -> None:
    with running(tmp_path, local("replies_per_minute = 1")) as one, session(one.grant()) as client:
        client.ask("hello there")
        assert client.answer()[2]["response"]["status"] == "completed"
        client.send("response.create")
        failed = client.until("response.done")["response"]
        assert failed["status"] == "failed"
        assert failed["status_details"]["error"]["code"] == "rate_limit_exceeded"
        limits = [event["rate_limits"][0] for event in client.seen if event["type"] == "rate_limits.updated"]
        assert [limit["remaining"] for limit in limits] == [0, 0]


def test_a_ping_is_answered(client: Client) -> None:
    assert client.socket.ping(b"pressel").wait(WAIT_S)


def test_a_client_that_never_reads_is_put_out(tmp_path: Path) -> None:
    update = json.dumps({"type": "session.update", "session": {"type": "realtime"}})
    with running(tmp_path, local("max_sessions = 1"), "mints_per_minute = 6000") as one:
        grant = one.grant()
        headers = {"Authorization": f"Bearer {grant['auth']['value']}"}
        with connect(grant["url"], additional_headers=headers, max_queue=1, close_timeout=0.1) as deaf:
            for _ in range(40_000):
                deaf.send(update)
            until(lambda: one.post().status_code == 200)
            with session(one.grant()) as client:
                client.ask("my name is peter")
                assert client.answer()[0] == "Hello, Peter. Nice to meet you."


def test_a_frame_that_is_far_too_large_ends_its_session_alone(companion: Running, client: Client) -> None:
    def send_it() -> None:
        client.socket.send("x" * (17 * 2**20))
        client.socket.recv(timeout=WAIT_S)

    with pytest.raises(ConnectionClosed):
        send_it()
    with session(companion.grant()) as another:
        assert another.seen
