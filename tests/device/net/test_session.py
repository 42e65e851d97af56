"""An open session: what comes in is sorted, and what makes no sense costs one line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from device.core import events as e
from device.core.grant import Grant
from device.dialects.openai import OpenAIDialect
from device.net.downlink import Downlink
from device.net.link import Link
from device.net.session import Session
from tests.device.net.test_downlink import FakePlayer
from tests.servers import ws_server

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
