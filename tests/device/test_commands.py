"""What the control socket may ask, against a daemon that keeps what it was told."""

from __future__ import annotations

from typing import Any

import pytest

from device.commands import answer
from device.core import events as e
from device.core.sessions import Turn


class FakeDaemon:
    """Keeps what it was told."""

    turns = (Turn("user", "hi"),)

    def __init__(self) -> None:
        self.told: list[Any] = []

    def edge(self, line: str, active: bool, at: float) -> None:
        self.told.append((line, active))

    def post(self, event: e.Event) -> None:
        self.told.append(event)

    def stop(self) -> None:
        self.told.append("stop")

    def status(self) -> dict[str, Any]:
        return {"state": "idle"}

    def events(self) -> list[dict[str, Any]]:
        return [{"event": "state"}]

    def set_volume(self, percent: int) -> None:
        self.told.append(percent)

    def check(self) -> dict[str, Any]:
        return {"device": "kitchen"}


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("press", [("button", True)]),
        ("release", [("button", False)]),
        ("tap", [("button", True), ("button", False)]),
        ("wake", [("wake", True)]),
        ("mute", [e.MuteSet(on=True)]),
        ("unmute", [e.MuteSet(on=False)]),
        ("forget", [e.Forgotten()]),
        ("quit", ["stop"]),
    ],
)
def test_orders_reach_the_daemon(command: str, told: list[Any]) -> None:
    daemon = FakeDaemon()
    assert answer(daemon, {"cmd": command}) == {"ok": True}
    assert daemon.told == told


def test_questions_are_answered() -> None:
    assert answer(FakeDaemon(), {"cmd": "status"}) == {"ok": True, "state": "idle"}
    assert answer(FakeDaemon(), {"cmd": "check"}) == {"ok": True, "device": "kitchen"}
    assert answer(FakeDaemon(), {"cmd": "events"}) == {"ok": True, "events": [{"event": "state"}]}
    assert answer(FakeDaemon(), {"cmd": "transcript"}) == {
        "ok": True,
        "turns": [{"role": "user", "text": "hi"}],
    }


def test_a_volume_is_a_whole_number_up_to_100() -> None:
    daemon = FakeDaemon()
    assert answer(daemon, {"cmd": "volume", "value": 40}) == {"ok": True, "volume": 40}
    for value in (None, True, 101, -1, "40", 4.5):
        assert (
            answer(daemon, {"cmd": "volume", "value": value})["error"]
            == "volume takes a whole number from 0 to 100"
        )
    assert daemon.told == [40]


@pytest.mark.parametrize("name", [None, 5, "dance", ["press"]])
def test_an_unknown_command_is_told_what_is_known(name: Any) -> None:
    refusal = answer(FakeDaemon(), {"cmd": name})
    assert not refusal["ok"]
    assert "known: check, events, forget, mute, press" in refusal["error"]
