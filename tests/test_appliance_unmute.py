"""The appliance with Unmute: straight at the server, oddly behaved, and with a button held too long."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from rig.processes import Companion, Simulator
from rig.speech import hear, say
from tests.servers import until
from tests.stage import CARD_HZ, Stage, wav_stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_VOICE = '\n[unmute]\ncharacter = "You are terse."\nvoice = "Watercooler"\nlanguage = "en"\n'


@contextmanager
def straight(folder: Path, *mistakes: str, more: str = _VOICE) -> Iterator[Stage]:
    """The server and a device, with nothing in between."""
    with Simulator(folder, "unmute", *mistakes) as service:
        backend = f'kind = "unmute"\nurl = "{service.url}"'
        with wav_stage(folder, None, more, backend=backend) as stage:
            yield stage


def notice(events: Any, words: str) -> str:
    """Return the first notice that holds the words."""
    return next(
        str(event["text"]) for event in events if event["event"] == "notice" and words in event["text"]
    )


def speak(stage: Stage, text: str, after_s: float = 0.3) -> None:
    """Hold the button while saying `text`, and `after_s` longer."""
    stage.device.ask("press")
    captured = stage.captured()
    seconds = stage.speak(say(text))
    until(lambda: stage.captured() > captured + (seconds + after_s) * 50, 15)
    stage.device.ask("release")


def states(events: Any, wanted: str) -> None:
    """Wait for a state."""
    next(event for event in events if event["event"] == "state" and event["state"] == wanted)


def test_straight_at_a_server_in_the_local_network(tmp_path: Path) -> None:
    with straight(tmp_path) as stage:
        assert "peter" in stage.ask("my name is peter")[1]
        understood, heard = stage.ask("what is my name")
        assert (understood, "peter" in heard) == ("what is my name", True)
        stage.device.kill()
        stage.device.start()
        assert "peter" in stage.ask("what is my name")[1]
        assert stage.rung() == "seeded"


def test_another_version_late_words_unknown_events_warnings_and_sound_out_of_order(tmp_path: Path) -> None:
    odd = ("old-instructions", "late-transcripts", "unknown-events", "warns", "out-of-order")
    with straight(tmp_path, *odd) as stage, stage.device.watch(30) as events:
        understood, heard = stage.ask("my name is peter")
        assert (understood, "peter" in heard) == ("my name is peter", True)
        assert "expect some latency" in notice(events, "expect")


def test_a_reply_faster_than_it_sounds_through_a_companion(tmp_path: Path) -> None:
    with Simulator(tmp_path, "unmute", "fast") as service:
        tables = f'[endpoints.default]\nprovider = "unmute"\n[providers.unmute]\nbase_url = "{service.url}"\n'
        with (
            Companion(tmp_path / "companion", tables=tables) as companion,
            wav_stage(tmp_path, companion) as stage,
        ):
            assert "peter" in stage.ask("my name is peter")[1]
            assert "peter" in stage.ask("what is my name")[1]


def test_an_answer_that_came_while_the_button_was_held_is_heard_whole(tmp_path: Path) -> None:
    with straight(tmp_path) as stage, stage.device.watch(30) as events:
        speak(stage, "my name is peter", after_s=4.0)
        states(events, "ready")
        assert hear(stage._listen(), CARD_HZ).startswith("hello peter")


def test_a_turn_without_words_is_answered_by_the_servers_own_prompt(tmp_path: Path) -> None:
    with straight(tmp_path) as stage, stage.device.watch(30) as events:
        stage.device.ask("press")
        captured = stage.captured()
        until(lambda: stage.captured() > captured + 50, 15)
        stage.device.ask("release")
        states(events, "speaking")  # seven seconds after the opening, which nobody heard


def test_words_over_a_reply_silence_it_and_are_answered(tmp_path: Path) -> None:
    with straight(tmp_path) as stage, stage.device.watch(40) as events:
        speak(stage, "tell me a story")
        states(events, "speaking")
        understood, heard = stage.ask("what time is it")
        assert "time" in understood
        assert "lighthouse" not in heard


def test_in_an_open_talk_the_bot_speaks_first(tmp_path: Path) -> None:
    talk = '[talk]\nmode = "open_mic"\nturn_end = "server"\n'
    with straight(tmp_path, more=talk + _VOICE) as stage, stage.device.watch(40) as events:
        stage.device.ask("tap")
        states(events, "speaking")
        states(events, "listening")
        opening = stage._listen()
        assert "do for you" in hear(opening, CARD_HZ)
        stage.speak(say("my name is peter"))
        states(events, "speaking")
        states(events, "listening")
        assert "peter" in hear(stage._listen()[len(opening) :], CARD_HZ)


@pytest.mark.parametrize(
    ("mistake", "line"),
    [
        ("unhealthy", "is not well; down: tts"),
        ("sick-socket", "1011 Server is not healthy: tts is down"),
        ("busy", "Too many people are connected to service 'tts'"),
        ("refuses-instructions", "session.update.session.instructions: Value error, no"),
        ("full", "did not answer the handshake within 2 s"),
        ("bad-voices", "voice list makes no sense"),
    ],
)
def test_a_server_that_cannot_serve_is_told(tmp_path: Path, mistake: str, line: str) -> None:
    with straight(tmp_path, mistake) as stage, stage.device.watch(30) as events:
        stage.device.ask("press")
        assert line in notice(events, line)


def test_a_service_that_fails_in_the_middle_of_a_reply_is_told_and_the_talk_goes_on(tmp_path: Path) -> None:
    with straight(tmp_path, "stalls") as stage, stage.device.watch(30) as events:
        speak(stage, "my name is peter", after_s=0.1)
        assert "Service 'stt' timed out" in notice(events, "timed out")
