"""The simulated Unmute, with a client that writes its Opus as the vendor's own does."""

from __future__ import annotations

import base64
import json
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from companion.simulators.ogg import FRAME_BYTES, OpusReader, OpusWriter
from companion.simulators.unmute import MISTAKES, Unmute, routes
from tests.companion.simulators.serving import served
from tests.companion.talk import recognised, silence, speech

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT_S = 20.0
TERSE = {"type": "constant", "text": "You are terse.", "language": "en"}
VOICE = "unmute-prod-website/p329_022.wav"
Frame = dict[str, Any]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One process, one engine: "/" without mistakes, "/MISTAKE" with one."""
    folder = tmp_path_factory.mktemp("unmute")
    with served(folder, Unmute, routes, MISTAKES) as url:
        yield url


class Client:
    """One connection."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.writer = OpusWriter()

    def send(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def update(self, instructions: Any = None, **more: Any) -> None:
        session = {"instructions": instructions, "voice": VOICE, "allow_recording": False, **more}
        self.send("session.update", session=session)

    def append(self, data: bytes) -> None:
        self.send("input_audio_buffer.append", audio=base64.b64encode(data).decode())

    def sound(self, pcm: bytes) -> None:
        for at in range(0, len(pcm), FRAME_BYTES):
            self.append(self.writer.write(pcm[at : at + FRAME_BYTES]))

    def say(self, words: str) -> None:
        self.sound(speech(words) + silence(800))

    def receive(self, seconds: float = WAIT_S) -> Frame:
        frame: Frame = json.loads(self.socket.recv(seconds))
        return frame

    def until(self, kind: str) -> list[Frame]:
        """Read up to one of this type."""
        found: list[Frame] = []
        while not found or found[-1]["type"] != kind:
            found.append(self.receive())
        return found

    def closed(self) -> tuple[int, str]:
        """Read to the end; returns the close code and the reason."""
        with pytest.raises(ConnectionClosed) as end:
            self.until("never")
        assert end.value.rcvd
        return end.value.rcvd.code, end.value.rcvd.reason


@contextmanager
def client(url: str, open_timeout: float = WAIT_S) -> Iterator[Client]:
    address = f"ws{url.removeprefix('http')}/v1/realtime"
    with connect(address, subprotocols=[Subprotocol("realtime")], open_timeout=open_timeout) as socket:
        assert socket.subprotocol == "realtime"
        yield Client(socket)


@contextmanager
def talking(url: str) -> Iterator[Client]:
    """A client whose bot has said its opening."""
    with client(url) as one:
        one.update(TERSE)
        one.sound(silence(200))
        one.until("response.audio.done")
        yield one


def deltas(frames: list[Frame], kind: str) -> str:
    said = (frame["delta"] for frame in frames if frame["type"] == kind)
    return " ".join(delta for delta in said if delta)


def user(frames: list[Frame]) -> str:
    return deltas(frames, "conversation.item.input_audio_transcription.delta")


def bot(frames: list[Frame]) -> str:
    return deltas(frames, "response.text.delta")


def pages(frames: list[Frame]) -> list[bytes]:
    return [base64.b64decode(frame["delta"]) for frame in frames if frame["type"] == "response.audio.delta"]


def kinds(frames: list[Frame]) -> list[str]:
    return [frame["type"] for frame in frames]


def test_it_says_nothing_until_it_is_told_to(service: str) -> None:
    with client(service) as one:
        with pytest.raises(TimeoutError):
            one.receive(0.3)
        one.update({"type": "smalltalk"}, turn_detection=None)
        answer = one.receive()
        assert answer["type"] == "session.updated"
        instructions = {"type": "smalltalk", "language": None}
        assert answer["session"] == {"instructions": instructions, "voice": VOICE, "allow_recording": False}


def test_the_bot_talks_first_once_it_hears_a_stream(service: str) -> None:
    with client(service) as one:
        one.update(TERSE)
        one.until("session.updated")
        stream = [one.writer.write(bytes(FRAME_BYTES)) for _ in range(4)]
        one.append(stream[1])  # no stream begins here: dropped without a word
        with pytest.raises(TimeoutError):
            one.receive(0.3)
        for page in stream:
            one.append(page)
        frames = one.until("response.audio.done")
        created = frames[0]
        assert created["type"] == "response.created"
        assert created["response"]["voice"] == VOICE
        assert created["response"]["chat_history"][0] == {"role": "system", "content": "You are terse."}
        assert bot(frames) == "Hello. What can I do for you?"
        first, *more = pages(frames)
        assert first[5] & 2
        assert not any(b"OpusHead" in page for page in more)


def test_a_spoken_conversation(service: str) -> None:
    reader = OpusReader()
    with client(service) as one:
        one.update(TERSE)
        one.sound(silence(200))
        reader.feed(b"".join(pages(one.until("response.audio.done"))))
        for asked, word in (("my name is peter", "peter"), ("what is my name", "peter")):
            one.say(asked)
            begun = time.monotonic()
            frames = one.until("response.audio.done")
            assert user(frames) == asked
            assert word in bot(frames).lower()
            pcm = reader.feed(b"".join(pages(frames)))
            assert word in recognised(pcm)
            assert time.monotonic() - begun > len(pcm) / 48_000 - 0.5  # in real time
            order = kinds(frames)
            assert order.index("input_audio_buffer.speech_stopped") < order.index("response.created")
            assert order.index("response.text.done") < order.index("response.audio.done")
            whole = next(frame["text"] for frame in frames if frame["type"] == "response.text.done")
            assert whole == bot(frames)
            assert "unmute.response.text.delta.ready" in order


def test_words_interrupt_the_bot_and_the_story_goes_on_where_it_was(service: str) -> None:
    with talking(service) as one:
        one.sound(silence(3000))
        one.say("tell me a story")
        begun = one.until("response.text.delta")
        while len(pages(begun)) < 50:
            begun += one.until("response.audio.delta")
        one.say("carry on")
        cut = one.until("unmute.interrupted_by_vad")
        assert "response.audio.done" not in kinds(cut)
        rest = one.until("response.created")
        history = rest[-1]["response"]["chat_history"]
        heard = next(said["content"] for said in reversed(history) if said["role"] == "assistant")
        assert heard == bot(begun + cut)
        assert user(cut + rest) == "carry on"
        while len(bot(rest).split()) < 3:
            rest += one.until("response.text.delta")
        assert bot(rest).split()[:3] == bot(begun).split()[:3]  # the sentence that was cut, again


def test_after_seven_seconds_of_received_silence_it_speaks_again(service: str) -> None:
    with talking(f"{service}/fast") as one:
        one.sound(silence(5000))
        frames = one.until("unmute.additional_outputs")
        assert "response.created" not in kinds(frames)
        one.sound(silence(2500))
        frames = one.until("response.created")
        assert kinds(frames)[-2:] == ["input_audio_buffer.speech_stopped", "response.created"]
        assert frames[-1]["response"]["chat_history"][-1] == {"role": "user", "content": "..."}


def test_after_a_farewell_it_hangs_up(service: str) -> None:
    with talking(f"{service}/fast") as one:
        one.say("good night")
        frames = one.until("response.audio.done")
        assert bot(frames).endswith("bye!")
        assert one.closed() == (1000, "")


@pytest.mark.parametrize(
    ("message", "kind", "loc"),
    [
        ('{"type":"session.update"}', "missing", ["session.update", "session"]),
        ('{"type":"session.update","session":[]}', "model_type", ["session.update", "session"]),
        (
            '{"type":"session.update","session":{}}',
            "missing",
            ["session.update", "session", "allow_recording"],
        ),
        (
            '{"type":"session.update","session":{"allow_recording":false,"voice":1}}',
            "string_type",
            ["session.update", "session", "voice"],
        ),
        ('{"type":"input_audio_buffer.commit"}', "union_tag_invalid", []),
        ('{"type":"response.create"}', "union_tag_invalid", []),
        ('{"type":"input_audio_buffer.append"}', "missing", ["input_audio_buffer.append", "audio"]),
        ("{}", "union_tag_not_found", []),
        ("[]", "model_attributes_type", []),
        ("{", "json_invalid", []),
    ],
)
def test_an_invalid_message_is_told_and_the_connection_kept(
    service: str, message: str, kind: str, loc: list[str]
) -> None:
    with client(service) as one:
        one.socket.send(message)
        fault = one.receive()["error"]
        assert (fault["type"], fault["message"]) == ("invalid_request_error", "Invalid message")
        assert (fault["details"][0]["type"], fault["details"][0]["loc"]) == (kind, loc)
        one.update()
        assert one.receive()["type"] == "session.updated"


@pytest.mark.parametrize(
    ("instructions", "kind"),
    [
        ({"character": "a", "scenario": "b"}, "union_tag_not_found"),
        ({"type": "poem"}, "union_tag_invalid"),
        ({"type": "constant"}, "missing"),
        ({"type": "news", "language": "de"}, "literal_error"),
        ("be brief", "model_attributes_type"),
    ],
)
def test_instructions_are_a_tagged_union(service: str, instructions: Any, kind: str) -> None:
    with client(service) as one:
        one.update(instructions)
        assert one.receive()["error"]["details"][0]["type"] == kind


@pytest.mark.parametrize("data", ["T2dn", "x", base64.b64encode(b"OggS\0\2" + bytes(40) + b"?").decode()])
def test_sound_that_is_no_stream_is_fatal(service: str, data: str) -> None:
    with client(service) as one:
        one.send("input_audio_buffer.append", audio=data)
        one.send("input_audio_buffer.append", audio=base64.b64encode(b"no page at all").decode())
        assert one.receive()["error"]["type"] == "fatal"
        assert one.closed()[0] == 1011


def test_a_fifth_client_waits_for_a_place(tmp_path: Path) -> None:
    with (
        served(tmp_path, Unmute, routes, ()) as url,
        client(url) as one,
        client(url),
        client(url),
        client(url),
    ):
        with pytest.raises(TimeoutError), client(url, open_timeout=0.5):
            pass
        one.socket.close()
        with client(url) as fifth:
            fifth.update()
            assert fifth.receive()["type"] == "session.updated"


def test_health_and_voices(service: str) -> None:
    health = httpx.get(f"{service}/v1/health").json()
    assert health == {"tts_up": True, "stt_up": True, "llm_up": True, "voice_cloning_up": True, "ok": True}
    voices = httpx.get(f"{service}/v1/voices").json()
    assert [voice["name"] for voice in voices] == ["Watercooler", "Quiz show", None]
    assert voices[0]["source"]["path_on_server"] == VOICE
    assert "comment" not in voices[0]
    assert httpx.get(f"{service}/unhealthy/v1/health").json()["ok"] is False
    assert isinstance(httpx.get(f"{service}/bad-voices/v1/voices").json(), dict)


def test_a_voice_is_added(service: str) -> None:
    url = f"{service}/v1/voices"
    name = httpx.post(url, files={"file": ("me.wav", b"RIFF" + bytes(1000))}).json()["name"]
    assert name.startswith("custom:")
    assert httpx.post(url, files={"file": ("me.wav", bytes(4 << 20))}).status_code == 413
    assert httpx.post(url, content=iter([b"no length"])).status_code == 411
    assert httpx.post(url, files={"other": ("me.wav", b"RIFF")}).status_code == 422
    sick = httpx.post(f"{service}/no-cloning/v1/voices", files={"file": ("me.wav", b"RIFF")})
    assert sick.status_code == 503


@pytest.mark.parametrize("mistake", ["unhealthy", "sick-socket"])
def test_a_sick_server_closes_without_an_error_event(service: str, mistake: str) -> None:
    with client(f"{service}/{mistake}") as one:
        code, reason = one.closed()
        assert code == 1011
        assert reason.startswith("Server is not healthy")


def test_a_full_server_lets_the_handshake_wait(service: str) -> None:
    with pytest.raises(TimeoutError), client(f"{service}/full", open_timeout=0.5):
        pass


def test_another_version_takes_character_and_scenario(service: str) -> None:
    with client(f"{service}/old-instructions") as one:
        one.update(TERSE)
        assert one.receive()["error"]["details"][0]["loc"][-1] == "character"
        one.update({"character": "a", "scenario": "b"})
        assert one.receive()["session"]["instructions"] == {"character": "a", "scenario": "b"}


def test_no_instructions_are_taken(service: str) -> None:
    with client(f"{service}/refuses-instructions") as one:
        for shape in (TERSE, {"character": "a", "scenario": "b"}):
            one.update(shape)
            assert one.receive()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(("mistake", "word"), [("busy", "Too many people"), ("stalls", "timed out")])
def test_a_service_behind_it_fails(service: str, mistake: str, word: str) -> None:
    with client(f"{service}/{mistake}") as one:
        with suppress(ConnectionClosed):  # one of them closes before it hears anything
            one.update(TERSE)
            one.sound(silence(200))
        frames = one.until("error")
        assert frames[-1]["error"]["type"] == "fatal"
        assert word in frames[-1]["error"]["message"]
        assert bool(pages(frames)) is (mistake == "stalls")
        code, reason = one.closed()
        assert (code, reason) == (1011, frames[-1]["error"]["message"])


def test_it_warns(service: str) -> None:
    with client(f"{service}/warns") as one:
        assert one.receive()["error"]["type"] == "warning"


def test_a_transcript_comes_after_the_stop(service: str) -> None:
    with talking(f"{service}/late-transcripts") as one:
        one.say("my name is peter")
        frames = one.until("response.created")
        stopped = kinds(frames).index("input_audio_buffer.speech_stopped")
        assert user(frames[:stopped]) == ""
        assert user(frames) == "my name is peter"


def test_events_of_a_later_version(service: str) -> None:
    with client(f"{service}/unknown-events") as one:
        one.update()
        assert one.receive()["type"] == "unmute.future.session.updated"
        assert "unmute_extra" in one.receive()


def test_sound_before_its_reply_is_announced(service: str) -> None:
    with client(f"{service}/out-of-order") as one:
        one.update(TERSE)
        one.sound(silence(200))
        order = kinds(one.until("response.created"))
        assert "response.audio.delta" in order


def test_a_reply_comes_faster_than_it_sounds(service: str) -> None:
    with talking(f"{service}/fast") as one:
        one.say("tell me a story")
        one.until("response.created")
        begun = time.monotonic()
        frames = one.until("response.audio.done")
        assert time.monotonic() - begun < len(pages(frames)) * 0.04 / 2
