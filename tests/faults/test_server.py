"""A server that misbehaves, under the whole device: what it cannot do, and that the next turn is answered."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rig.realtime import RATE
from tests.faults.scene import Scene, scene, tone
from tests.servers import until
from tests.stage import CARD_HZ, samples

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from rig.realtime import Talk

GHOST_HZ = 2500.0


def ghost(seconds: float) -> NDArray[np.int16]:
    """A tone that nobody should hear."""
    t = np.arange(int(seconds * RATE)) / RATE
    return (8000 * np.sin(2 * np.pi * GHOST_HZ * t)).astype(np.int16)


def haunted(on: Scene) -> bool:
    """Whether the ghost's tone was played at all, in any tenth of a second."""
    pcm = samples(on.device.speaker).astype(np.float64)
    size = CARD_HZ // 10
    blocks = pcm[: len(pcm) // size * size].reshape(-1, size)
    at = round(GHOST_HZ * size / CARD_HZ)
    return bool((np.abs(np.fft.rfft(blocks)[:, at]) > 1000 * size / 2).any())


def rss_mib(on: Scene, field: str = "VmRSS") -> float:
    """Return the process's memory, or with VmHWM the most that it ever was."""
    status = Path(f"/proc/{on.pid}/status").read_text()
    return int(re.findall(rf"{field}:\s+(\d+) kB", status)[0]) / 1024


def replies(on: Scene) -> int:
    return int(on.status()["counters"]["replies"])


def during(on: Scene, script: Callable[[Talk, str], None]) -> list[dict[str, Any]]:
    """Hold one turn that is answered by the script; returns what a watcher saw until the device is ready."""
    on.server.script = script
    seen: list[dict[str, Any]] = []
    with on.device.watch(60) as events:
        on.speak()
        for event in events:
            seen.append(event)
            if event["event"] == "state" and event["state"] == "ready":
                break
    on.server.script = None
    return seen


def told(seen: list[dict[str, Any]]) -> str:
    return "\n".join(event["text"] for event in seen if event["event"] == "notice")


def final_words(on: Scene) -> list[str]:
    """Return what the assistant is remembered to have said."""
    turns = on.device.ask("transcript")["turns"]
    return [turn["text"] for turn in turns if turn["role"] == "assistant"]


# --- sound


def test_sound_of_a_reply_that_was_never_announced_is_not_heard(tmp_path: Path) -> None:
    def script(talk: Talk, name: str) -> None:
        for _ in range(20):
            talk.sound("resp_ghost", ghost(0.1))
        talk.reply(name)

    with scene(tmp_path) as on:
        during(on, script)
        assert replies(on) == 1
        assert on.answered()
        assert not haunted(on)


def test_two_replies_at_once_are_heard_one_after_the_other(tmp_path: Path) -> None:
    def script(talk: Talk, name: str) -> None:
        talk.begin(name)
        talk.begin("other")
        for word in ("one", " two", " three"):
            for reply, words in ((name, word), ("other", word.upper())):
                talk.words(reply, words)
                talk.sound(reply, tone(0.1, RATE))
        talk.end(name)
        talk.end("other")

    with scene(tmp_path) as on:
        during(on, script)
        assert final_words(on) == ["one two three", "ONE TWO THREE"]
        assert replies(on) == 2
        assert on.heard_s() == pytest.approx(0.6, abs=0.1)
        assert on.answered()


def test_a_reply_that_never_ends_is_cut_with_a_reason(tmp_path: Path) -> None:
    ended = threading.Event()

    def script(talk: Talk, name: str) -> None:
        talk.begin(name)
        while not ended.wait(0.05):
            talk.sound(name, tone(0.1, RATE))

    with scene(tmp_path, more="[talk]\nlongest_reply_ms = 5000\n") as on:
        during(on, script)
        assert until(lambda: "did not end within 5 s and was cut off" in on.said())
        assert on.answered()  # though the server goes on with the other one
        ended.set()


def test_ten_minutes_of_sound_in_a_second_take_bounded_memory(tmp_path: Path) -> None:
    """The speaker's queue holds 300 s: 14 MB of PCM16."""
    sent = threading.Event()

    def script(talk: Talk, name: str) -> None:
        talk.begin(name)
        second = tone(1.0, RATE)
        for _ in range(600):
            talk.sound(name, second)
        sent.set()

    with scene(tmp_path) as on:
        assert on.answered()
        before = rss_mib(on)
        on.server.script = script
        on.speak()
        assert sent.wait(30)
        on.reach("speaking")
        on.server.script = None
        assert on.status()["state"] == "speaking"
        assert rss_mib(on, "VmHWM") - before < 60
        on.device.ask("press")  # it is interrupted as any other
        on.reach("listening")
        on.device.ask("release")
        on.reach("ready")
        assert on.answered()


# --- words


EVIL = "\x1b[2J\x1b]0;owned\x07 said \u202eereht\r\nred\x9b31m"


def test_words_that_steer_a_terminal_reach_none(tmp_path: Path) -> None:
    def script(talk: Talk, name: str) -> None:
        item = {"item_id": "user_evil", "transcript": EVIL}
        talk.say("input_audio_buffer.committed", item_id="user_evil")
        talk.say("conversation.item.input_audio_transcription.completed", **item)
        talk.begin(name)
        talk.words(name, EVIL)
        talk.say("error", error={"code": EVIL, "message": EVIL})
        talk.sound(name, tone(0.2, RATE))
        talk.end(name)

    with scene(tmp_path) as on:
        seen = during(on, script)
        shown = subprocess.run(
            [sys.executable, "-m", "device.cli", "ctl", "transcript", "--socket", str(on.device.socket)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        kept = json.loads((on.device.state / "sessions.json").read_text())
        for words in (*_texts(seen), *_texts(kept), on.said(), shown):
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", words), repr(words)
        assert "said" in shown
        on.server.cut()
        assert on.answered()
        assert on.server.seeds
        assert not re.search("[\x00-\x1f\x9b\u202e]", "".join(on.server.seeds))


def test_words_without_end_are_bounded_wherever_they_go(tmp_path: Path) -> None:
    """A megabyte of words in one piece, then two more in many."""

    def script(talk: Talk, name: str) -> None:
        talk.begin(name)
        talk.words(name, "x" * 1_000_000)
        for _ in range(200):
            talk.words(name, "y" * 10_000)
        talk.sound(name, tone(0.2, RATE))
        talk.end(name)

    with scene(tmp_path) as on:
        assert on.answered()
        before = rss_mib(on)
        seen = during(on, script)
        assert max(len(words) for words in _texts(seen)) <= 20_000
        until((on.device.state / "sessions.json").exists)
        assert (on.device.state / "sessions.json").stat().st_size < 20_000
        assert len(on.said()) < 20_000
        assert rss_mib(on, "VmHWM") - before < 40
        assert on.answered()


def _texts(found: Any) -> list[str]:
    """Return every text within a JSON value."""
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, list):
        return [text for one in found for text in _texts(one)]
    return [found] if isinstance(found, str) else []


# --- frames


def _binary(talk: Talk) -> None:
    talk.send(b"\x00\x01\x02")


def _no_base64(talk: Talk) -> None:
    talk.say("response.output_audio.delta", response_id="r", item_id="i", delta="%%%")


def _huge(talk: Talk) -> None:
    talk.send(json.dumps({"type": "response.output_text.delta", "delta": "x" * 10_000_000}))


def _deep(talk: Talk) -> None:
    talk.send('{"type": "response.created", "response": ' + "[" * 100_000 + "]" * 100_000 + "}")


def _not_a_number(talk: Talk) -> None:
    talk.send('{"type": "rate_limits.updated", "rate_limits": [{"name": "x", "remaining": NaN}]}')


def _wrong_types(talk: Talk) -> None:
    talk.say("response.created", response={"id": 7})


def _torn(talk: Talk) -> None:
    talk.send('{"type": "response.cre')


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (_binary, "binary where JSON text belongs"),
        (_no_base64, "a bad response.output_audio.delta"),
        (_huge, "oversized"),
        (_deep, "a bad "),
        (_not_a_number, "a bad "),
        (_wrong_types, "a bad response.created"),
        (_torn, "a bad message"),
    ],
)
def test_a_frame_that_makes_no_sense_costs_one_line(
    tmp_path: Path, mistake: Callable[[Talk], None], says: str
) -> None:
    def script(talk: Talk, name: str) -> None:
        mistake(talk)
        talk.reply(name)

    with scene(tmp_path) as on:
        seen = during(on, script)
        lines = [event["text"] for event in seen if event["event"] == "notice" and "dropped" in event["text"]]
        assert len(lines) == 1
        assert says in lines[0]
        assert len(lines[0]) < 500
        assert final_words(on) == ["a tone"]


# --- order and names


def test_events_out_of_order_do_no_harm(tmp_path: Path) -> None:
    def script(talk: Talk, name: str) -> None:
        talk.end(name)
        talk.words(name, "too early")
        talk.say("session.created", session={"id": "sess_other"})
        talk.say("session.updated", session={"id": "sess_other"})
        talk.say("input_audio_buffer.committed", item_id="again")
        talk.reply(name)
        talk.words(name, "too late")
        talk.sound(name, ghost(1.0))

    with scene(tmp_path) as on:
        during(on, script)
        assert final_words(on) == ["a tone"]
        assert on.answered()
        assert not haunted(on)
        assert on.status()["session"]["id"] == "sess_rig"


def test_an_id_that_is_used_again_is_another_reply(tmp_path: Path) -> None:
    with scene(tmp_path) as on:
        for count in (1, 2, 3):
            during(on, lambda talk, _name: talk.reply("resp_always_the_same"))
            assert final_words(on) == ["a tone"] * count
            assert replies(on) == count
        on.server.cut()  # and in another session too
        during(on, lambda talk, _name: talk.reply("resp_always_the_same"))
        assert replies(on) == 4
        assert on.heard_s() == pytest.approx(1.6, abs=0.2)


def test_a_reply_that_ends_twice_ended_once(tmp_path: Path) -> None:
    def script(talk: Talk, name: str) -> None:
        talk.reply(name)
        call = {"type": "function_call", "call_id": "c", "name": "lights"}
        for _ in range(3):
            talk.say("response.done", response={"id": name, "status": "completed", "output": [call]})

    with scene(tmp_path) as on:
        during(on, script)
        assert final_words(on) == ["a tone"]
        assert on.answered()
        assert replies(on) == 2


# --- numbers and amounts


def test_numbers_that_cannot_be_are_told_and_believed_by_nobody(tmp_path: Path) -> None:
    def script(talk: Talk, name: str) -> None:
        talk.say("rate_limits.updated", rate_limits=[{"name": EVIL, "remaining": -1, "reset_seconds": 1e308}])
        talk.begin(name)
        talk.sound(name, tone(0.2, RATE))
        response = {"id": name, "status": "completed", "output": [], "usage": {"total_tokens": -5}}
        talk.say("response.done", response=response)

    with scene(tmp_path) as on:
        on.server.session_s = -1e12  # it ended long ago
        seen = during(on, script)
        assert "-5 tokens" in told(seen)
        assert "rate limit" in told(seen)
        assert all(len(line) <= 501 for line in told(seen).splitlines())
        assert on.answered()
        assert on.status()["counters"]["reconnects"] == 0


def test_a_hundred_thousand_tiny_events_leave_the_device_answering(tmp_path: Path) -> None:
    def script(talk: Talk, name: str) -> None:
        talk.begin(name)
        word = json.dumps({"type": "response.output_text.delta", "response_id": name, "delta": "a "})
        for _ in range(100_000):
            talk.send(word)
        talk.sound(name, tone(0.2, RATE))
        talk.end(name)

    with scene(tmp_path) as on:
        assert on.answered()
        before = rss_mib(on)
        on.server.script = script
        on.speak()
        until(lambda: replies(on) == 2, 60)
        on.reach("ready")
        assert rss_mib(on, "VmHWM") - before < 60
        on.server.script = None
        began = time.monotonic()
        assert on.answered()
        assert time.monotonic() - began < 10
