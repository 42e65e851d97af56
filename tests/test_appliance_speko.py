"""The appliance with Speko in all its forms: straight at a user's backend, oddly behaved, provider-direct."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from rig.processes import Simulator
from rig.speech import say
from tests.servers import until
from tests.stage import Stage, notice, served, wav_stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def speko(folder: Path, *mistakes: str, endpoint: str = "", more: str = "") -> Iterator[Stage]:
    """The service, a companion before it, a device."""
    with (
        Simulator(folder, "speko", *mistakes) as service,
        served(folder, service, "speko", endpoint, more) as stage,
    ):
        yield stage


def test_straight_at_a_users_own_backend(tmp_path: Path) -> None:
    with Simulator(tmp_path, "speko") as service:
        backend = f'kind = "realtime-session"\nurl = "{service.url}"'
        with wav_stage(tmp_path, None, backend=backend) as stage:
            assert "peter" in stage.ask("my name is peter")[1]
            assert "peter" in stage.ask("what is my name")[1]
            stage.device.kill()
            stage.device.start()
            assert "not told me" in stage.ask("what is my name")[1]
            assert stage.rung() == "fresh"


def test_other_rates_torn_samples_unknown_frames_late_and_corrected_words(tmp_path: Path) -> None:
    odd = (
        "no-echo",
        "other-rates",
        "odd-frames",
        "unknown-frames",
        "late-transcripts",
        "rewritten-transcripts",
    )
    with speko(tmp_path, *odd) as stage, stage.device.watch(30) as events:
        assert "peter" in stage.ask("my name is peter")[1]
        said = [event for event in events_until_said(events) if event["role"] == "assistant"]
        assert said[-1]["text"] == "Hello, Peter. Nice to meet you."
        assert "peter" in stage.ask("what is my name")[1]


def events_until_said(events: Any) -> list[dict[str, Any]]:
    """Return the transcripts up to the reply's final one."""
    found: list[dict[str, Any]] = []
    for event in events:
        if event["event"] == "transcript":
            found.append(event)
            if event["role"] == "assistant" and event["final"]:
                return found
    raise AssertionError("the events ended")


def test_without_transcripts_and_rates_a_reply_ends_when_the_wire_falls_quiet(tmp_path: Path) -> None:
    with speko(tmp_path, "no-transcripts", "bad-rates") as stage, stage.device.watch(30) as events:
        stage.press("my name is peter")
        states = (event["state"] for event in events if event["event"] == "state")
        assert "speaking" in iter(lambda: next(states), "ready")


def test_what_the_server_says_before_it_is_ready_and_hangs_up_is_told(tmp_path: Path) -> None:
    with speko(tmp_path, "error-before-ready") as stage, stage.device.watch(30) as events:
        stage.device.ask("press")
        assert "S2S_PROVIDER_CONNECT_FAILED: openai-realtime: invalid model" in notice(events, "S2S")


def test_a_session_that_has_ended_is_followed_by_a_new_one(tmp_path: Path) -> None:
    with speko(tmp_path, "ends-at-ttl") as stage, stage.device.watch(30) as events:
        stage.press("my name is peter")
        notice(events, "has ended the session: ttl")
        until(lambda: stage.device.ask("status")["state"] in ("idle", "ready"), 10)
        stage.press("what is my name")
        next(event for event in events if event["event"] == "transcript" and "not told me" in event["text"])


@pytest.mark.parametrize("mistake", ["interrupts", "interrupts-late"])
def test_a_reply_that_the_server_takes_back_falls_silent_and_the_talk_goes_on(
    tmp_path: Path, mistake: str
) -> None:
    with speko(tmp_path, mistake) as stage, stage.device.watch(30) as events:
        stage.press("tell me a story")
        next(event for event in events if event["event"] == "state" and event["state"] == "ready")
        understood, heard = stage.ask("what time is it")
        assert "time" in understood
        assert "lighthouse" not in heard


def test_a_socket_that_breaks_in_the_middle_of_a_reply_is_told(tmp_path: Path) -> None:
    with speko(tmp_path, "falls") as stage, stage.device.watch(30) as events:
        stage.press("my name is peter")
        assert "1011 Provider connection lost" in notice(events, "lost the session")


def test_openai_directly_goes_by_the_gateway_and_its_use_is_reported(tmp_path: Path) -> None:
    with Simulator(tmp_path, "speko", "provider-direct") as service:

        def reported() -> set[str]:
            bodies = [report["body"] for report in httpx.get(f"{service.url}/reports").json()]
            return {event["type"] for body in bodies for event in body.get("events", [{"type": "bound"}])}

        with served(tmp_path, service, "speko") as stage:
            assert "peter" in stage.ask("my name is peter")[1]
            assert "peter" in stage.ask("what is my name")[1]
            assert "bound" in reported()
            assert "session.closed" not in reported()
            stage.device.kill()
            until(lambda: reported() == {"bound", "usage.reported", "session.closed"}, 15)


@pytest.mark.parametrize("greeting", [(), ("older-xai",)])
def test_xai_directly_and_seeded_after_a_kill(tmp_path: Path, greeting: tuple[str, ...]) -> None:
    own = '[endpoints.default.session]\nvoice = "eve"\n[endpoints.default.speko]\nprovider = "xai"\n'
    with speko(tmp_path, "provider-direct", *greeting, endpoint=own) as stage:
        assert "peter" in stage.ask("my name is peter")[1]
        assert stage.rung() == "fresh"
        stage.device.kill()
        stage.device.start()
        assert "peter" in stage.ask("what is my name")[1]
        assert stage.rung() == "seeded"


@pytest.mark.parametrize(("turn_end", "manner"), [("server", ["server-turns"]), ("client", [])])
def test_an_open_talk_goes_hands_free_from_turn_to_turn(
    tmp_path: Path, turn_end: str, manner: list[str]
) -> None:
    talk = f'[talk]\nmode = "open_mic"\nturn_end = "{turn_end}"\n'
    with speko(tmp_path, *manner, more=talk) as stage, stage.device.watch(40) as events:
        stage.device.ask("tap")
        for text in ("my name is peter", "what is my name"):
            until(lambda: stage.device.ask("status")["state"] == "listening", 20)
            stage.speak(say(text))
            assert "Peter" in events_until_said(events)[-1]["text"]
        until(lambda: stage.device.ask("status")["state"] == "listening", 20)
