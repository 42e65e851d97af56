"""What a talk may cost: counted over reboots, announced before the end, refused with a reason after."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from websockets.protocol import State

from tests.faults.scene import scene
from tests.servers import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.scene import Scene


def _notices(one: Scene, seconds: float, *, last: str) -> list[dict[str, Any]]:
    """Return what the device tells and plays until it tells a line with `last` in it."""
    told = []
    with one.device.watch(seconds) as events:
        for event in events:
            if event["event"] in ("notice", "chime"):
                told.append(event)
            if last in event.get("text", ""):
                return told
    raise AssertionError(last)


def _spent(one: Scene) -> dict[str, Any]:
    """Return today's bill; for a moment between two generations there is no file."""
    file = one.device.state / "sessions.json"
    book = json.loads(file.read_text()) if file.exists() else {"spent": {}}
    return dict(book["spent"].get(time.strftime("%Y-%m-%d"), {"seconds": 0, "tokens": 0}))


def _spend(folder: Path, seconds: float, tokens: int) -> None:
    """Leave a bill on disk, as yesterday's process would."""
    state = folder / "device" / "device-state"
    state.mkdir(parents=True)
    today = {time.strftime("%Y-%m-%d"): {"seconds": seconds, "tokens": tokens}}
    (state / "sessions.json").write_text(json.dumps({"version": 1, "sessions": {}, "spent": today}))


def test_a_session_in_which_nobody_speaks_is_hung_up(tmp_path: Path) -> None:
    with scene(tmp_path, more="[talk]\nidle_hangup_ms = 700\n") as one:
        assert one.answered()
        one.reach("idle")
        until(lambda: all(peer.state is State.CLOSED for peer in one.server.peers))
        until(lambda: 0.7 < _spent(one)["seconds"] < 30)


def test_the_longest_talk_ends_with_a_notice_before_and_a_reason_after(tmp_path: Path) -> None:
    with scene(tmp_path, more="[limits]\nlongest_talk_ms = 4000\nnotice_s = 2\n") as one:
        assert one.answered()
        told = _notices(one, 20, last="longest time")
        assert [event["sound"] for event in told if event["event"] == "chime"] == ["notice", "refused"]
        assert "may go on for 2 s more" in told[1]["text"]
        one.reach("idle")
        assert one.answered()


def test_the_minutes_of_a_day_outlive_a_kill_and_refuse_a_press(tmp_path: Path) -> None:
    _spend(tmp_path, seconds=56, tokens=0)
    with scene(tmp_path, more="[limits]\nday_minutes = 1\nnotice_s = 2\n") as one:
        assert one.answered()
        _notices(one, 20, last="1 min of this day are used up")
        until(lambda: _spent(one)["seconds"] >= 60)
        one.device.kill()
        one.device.start()
        one.device.ask("press")
        until(lambda: "used up" in (one.status()["fault"] or ""))
        assert one.status()["state"] == "idle"
        assert len(one.server.commits) == 1


def test_the_tokens_of_a_month_are_counted_and_refused(tmp_path: Path) -> None:
    _spend(tmp_path, seconds=0, tokens=90)
    with scene(tmp_path, more="[limits]\nmonth_tokens = 100\n") as one:
        one.server.tokens = 10
        with one.device.watch(20) as events:
            one.speak()
            reason = next(event["text"] for event in events if "used up" in event.get("text", ""))
        assert "tokens of this month" in reason
        until(lambda: _spent(one)["tokens"] == 100)
        one.reach("idle")


def test_typed_words_are_refused_like_a_press(tmp_path: Path) -> None:
    _spend(tmp_path, seconds=0, tokens=100)
    with scene(tmp_path, more="[limits]\nday_tokens = 100\n") as one:
        one.device.ask("say", more={"text": "hello"})
        until(lambda: "used up" in (one.status()["fault"] or ""))
        assert not one.server.peers
