"""The appliance with OpenAI in both shapes: thin links, servers that make mistakes, sessions that end."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rig.processes import Simulator
from rig.speech import SPOKEN_HZ, say
from tests.servers import until
from tests.stage import Stage, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHAPES = ("openai", "openai-beta")
ODD = ("late-transcripts", "words-last", "unknown-events", "odd-audio", "garbage", "late-audio")


@contextmanager
def openai(folder: Path, shape: str, *mistakes: str, session: str = "", device: str = "") -> Iterator[Stage]:
    """The service, a companion before it, a device; `session` and `device` are TOML."""
    table = f"[endpoints.default.session]\n{session}\n"
    with (
        Simulator(folder, shape, *mistakes) as service,
        served(folder, service, shape, table, device) as stage,
    ):
        yield stage


def write(stage: Stage, text: str) -> str:
    """Have written words answered; returns the reply's words."""
    with stage.device.watch(30) as events:
        stage.device.ask("say", more={"text": text})
        return next(
            str(event["text"])
            for event in events
            if event["event"] == "transcript" and event["role"] == "assistant" and event["final"]
        )


def said(stage: Stage) -> str:
    """Return the assistant's remembered words."""
    turns = stage.device.ask("transcript")["turns"]
    return " ".join(turn["text"] for turn in turns if turn["role"] == "assistant")


def idle(stage: Stage) -> None:
    """Wait until there is neither a session nor a wish for one."""
    until(lambda: stage.device.ask("status")["state"] == "idle", 20)


def told(events: Any, words: str) -> str:
    """Return the first notice that holds the words."""
    return next(
        str(event["text"]) for event in events if event["event"] == "notice" and words in event["text"]
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_a_talk_over_a_thin_link_goes_on_after_a_kill(tmp_path: Path, shape: str) -> None:
    with openai(tmp_path, shape, session='input_codec = "g711_ulaw"\noutput_codec = "g711_alaw"') as stage:
        assert "peter" in stage.ask("my name is peter")[1]
        stage.device.kill()
        stage.device.start()
        assert "Peter" in write(stage, "what is my name")  # in narrow band the ear mishears it
        assert stage.rung() == "seeded"


@pytest.mark.parametrize("shape", SHAPES)
def test_a_server_that_makes_every_harmless_mistake(tmp_path: Path, shape: str) -> None:
    with openai(tmp_path, shape, *ODD) as stage:
        assert "peter" in stage.ask("my name is peter")[1]
        assert "peter" in stage.ask("what is my name")[1]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_server_ends_turns_by_meaning_and_the_device_asks_for_the_reply(
    tmp_path: Path, shape: str
) -> None:
    talk = '[talk]\nmode = "open_mic"\nturn_end = "server"\n'
    settings = 'vad = "semantic"\nvad_eagerness = "high"\nvad_creates_response = false'
    with openai(tmp_path, shape, session=settings, device=talk) as stage:
        stage.device.ask("tap")
        until(lambda: stage.device.ask("status")["state"] == "listening", 15)
        stage.speak(np.concatenate([say("my name is peter"), np.zeros(2 * SPOKEN_HZ, np.int16)]))
        until(lambda: "Peter" in said(stage), 20)


def test_a_reply_in_writing(tmp_path: Path) -> None:
    with openai(tmp_path, "openai", session='output_modality = "text"') as stage:
        assert "Peter" in write(stage, "my name is peter")
        until(lambda: stage.device.ask("status")["state"] == "ready", 15)


@pytest.mark.parametrize("end", ["session-expires", "expires-silently"])
def test_a_session_that_ends_is_begun_anew_with_what_was_said(tmp_path: Path, end: str) -> None:
    with openai(tmp_path, "openai", end) as stage:
        stage.press("my name is peter")
        idle(stage)  # what had come of the reply was heard out
        assert "peter" in stage.ask("what is my name")[1]
        assert stage.rung() == "seeded"


def test_a_server_that_breaks_in_a_reply(tmp_path: Path) -> None:
    with openai(tmp_path, "openai", "breaks") as stage:
        stage.press("my name is peter")
        until(lambda: stage.device.ask("status")["session"] is None, 15)
        assert "peter" in stage.ask("my name is peter")[1]


def test_a_mint_that_fails_is_tried_again(tmp_path: Path) -> None:
    with openai(tmp_path, "openai", "rate-limited", "server-error") as stage:  # the first mint, the second
        assert "peter" in stage.ask("my name is peter")[1]


@pytest.mark.parametrize(
    ("shape", "mistake", "says"),
    [
        ("openai-beta", "beta-disabled", "use the GA profile"),
        ("openai", "key-refused", "check the provider's key"),
    ],
)
def test_what_cannot_get_better_is_told_with_its_mend_and_not_tried_again(
    tmp_path: Path, shape: str, mistake: str, says: str
) -> None:
    with openai(tmp_path, shape, mistake) as stage, stage.device.watch(30) as events:
        stage.press("my name is peter")
        assert says in told(events, says)
        idle(stage)


def test_a_mint_without_a_secret_is_told(tmp_path: Path) -> None:
    with openai(tmp_path, "openai", "no-secret") as stage, stage.device.watch(30) as events:
        stage.press("my name is peter")
        assert "/v1/realtime/client_secrets makes no sense" in told(events, "makes no sense")


def test_a_tool_call_is_refused_and_the_talk_goes_on(tmp_path: Path) -> None:
    with openai(tmp_path, "openai", "calls-a-tool") as stage:
        assert "peter" in stage.ask("my name is peter")[1]


def test_a_reply_that_fails_is_told(tmp_path: Path) -> None:
    with openai(tmp_path, "openai", "reply-fails", "no-room") as stage, stage.device.watch(30) as events:
        stage.press("my name is peter")
        assert "Out of quota" in told(events, "Out of quota")
        assert "peter" in stage.ask("what is my name")[1]
