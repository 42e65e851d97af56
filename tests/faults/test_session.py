"""Sessions that end, by plan or without warning: nothing said is lost, and nothing is said twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rig.processes import Companion, Simulator
from rig.proxy import Proxy
from rig.realtime import RATE
from rig.speech import say
from tests.faults.scene import scene, tone
from tests.servers import until
from tests.stage import CARD_HZ, served, wav_stage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.stage import Stage


def test_a_session_is_changed_in_a_silence_before_its_end(tmp_path: Path) -> None:
    with scene(tmp_path) as on:
        on.server.session_s = 14.0
        assert on.answered()
        until(lambda: len(on.server.opened) == 2, 20)  # half of a short life before its end
        on.reach("ready")
        assert on.server.opened[1] - on.server.opened[0] < 13
        assert on.server.seeds == ["hello", "a tone"]
        assert on.answered()
        assert "lost" not in on.said()


def test_an_expiry_without_warning_leaves_nobody_deaf(tmp_path: Path) -> None:
    with scene(tmp_path) as on:
        assert on.answered()
        on.server.expire()  # and the socket stays open
        on.reach("idle")
        until(lambda: "session_expired" in on.said())
        assert on.answered()
        assert on.server.seeds == ["hello", "a tone"]


def test_an_expiry_while_the_user_speaks_loses_no_word(tmp_path: Path) -> None:
    with scene(tmp_path) as on:
        assert on.answered()
        before = on.status()["counters"]
        on.server.forget()
        on.device.ask("press")
        with on.device.microphone.open("ab") as file:
            file.write(tone(1.0, CARD_HZ).tobytes())
        until(lambda: on.server.audio)
        on.server.expire()
        until(lambda: len(on.server.opened) == 2)
        on.server.forget()  # what the first session got: the second gets all of it again
        until(lambda: on.status()["counters"]["frames_captured"] > before["frames_captured"] + 60)
        on.device.ask("release")
        until(lambda: on.status()["counters"]["replies"] == before["replies"] + 1, 20)
        assert len(on.server.commits) == 1
        loud = int((np.abs(on.server.heard()) > 1000).sum()) / RATE / 0.92  # of a sine of 8000
        assert loud == pytest.approx(1.0, abs=0.03)


def test_a_session_that_falls_again_and_again_is_opened_with_pauses(tmp_path: Path) -> None:
    with scene(tmp_path) as on:
        on.server.falls = 3
        assert on.answered()
        assert len(on.server.opened) == 4
        assert on.said().count("next attempt in") == 2  # the first time it is tried at once


def said_by(stage: Stage, role: str) -> list[str]:
    return [turn["text"] for turn in stage.device.ask("transcript")["turns"] if turn["role"] == role]


def test_a_turn_that_was_taken_before_the_cut_is_not_said_twice(tmp_path: Path) -> None:
    with (
        Companion(tmp_path / "companion") as companion,
        Proxy(companion.url) as proxy,
        wav_stage(
            tmp_path, None, backend=f'url = "{proxy.url}"\ntoken_file = "{companion.token_file}"'
        ) as stage,
    ):
        assert "peter" in stage.ask("my name is peter")[1]
        proxy.stall("down")  # the server hears the device, and not the other way round
        stage.press("what is my name")
        [memory] = (tmp_path / "companion" / "companion-state" / "sessions").glob("*.json")

        def users() -> list[str]:
            items = json.loads(memory.read_text())["items"]
            return [item["text"] for item in items if item["role"] == "user"]

        until(lambda: len(users()) == 2 and users()[1], 15)
        proxy.resume()
        proxy.cut()
        until(lambda: len(said_by(stage, "assistant")) == 2, 30)
        until(lambda: stage.device.ask("status")["state"] == "ready", 20)
        assert "Peter" in said_by(stage, "assistant")[1]
        assert stage.rung() == "live"
        assert len(users()) == 2
        assert len(said_by(stage, "user")) == 2


def test_a_server_that_falls_at_the_commit_has_the_turn_once(tmp_path: Path) -> None:
    by_socket = 'outspeed.transport = "websocket"'
    with Simulator(tmp_path, "outspeed", "falls-at-commit") as service:
        url = f'realtime_url = "{service.url.replace("http", "ws", 1)}/v1/realtime"'
        with served(tmp_path, service, "outspeed", by_socket, more=url) as stage:
            stage.press("my name is peter")
            until(lambda: said_by(stage, "assistant"), 30)
            assert "Peter" in said_by(stage, "assistant")[0]
            assert len(said_by(stage, "user")) == 1


def test_a_turn_of_an_open_talk_that_the_server_took_is_not_said_twice(tmp_path: Path) -> None:
    with (
        Companion(tmp_path / "companion") as companion,
        Proxy(companion.url) as proxy,
        wav_stage(
            tmp_path,
            None,
            '[talk]\nmode = "open_mic"\nturn_end = "server"\n',
            backend=f'url = "{proxy.url}"\ntoken_file = "{companion.token_file}"',
        ) as stage,
    ):
        words = say("my name is peter")
        with stage.device.watch(40) as events:
            stage.device.ask("tap")
            until(lambda: stage.device.ask("status")["state"] == "listening", 20)
            stage.speak(words)
            next(event for event in events if event["event"] == "state" and event["state"] == "awaiting")
            proxy.cut()
            until(lambda: said_by(stage, "assistant"), 30)
        assert "Peter" in said_by(stage, "assistant")[0]
        assert len(said_by(stage, "user")) == 1
