"""An open session: what comes in is sorted, and what makes no sense costs one line."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from device.core import events as e
from device.core.grant import Encoding, Grant
from device.dialects.dialect import Decoded, ReplyAudio, Send
from device.dialects.openai import OpenAIDialect
from device.dialects.plain import PlainDialect
from device.net.downlink import Downlink
from device.net.link import Link
from device.net.session import Session
from tests.device.net.test_downlink import FakePlayer
from tests.servers import until, ws_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.sync.server import ServerConnection


def run(serve: Callable[[ServerConnection], None], frame_limit: int = 1 << 20) -> list[e.Event]:
    """Run a session against `serve` until it ends; returns what it reported."""
    events: list[e.Event] = []
    with ws_server(serve, max_size=None) as url:
        grant = Grant("openai", url)
        dialect = OpenAIDialect(1, grant, (), 0.0)
        downlink = Downlink(FakePlayer())
        dial = lambda: Link(grant, frame_limit=frame_limit)  # noqa: E731 # a function to be called later
        session = Session(1, dial, dialect, downlink, on_event=events.append)
        session.run()
        session.close()
    return events


def test_an_oversized_message_is_told_and_the_session_goes_on() -> None:
    def serve(peer: ServerConnection) -> None:
        peer.send("x" * 10_000_000)
        peer.send(json.dumps({"type": "input_audio_buffer.speech_started"}))

    events = run(serve)
    assert "oversized" in str(events[0])
    assert events[1] == e.SpeechStarted("server")
    assert isinstance(events[2], e.Lost)


def test_a_message_that_makes_no_sense_is_told_and_the_session_goes_on() -> None:
    def serve(peer: ServerConnection) -> None:
        peer.send("{")
        peer.send(json.dumps({"type": "input_audio_buffer.speech_stopped"}))

    events = run(serve)
    assert isinstance(events[0], e.Troubled)
    assert events[1] == e.SpeechEnded("server")


def test_the_end_is_reported_with_its_code() -> None:
    events = run(lambda peer: peer.close(1011, "busy"))
    assert len(events) == 1
    lost = events[0]
    assert isinstance(lost, e.Lost)
    assert "1011 busy" in lost.reason


class Words(PlainDialect):
    """A protocol of single words, to see what a session makes of what a dialect says."""

    def __init__(self, grant: Grant, redial_s: float | None = None) -> None:
        super().__init__(1, grant, (), 0.0)
        self._redial_s = redial_s

    def opening(self) -> list[Decoded]:
        return [Send("hello"), e.Opened(1, "s", "words", "fresh")]

    def reopened(self) -> list[Decoded]:
        return [Send("again")]

    def redial(self, code: int | None) -> float | None:
        return self._redial_s if code != 1000 else None

    def mend(self, _code: int | None) -> str:
        return "; mend it"

    def ping(self) -> list[Decoded]:
        return [Send("ping")]

    def closing(self) -> list[Decoded]:
        return [Send("bye")]

    def end_turn(self) -> list[Decoded]:
        return [e.ReplyEnded(1, "r", audio=False)]

    def audio(self, sound: bytes) -> bytes:
        return sound

    def decode(self, frame: str | bytes) -> list[Decoded]:
        if frame == "end":
            return [e.ReplyEnded(1, "r", audio=True)]
        if isinstance(frame, bytes):
            return [ReplyAudio("r", "i", frame)]
        mime, _, item = frame.partition(" ")
        return [ReplyAudio("r", item, b"\1\2\3", mime)]


class Stage:
    """A session of `Words` against a server, in a thread."""

    def __init__(self, url: str, dialect: Words) -> None:
        self.events: list[e.Event] = []
        self.player = FakePlayer()
        self.downlink = Downlink(self.player)
        self.downlink.admit("1.1")  # the first reply, as the session names it
        grant = Grant("openai", url)
        self.session = Session(1, lambda: Link(grant), dialect, self.downlink, on_event=self.events.append)
        self.thread = threading.Thread(target=self.session.run)
        self.thread.start()
        until(lambda: self.session.opened or self.events)

    def lost(self) -> e.Lost:
        self.thread.join(10)
        self.session.close()
        lost = self.events[-1]
        assert isinstance(lost, e.Lost)
        return lost


def words(**fields: Any) -> Words:
    redial_s = fields.pop("redial_s", None)
    return Words(Grant("openai", "ws://x", **fields), redial_s)


def test_sound_is_encoded_on_its_way_out_and_decoded_on_its_way_in() -> None:
    got: list[str | bytes] = []
    ulaw = Encoding("g711_ulaw", 8000)

    def serve(peer: ServerConnection) -> None:
        got.extend((peer.recv(), peer.recv()))
        peer.send(b"\xff\x80")
        peer.send("end")

    with ws_server(serve) as url:
        stage = Stage(url, words(input=ulaw, output=ulaw))
        assert stage.session.input_rate == 8000
        stage.session.send_audio(np.array([0, 32000], "<i2").tobytes())
        stage.lost()
    assert got == ["hello", b"\xff\x80"]
    assert stage.player.played == [("1.1", np.array([0, 32124], "<i2").tobytes())]


def test_a_message_may_name_its_own_kind_of_sound() -> None:
    def serve(peer: ServerConnection) -> None:
        peer.recv()
        peer.send("audio/pcm;rate=16000")
        peer.send("end")
        peer.send("audio/midi")
        peer.send("audio/midi")

    with ws_server(serve) as url:
        stage = Stage(url, words())
        stage.lost()
    assert stage.player.played == [("1.1", b"\1\2")]
    told = [event for event in stage.events if isinstance(event, e.Troubled)]
    assert len(told) == 1
    assert "'audio/midi'" in told[0].text


@pytest.mark.parametrize(("kind", "audible"), [("audio/midi", False), ("audio/pcm", True)])
def test_a_reply_of_which_nothing_can_be_heard_has_no_sound(kind: str, *, audible: bool) -> None:
    def serve(peer: ServerConnection) -> None:
        peer.recv()
        peer.send(kind)
        peer.send("end")

    with ws_server(serve) as url:
        stage = Stage(url, words())
        stage.lost()
    ended = [event for event in stage.events if isinstance(event, e.ReplyEnded)]
    assert [event.audio for event in ended] == [audible]


def test_each_item_of_a_reply_is_a_stream_of_its_own() -> None:
    def serve(peer: ServerConnection) -> None:
        peer.recv()
        for frame in ("audio/pcm one", "audio/pcm one", "audio/pcm two"):
            peer.send(frame)

    with ws_server(serve) as url:
        stage = Stage(url, words())
        stage.lost()
    assert [pcm for _, pcm in stage.player.played] == [b"\1\2", b"\3\1\2\3", b"\1\2"]


def test_a_link_that_broke_is_dialled_again_where_the_protocol_allows_it() -> None:
    greetings: list[str | bytes] = []

    def serve(peer: ServerConnection) -> None:
        greetings.append(peer.recv())
        peer.close(1000 if greetings[-1] == "again" else 1011)

    with ws_server(serve) as url:
        lost = Stage(url, words(redial_s=0.01)).lost()
    assert greetings == ["hello", "again"]
    assert lost.reason.endswith("closed the session with 1000; mend it")


def test_a_close_while_a_link_is_dialled_again_leaves_no_session_behind() -> None:
    gone = threading.Event()

    def first(peer: ServerConnection) -> None:
        peer.recv()
        peer.close(1011)

    def second(peer: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            peer.recv()
        gone.set()

    sessions: list[Session] = []
    with ws_server(first) as url, ws_server(second) as other:
        urls = [url, other]

        def dial() -> Link:
            link = Link(Grant("openai", urls.pop(0)))
            if not urls:
                sessions[0].close()  # at the worst of moments: the new link is open, and nobody knows it yet
            return link

        events: list[e.Event] = []
        downlink = Downlink(FakePlayer())
        session = Session(1, dial, words(redial_s=0.0), downlink, on_event=events.append)
        sessions.append(session)
        thread = threading.Thread(target=session.run, daemon=True)
        thread.start()
        thread.join(5)
        assert not thread.is_alive()
        assert gone.wait(5)
    assert isinstance(events[-1], e.Lost)


def test_redialling_ends_when_nobody_answers() -> None:
    gone = threading.Event()

    def serve(peer: ServerConnection) -> None:
        peer.recv()
        gone.wait(10)

    with ws_server(serve) as url:
        stage = Stage(url, words(redial_s=0.0))
        gone.set()
    assert stage.lost().reason.endswith("; mend it")


def test_an_order_may_be_answered_with_a_fact_at_once() -> None:
    enough = threading.Event()

    def serve(_peer: ServerConnection) -> None:
        enough.wait(10)

    with ws_server(serve) as url:
        stage = Stage(url, words())
        stage.session.end_turn()
        assert stage.events[-1] == e.ReplyEnded(1, "1.1", audio=False)
        enough.set()
        assert stage.lost().reason


def test_pings_and_the_farewell_of_a_protocol_are_sent() -> None:
    got: list[str | bytes] = []

    def serve(peer: ServerConnection) -> None:
        got.extend(peer)

    dialect = words()
    dialect.ping_s = 0.01
    with ws_server(serve) as url:
        stage = Stage(url, dialect)
        until(lambda: got.count("ping") >= 2)
        stage.session.close()
        stage.thread.join(10)
        until(lambda: "bye" in got)
    assert got[0] == "hello"
    assert got[-1] == "bye"


def test_an_unsafe_word_and_a_name_used_twice_go_no_further_than_the_session() -> None:
    def serve(peer: ServerConnection) -> None:
        for _ in range(2):
            peer.send(json.dumps({"type": "response.created", "response": {"id": "r"}}))
            words = {"response_id": "r", "delta": "\x1b[2J" + "x" * 1_000_000}
            peer.send(json.dumps({"type": "response.output_text.delta", **words}))
            peer.send(json.dumps({"type": "response.done", "response": {"id": "r", "status": "completed"}}))

    events = run(serve, frame_limit=4 << 20)
    assert [event.reply_id for event in events if isinstance(event, e.ReplyStarted)] == ["1.1", "1.2"]
    texts = [event.text for event in events if isinstance(event, e.ReplyText)]
    assert [len(text) for text in texts] == [10_000, 10_000]
    assert texts[0].startswith(" [2Jx")


def test_a_reply_of_many_streams_without_an_end_has_few_decoders() -> None:
    def serve(peer: ServerConnection) -> None:
        peer.recv()
        for n in range(100):
            peer.send(f"audio/pcm item {n}")

    with ws_server(serve) as url:
        dialect = Replies(Grant("openai", url))
        stage = Stage(url, dialect)
        stage.lost()
        assert len(stage.session._pieces) <= 8


class Replies(Words):
    """Each frame is of a reply of its own."""

    def decode(self, frame: str | bytes) -> list[Decoded]:
        assert isinstance(frame, str)
        return [ReplyAudio(frame, "i", b"\1\2", "audio/pcm")]
