"""Outspeed's stand-in, spoken to over real sockets: mint, backend, resume, the vendor's own, mistakes."""

from __future__ import annotations

import base64
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from companion.simulators import KEY, Options, openai_mistakes
from companion.simulators.outspeed import MISTAKES, build
from tests.companion.talk import Client, http, recognised, silence, speech

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.companion.talk import Event

BODY = {
    "model": "Orpheus-3b",
    "voice": "leo",
    "turn_detection": None,
    "input_audio_transcription": {"model": "whisper-v3-turbo"},
}


class Beta(Client):
    """A beta client."""

    def answer(self) -> tuple[str, bytes, Event]:
        start = len(self.seen)
        done = self.until("response.done")
        return said(self.seen[start:]), sound(self.seen[start:]), done


def said(events: list[Event]) -> str:
    return "".join(e["delta"] for e in events if e["type"] == "response.audio_transcript.delta")


def sound(events: list[Event]) -> bytes:
    return b"".join(base64.b64decode(e["delta"]) for e in events if e["type"] == "response.audio.delta")


@contextmanager
def serving(folder: Path, *mistakes: str) -> Iterator[str]:
    with http(build(Options(folder, mistakes=frozenset(mistakes))), lifespan="on") as url:
        yield url


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("outspeed")) as one:
        yield one


def mint(url: str, resume: str | None = None, *, key: str = KEY, **body: Any) -> httpx.Response:
    params = {} if resume is None else {"resume_session": resume}
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(
        f"{url}/v1/realtime/sessions", json={**BODY, **body}, params=params, headers=headers, timeout=20
    )


@contextmanager
def opened(url: str, minted: Event) -> Iterator[Beta]:
    """Connect with the secret."""
    address = f"{url.replace('http', 'ws')}/v1/realtime?client_secret={minted['client_secret']['value']}"
    with connect(address, max_size=2**24, max_queue=None) as socket:
        yield Beta(socket)


def test_a_mint_answers_with_the_flat_session_and_a_secret(url: str) -> None:
    answer = mint(url, first_message="Hello!").json()
    assert answer["id"].startswith("sess_")
    assert (answer["voice"], answer["model"], answer["first_message"]) == ("leo", "Orpheus-3b", "Hello!")
    assert isinstance(answer["client_secret"]["expires_at"], int)


@pytest.mark.parametrize(
    "body",
    [{"voice": "alloy"}, {"model": "gpt-realtime"}, {"temperature": 2.5}, {"output_modalities": ["audio"]}],
)
def test_a_session_that_the_service_does_not_know_is_refused(url: str, body: Event) -> None:
    answer = mint(url, **body)
    assert answer.status_code == 400
    assert next(iter(body)) in answer.json()["error"]["message"]


def test_a_wrong_key_is_refused_and_the_users_backend_passes_a_failure_on_as_200(url: str) -> None:
    assert mint(url, key="wrong").status_code == 401
    answer = httpx.post(f"{url}/token", params={"resume_session": "sess_unknown"}, json=BODY, timeout=20)
    assert answer.status_code == 200
    assert "client_secret" not in answer.json()
    assert "sess_unknown" in answer.json()["error"]["message"]
    assert httpx.post(f"{url}/token", json=BODY, timeout=20).json()["client_secret"]["value"]


def test_a_spoken_talk_in_beta_names_is_restored_by_its_id(url: str) -> None:
    first = mint(url).json()
    with opened(url, first) as client:
        created = client.until("session.created")["session"]
        assert (created["id"], created["voice"], created["modalities"]) == (
            first["id"],
            "leo",
            ["text", "audio"],
        )
        assert "context.restored" not in client.kinds()
        client.ask("my name is peter")
        words, pcm, done = client.answer()
        assert "Peter" in words
        assert "peter" in recognised(pcm)
        assert done["response"]["output"][0]["content"][0]["type"] == "audio"
        assert "conversation.item.created" in client.kinds()
        assert not {"response.output_audio.delta", "conversation.item.done"} & set(client.kinds())
    second = mint(url, first["id"]).json()
    assert second["id"] == first["id"]
    with opened(url, second) as client:
        restored = client.until("context.restored")
        assert client.kinds()[0] == "session.created"
        assert restored["items"][0]["role"] == "user"
        assert "peter" in restored["items"][0]["content"].lower()
        client.ask("what is my name")
        assert "Peter" in client.answer()[0]


def test_the_first_message_and_the_order_to_speak_are_said_word_for_word(url: str) -> None:
    with opened(url, mint(url, first_message="Welcome to the kitchen.").json()) as client:
        client.until("session.created")
        client.send("session.update", session={"instructions": "Be brief.", "first_message": "Not this."})
        words, pcm, _ = client.answer()
        assert words == "Welcome to the kitchen."
        assert "kitchen" in recognised(pcm)
        client.send("outspeed.custom.speak", text="The tea is ready.")
        assert client.answer()[0] == "The tea is ready."


@pytest.mark.parametrize("told", [True, False])
def test_edges_of_speech_are_told_when_the_session_wants_them(url: str, told: bool) -> None:
    turns = {"type": "server_vad", "send_event_on_vad_state_change": told, "rms_threshold": 0.1}
    with opened(url, mint(url, turn_detection=turns).json()) as client:
        shown = client.until("session.created")["session"]["turn_detection"]
        assert (shown["send_event_on_vad_state_change"], shown["rms_threshold"]) == (told, 0.1)
        client.append(speech("what time is it") + silence(1200))
        client.answer()
        assert ("input_audio_buffer.speech_started" in client.kinds()) is told


def test_ga_names_are_refused_as_a_whole(url: str) -> None:
    with opened(url, mint(url).json()) as client:
        client.until("session.created")
        client.send(
            "session.update", event_id="e1", session={"instructions": "x", "output_modalities": ["audio"]}
        )
        error = client.error()
        assert (error["code"], error["param"], error["event_id"]) == (
            "unknown_parameter",
            "session.output_modalities",
            "e1",
        )
        client.socket.send("{")
        assert client.error()["code"] == "invalid_event"
        client.send("input_audio_buffer.commit")
        assert client.error()["code"] == "input_audio_buffer_commit_empty"


@pytest.mark.parametrize(
    ("mistake", "status", "through"),
    [("mint-fails", 500, "error"), ("busy", 429, "error"), ("no-secret", 200, "id")],
)
def test_a_mint_that_fails(tmp_path: Path, mistake: str, status: int, through: str) -> None:
    with serving(tmp_path, mistake) as url:
        assert mint(url).status_code == status
        passed = httpx.post(f"{url}/token", json=BODY, timeout=20)
        assert passed.status_code == 200
        assert through in passed.json()
        assert "client_secret" not in passed.json()


def test_a_secret_that_has_expired_opens_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, "secret-expired") as url:
        with pytest.raises(InvalidStatus) as caught, opened(url, mint(url).json()):
            pass
        assert caught.value.response.status_code == 401


def test_a_session_that_expires_says_so_and_goes(tmp_path: Path) -> None:
    with serving(tmp_path, "expires") as url, opened(url, mint(url).json()) as client:
        assert client.error()["code"] == "session_expired"
        with pytest.raises(ConnectionClosed) as caught:
            client.receive()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1001


def talked(folder: Path) -> str:
    """Leave a session in the folder and return its id."""
    with serving(folder) as url, opened(url, minted := mint(url).json()) as client:
        client.ask("my name is peter")
        client.until("conversation.item.input_audio_transcription.completed")
        item = {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": "Hello, Peter."}],
        }
        client.send("conversation.item.create", item=item)
        client.until("conversation.item.created", lambda event: bool(event["item"]["content"][0].get("text")))
    return str(minted["id"])


@pytest.mark.parametrize(
    ("mistake", "order"),
    [
        ("restored-first", ["context.restored", "session.created"]),
        ("restored-late", ["session.updated", "context.restored"]),
        ("restored-as-parts", ["session.created", "context.restored"]),
    ],
)
def test_the_context_comes_where_and_as_the_mistake_says(
    tmp_path: Path, mistake: str, order: list[str]
) -> None:
    known = talked(tmp_path)
    with serving(tmp_path, mistake) as url, opened(url, mint(url, known).json()) as client:
        client.send("session.update", session={})
        client.until("session.updated")
        client.send("input_audio_buffer.clear")
        client.until("input_audio_buffer.cleared")
        kinds = client.kinds()
        first, second = (kinds.index(kind) for kind in order)
        assert second - first == 1
        items = next(event["items"] for event in client.seen if event["type"] == "context.restored")
        if mistake == "restored-as-parts":
            assert items[0]["content"] == [{"type": "input_audio", "transcript": "my name is peter"}]
            assert items[-1]["content"] == [{"type": "text", "text": "Hello, Peter."}]


def test_a_session_is_known_after_a_restart_unless_it_is_forgotten(tmp_path: Path) -> None:
    known = talked(tmp_path)
    with serving(tmp_path, "unknown-session") as url:
        assert mint(url, known).status_code == 404
    with serving(tmp_path, "resumed-as-new-id") as url:
        minted = mint(url, known).json()
        assert minted["id"] != known
        with opened(url, minted) as client:
            assert client.until("context.restored")["items"]


@pytest.mark.parametrize(
    ("mistake", "order"),
    [
        ("late-transcripts", ["response.done", "conversation.item.input_audio_transcription.completed"]),
        ("words-last", ["response.audio.done", "response.audio_transcript.delta"]),
        ("unknown-events", ["response.mood.delta", "session.created"]),
    ],
)
def test_mistakes_of_the_beta_shape_are_made_here_too(tmp_path: Path, mistake: str, order: list[str]) -> None:
    with serving(tmp_path, mistake) as url, opened(url, mint(url).json()) as client:
        client.ask("what time is it")
        client.until("response.done")
        client.send("input_audio_buffer.clear")
        client.until("input_audio_buffer.cleared")
        first, second = (client.kinds().index(kind) for kind in order)
        assert first < second


def test_a_mistake_that_is_made_once_is_not_made_again(tmp_path: Path) -> None:
    with serving(tmp_path, "session-expires") as url:
        first = mint(url).json()
        with opened(url, first) as client:
            client.ask("my name is peter")
            assert client.error()["code"] == "session_expired"
        with opened(url, mint(url, first["id"]).json()) as client:
            assert client.until("context.restored")["items"]
            client.ask("what is my name")
            assert "Peter" in client.answer()[0]


def test_all_mistakes_are_made_here() -> None:
    told = "".join(path.read_text() for path in Path(__file__).parent.glob("test_outspeed*.py"))
    own = MISTAKES - openai_mistakes.MISTAKES.keys() - openai_mistakes.ONCE.keys()
    assert not {mistake for mistake in own if f'"{mistake}"' not in told}
