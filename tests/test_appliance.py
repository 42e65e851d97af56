"""The whole appliance: both commands as processes, speech in, speech out, a kill, a resume."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rig.processes import Companion
from rig.speech import say
from tests.servers import until
from tests.stage import Stage, card_stage, wav_stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


@pytest.fixture
def companion(tmp_path: Path) -> Iterator[Companion]:
    with Companion(tmp_path / "companion") as running:
        yield running


@pytest.mark.parametrize("stage", [wav_stage, card_stage])
def test_a_conversation_is_held_and_resumed_after_a_kill(
    tmp_path: Path, companion: Companion, stage: Callable[..., AbstractContextManager[Stage]]
) -> None:
    with stage(tmp_path, companion) as one:
        understood, heard = one.ask("my name is peter")
        assert "peter" in understood.lower()
        assert "peter" in heard
        assert one.rung() == "fresh"
        one.device.kill()
        one.device.start()
        understood, heard = one.ask("what is my name")
        assert "name" in understood.lower()
        assert "peter" in heard
        assert one.rung() == "live"


def test_a_restart_of_both_ends_still_knows_the_name(tmp_path: Path, companion: Companion) -> None:
    with wav_stage(tmp_path, companion) as one:
        one.ask("my name is peter")
        one.device.kill()
        companion.kill()
        companion.start()
        one.device.start()
        assert "peter" in one.ask("what is my name")[1]


@pytest.mark.parametrize("turn_end", ["server", "client"])
def test_an_open_talk_goes_hands_free_from_turn_to_turn(
    tmp_path: Path, companion: Companion, turn_end: str
) -> None:
    more = f'[talk]\nmode = "open_mic"\nturn_end = "{turn_end}"\n'
    with wav_stage(tmp_path, companion, more) as one, one.device.watch(40) as events:
        one.device.ask("tap")
        for text, word in (("my name is peter", "peter"), ("what is my name", "peter")):
            until(lambda: one.device.ask("status")["state"] == "listening", 20)
            one.speak(say(text))
            reply = next(
                event["text"]
                for event in events
                if event["event"] == "transcript" and event["role"] == "assistant" and event["final"]
            )
            assert word in reply.lower()
        until(lambda: one.device.ask("status")["state"] == "listening", 20)
        one.device.ask("tap")
        until(lambda: one.device.ask("status")["state"] == "ready", 20)


def test_a_wake_in_push_to_talk_takes_one_turn_by_voice(tmp_path: Path, companion: Companion) -> None:
    with wav_stage(tmp_path, companion) as one, one.device.watch(40) as events:
        one.device.ask("wake")
        one.speak(say("my name is peter"))
        reply = next(
            event["text"]
            for event in events
            if event["event"] == "transcript" and event["role"] == "assistant" and event["final"]
        )
        assert "peter" in reply.lower()
        until(lambda: one.device.ask("status")["state"] == "ready", 20)
