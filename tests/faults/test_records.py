"""What the device says of itself: the ledger against what a server received, the last events, the log."""

from __future__ import annotations

import json
import re
import tarfile
import wave
from typing import TYPE_CHECKING

import numpy as np

from device.bundle import pack
from device.system.ledger_reader import read_ledger
from rig.realtime import RATE
from tests.faults.scene import scene, supervised, tone
from tests.servers import until
from tests.stage import CARD_HZ, samples

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from device.system.ledger_reader import Interval
    from tests.faults.scene import Scene

_FRAME_S = 0.02


def ledger(one: Scene, *, running: bool) -> list[Interval]:
    account = read_ledger(one.device.state, running=running)
    assert account.broken == 0
    return account.intervals


def sent_s(one: Scene) -> float:
    """Return the seconds of sound that the server received since it last forgot."""
    return len(one.server.heard()) / RATE


def hold(one: Scene, seconds: float, command: str = "press") -> None:
    """Press and go on speaking; returns when the server has received so much."""
    one.device.ask(command)
    with one.device.microphone.open("ab") as file:
        file.write(tone(seconds + 2, CARD_HZ).tobytes())
    until(lambda: sent_s(one) > seconds, 20)


def settled(one: Scene, count: int) -> list[Interval]:
    """Return the ledger's intervals once `count` of them are whole."""
    until(lambda: sum(each.how == "whole" for each in ledger(one, running=True)) >= count, 20)
    return ledger(one, running=True)


def test_every_second_that_a_server_received_is_in_the_ledger(tmp_path: Path) -> None:
    received: list[float] = []
    with scene(tmp_path, reply_s=0.2) as one:
        assert one.answered()  # by the button
        received.append(sent_s(one))
        one.server.forget()
        hold(one, 0.5, "wake")  # by the wake line, until the button ends it
        one.device.ask("press")
        one.device.ask("release")
        one.reach("ready")
        received.append(sent_s(one))
        intervals = settled(one, 2)
        assert [each.why for each in intervals] == ["button", "wake"]
        for each, seconds in zip(intervals, received, strict=True):
            assert each.seconds is not None
            assert abs(each.seconds - seconds) <= _FRAME_S
            assert each.bytes is not None
            assert abs(each.bytes / 2 / RATE - each.seconds) < 0.001
            assert each.host == one.server.realtime_url.split("/")[2]
            assert each.endpoint == "default"
        status, _ = one.end()
        assert status == 0
        assert ledger(one, running=False) == intervals


def test_a_turn_that_is_sent_twice_is_in_the_ledger_twice(tmp_path: Path) -> None:
    with scene(tmp_path, reply_s=0.2) as one:
        hold(one, 0.6)
        one.server.cut()
        before = sent_s(one)
        until(lambda: sent_s(one) > before + 1.0, 20)
        one.device.ask("release")
        one.reach("ready")
        first, again = settled(one, 2)
        assert (first.why, again.why) == ("button", "button, sent again")
        assert first.seconds is not None
        assert again.seconds is not None
        # What was handed over while the cut was on its way is counted too: never less than was received.
        assert -_FRAME_S <= first.seconds + again.seconds - sent_s(one) < 0.3


def test_a_kill_in_mid_speech_leaves_no_gap_in_the_ledger(tmp_path: Path) -> None:
    with scene(tmp_path, reply_s=0.2) as one:
        hold(one, 1.0)
        one.device.kill()
        [cut] = ledger(one, running=False)
        assert cut.how == "cut off"
        seconds = cut.seconds
        assert seconds is not None
        until(lambda: sent_s(one) >= seconds - 3 * _FRAME_S)  # what was handed over, less what was in between
        assert seconds > sent_s(one) - 0.5  # ten notes a second, on a machine that is busy with other tests
        one.device.start()
        one.server.forget()
        assert one.answered()
        first, second = settled(one, 1)
        assert (first.how, first.seconds) == ("cut off", seconds)
        assert second.seconds is not None
        assert abs(second.seconds - sent_s(one)) <= _FRAME_S


def test_a_ledger_that_cannot_be_written_is_told_once_and_the_talk_goes_on(tmp_path: Path) -> None:
    with scene(tmp_path, reply_s=0.2, start=False) as one:
        one.device.prepare()
        (one.device.state / "ledger.jsonl").symlink_to("/dev/full")
        one.device.start()
        assert one.answered()
        assert one.answered()
        until(lambda: "privacy ledger" in one.said())
        assert one.said().count("ledger.jsonl cannot be written (No space left on device)") == 1


def test_the_last_events_are_on_disk_after_a_fault_and_after_the_end(tmp_path: Path) -> None:
    with scene(tmp_path, reply_s=0.2) as one:
        one.server.status = 401
        one.speak()
        events = one.device.state / "events.json"
        until(events.exists, 20)
        assert "401" in until(lambda: json.loads(events.read_text())["why"])
        one.server.status = 200
        assert one.answered()
        assert one.end()[0] == 0
        whole = json.loads(events.read_text())
        assert whole["why"] == "asked to stop"
        kinds = {event["event"] for event in whole["events"]}
        assert kinds >= {"panel", "state", "notice", "session", "transcript", "turn"}
        assert len(whole["events"]) <= 200
        words = [event for event in whole["events"] if event["event"] == "transcript"]
        assert all("text" not in event and event["characters"] > 0 for event in words)
        assert oct(events.stat().st_mode & 0o777) == "0o600"


def test_the_last_events_survive_a_part_that_stands_still(tmp_path: Path) -> None:
    with supervised(tmp_path) as one:
        one.freeze("microphone")
        one.ended(0)
        one.life(1)
        events = one.device.state / "events.json"
        assert "the microphone has stood still" in json.loads(events.read_text())["why"]


def test_the_last_events_survive_a_thread_that_dies(tmp_path: Path) -> None:
    with supervised(tmp_path) as one:
        one.strike("die capture")
        one.ended(0)
        one.life(1)
        assert "capture died" in json.loads((one.device.state / "events.json").read_text())["why"]


def test_the_log_is_key_and_value_and_a_flood_in_it_is_counted(tmp_path: Path) -> None:
    with scene(tmp_path, reply_s=0.2) as one:
        one.device.ask("mute")
        until(lambda: one.status()["muted"])
        for _ in range(40):
            one.device.ask("tap")
        one.device.ask("unmute")
        until(lambda: not one.status()["muted"])
        assert one.answered()
        assert one.end()[0] == 0
        lines = one.said().splitlines()
        muted = [line for line in lines if "is muted" in line]
        assert len(muted) == 11
        assert re.search(r"… 30 times more in \d+ s", muted[-1])
        assert all(re.match(r"time=\S+Z level=(info|warning) logger=[\w.]+ msg=", line) for line in lines)


def test_sound_is_kept_only_on_wish_and_the_device_says_so(tmp_path: Path) -> None:
    with scene(tmp_path / "0", reply_s=0.3) as one:
        assert one.answered()
        assert one.status()["recording"] is False
        assert not (one.device.state / "recordings").exists()
    with scene(tmp_path / "1", reply_s=0.3, start=False) as one:
        one.device.audio = f"record_audio = true\n{one.device.audio}"  # it follows the section [state]
        one.device.start()
        assert one.answered()
        assert one.status()["recording"] is True
        assert "debugging recording is on" in one.said()
        assert "recording is on" in read_ledger(one.device.state, running=True).notes[0].note
        assert one.end()[0] == 0
        assert list(
            (one.device.state / "recordings").glob("*-000-played.wav")
        )  # two tones at the start say so
        sent, played = kept(one, "sent"), kept(one, "played")
        assert np.array_equal(sent, one.server.heard())
        assert (
            abs(int((np.abs(played) > 1000).sum()) - int((np.abs(heard(one)) > 1000).sum()))
            < CARD_HZ * _FRAME_S
        )


def kept(one: Scene, which: str) -> NDArray[np.int16]:
    """Return what the files of that name hold, one after the other."""
    signals = []
    for path in sorted((one.device.state / "recordings").glob(f"*-{which}.wav")):
        assert path.stat().st_mode & 0o777 == 0o600
        with wave.open(str(path)) as file:
            signals.append(np.frombuffer(file.readframes(file.getnframes()), np.int16))
    return np.concatenate(signals)


def heard(one: Scene) -> NDArray[np.int16]:
    return samples(one.device.speaker)


def test_the_bundle_of_a_running_device_has_what_it_has_just_done(tmp_path: Path) -> None:
    with scene(tmp_path, reply_s=0.2) as one:
        assert one.answered()
        session = one.status()["session"]["id"]
        out = tmp_path / "bundle.tar.gz"
        pack(one.device.config, None, out, lambda _name: None)
        with tarfile.open(out) as archive:
            files = {entry.name: archive.extractfile(entry) for entry in archive.getmembers()}
            texts = {name: file.read().decode() for name, file in files.items() if file}
        events = json.loads(texts["pressel-bundle/events-now.json"])["events"]
        assert {"session", "turn"} <= {event["event"] for event in events}
        assert not [name for name, text in texts.items() if session in text]
