"""The playback thread on a WAV file that is written in real time."""

from __future__ import annotations

import queue
import threading
import time
import wave
from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.audio.playback import Playback
from device.audio.wavfile import WavOutput
from device.errors import AudioError
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

RATE = 16_000


class Stage:
    """A loudspeaker, its thread, and what it told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sink = WavOutput(path, RATE)
        self.told: queue.Queue[tuple[str, object, float]] = queue.Queue()
        self.playback = Playback(
            self.sink,
            on_started=lambda reply: self.told.put(("started", reply, time.monotonic())),
            on_drained=lambda reply: self.told.put(("drained", reply, time.monotonic())),
        )
        self.playback.start()

    def hear(self, what: str, reply: str) -> float:
        """Wait until it tells so; returns when it did."""
        kind, subject, at = self.told.get(timeout=10.0)
        assert (kind, subject) == (what, reply)
        return at

    def so_far(self) -> NDArray[np.int16]:
        data = self.path.read_bytes()[44:]
        return np.frombuffer(data[: len(data) // 2 * 2], np.int16)

    def recording(self) -> NDArray[np.int16]:
        """Everything that was heard; ends the stage."""
        self.close()
        with wave.open(str(self.path)) as file:
            return np.frombuffer(file.readframes(file.getnframes()), np.int16)

    def close(self) -> None:
        self.playback.stop()
        self.sink.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path / "speaker.wav")
    yield stage
    stage.close()


def tone(seconds: float, value: int = 8_000, rate: int = RATE) -> bytes:
    return np.full(int(seconds * rate), value, np.int16).tobytes()


def noise(seconds: float) -> NDArray[np.int16]:
    return np.random.default_rng(8).integers(-9_000, 9_000, int(seconds * RATE)).astype(np.int16)


def test_a_reply_is_heard_whole(stage: Stage) -> None:
    sound = noise(0.5)
    for start in range(0, len(sound), 700):
        stage.playback.play("r", "i", sound[start : start + 700].tobytes(), RATE)
    stage.playback.finish("r")
    started = stage.hear("started", "r")
    drained = stage.hear("drained", "r")
    assert drained - started == pytest.approx(0.5, abs=0.1)
    recording = stage.recording()
    assert np.array_equal(recording[recording != 0], sound[sound != 0])  # a busy machine may stretch it


def test_replies_and_items_follow_one_another(stage: Stage) -> None:
    for reply, item, value in (("a", "1", 1_000), ("a", "2", 2_000), ("b", "1", 3_000)):
        stage.playback.play(reply, item, tone(0.1, value), RATE)
    stage.playback.finish("a")
    stage.playback.finish("b")
    for what, reply in (("started", "a"), ("drained", "a"), ("started", "b"), ("drained", "b")):
        stage.hear(what, reply)
    heard = stage.recording()
    assert [value for value in dict.fromkeys(heard.tolist()) if value] == [1_000, 2_000, 3_000]
    assert all(np.count_nonzero(heard == value) == RATE // 10 for value in (1_000, 2_000, 3_000))


def test_a_flush_silences_at_once_and_knows_what_was_heard(stage: Stage) -> None:
    stage.playback.play("r", "i", tone(0.5, rate=24_000), 24_000)
    stage.playback.play("r", "i", tone(5.0, rate=24_000), 24_000)
    stage.hear("started", "r")
    until(lambda: (heard := stage.playback.heard()) is not None and heard.ms > 300)
    heard = stage.playback.flush()
    assert heard is not None
    assert (heard.reply_id, heard.item_id, heard.rate) == ("r", "i", 24_000)
    assert stage.playback.heard() is None
    stage.playback.play("next", "i", tone(0.1, 500), RATE)
    stage.playback.finish("next")
    stage.hear("started", "next")  # nothing is told of the first any more
    stage.hear("drained", "next")
    recording = stage.recording()
    seen = np.count_nonzero(recording > 500) / RATE * 1000
    assert heard.ms == pytest.approx(seen, abs=5)
    end = np.flatnonzero(recording > 500)[-1]
    assert np.abs(np.diff(recording[end - 400 : end + 400].astype(int))).max() < 800  # a fade, not a click


def test_sound_that_comes_after_a_flush_stays_out(stage: Stage) -> None:
    stage.playback.play("r", "i", tone(1.0), RATE)
    stage.hear("started", "r")
    stage.playback.flush()
    stage.playback.play("r", "i", tone(1.0, 999), RATE)
    stage.playback.finish("r")
    stage.playback.play("s", "i", tone(0.1, 500), RATE)
    stage.playback.finish("s")
    stage.hear("started", "s")
    stage.hear("drained", "s")
    assert 999 not in stage.recording()


def test_where_the_listener_is_moves_with_the_clock(stage: Stage) -> None:
    assert stage.playback.heard() is None
    stage.playback.play("r", "i", tone(2.0), RATE)
    started = stage.hear("started", "r")

    def position(past_ms: int) -> float:
        heard = until(lambda: (found := stage.playback.heard()) and found.ms >= past_ms and found)
        return float(heard.ms - (time.monotonic() - started) * 1000)

    for past_ms in (100, 300, 500):
        assert position(past_ms) == pytest.approx(0, abs=40)


def test_a_reply_that_trickles_in_is_heard_whole(stage: Stage) -> None:
    sound = noise(0.4)
    feed = iter(np.array_split(sound, 8))
    stage.playback.play("r", "i", next(feed).tobytes(), RATE)
    stage.hear("started", "r")
    for piece in feed:
        stage.playback.play("r", "i", piece.tobytes(), RATE)
        until(lambda: (heard := stage.playback.heard()) is not None and heard.samples > 0)
    stage.playback.finish("r")
    stage.hear("drained", "r")
    recording = stage.recording()
    assert np.array_equal(recording[recording != 0], sound[sound != 0])


def test_a_reply_that_stops_coming_is_waited_for(stage: Stage) -> None:
    stage.playback.play("r", "i", tone(0.1, 1_000), RATE)
    stage.hear("started", "r")
    until(lambda: (heard := stage.playback.heard()) is not None and heard.ms == 100)
    stage.playback.play("r", "i", tone(0.2, 2_000), RATE)
    stage.playback.finish("r")
    stage.hear("drained", "r")
    assert stage.playback.underruns == 1
    heard = stage.recording()
    assert np.count_nonzero(heard == 1_000) == RATE // 10
    assert np.count_nonzero(heard == 2_000) == RATE // 5


@pytest.mark.parametrize(("volume", "value"), [(100, 8_000), (50, 1_000), (0, 0), (250, 8_000), (-1, 0)])
def test_volume_is_even_to_the_ear(stage: Stage, volume: int, value: int) -> None:
    stage.playback.volume = volume
    stage.playback.play("r", "i", tone(0.1), RATE)
    stage.playback.finish("r")
    stage.hear("started", "r")
    stage.hear("drained", "r")
    heard = stage.recording()
    assert heard.max() <= 8_000
    assert int(np.median(heard[-RATE // 20 :])) == value or value in heard


def test_a_chime_sounds_over_a_reply_and_outlives_a_flush(stage: Stage) -> None:
    stage.playback.play("r", "i", tone(5.0, 1_000), RATE)
    stage.hear("started", "r")
    stage.playback.chime(np.full(RATE // 4, 300, np.int16))
    until(lambda: 1_300 in stage.so_far())
    stage.playback.flush()
    faded = stage.sink.block
    until(lambda: np.isin(stage.so_far(), (300, 1_300)).sum() >= RATE // 4 - faded)
    assert np.count_nonzero(stage.recording() == 300) > RATE // 8


def test_the_clock_moves_while_nothing_is_said(stage: Stage) -> None:
    began = time.monotonic()
    until(lambda: stage.playback.last_block_at > began)


def test_the_thread_dies_of_its_card(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    died: queue.Queue[threading.ExceptHookArgs] = queue.Queue()
    monkeypatch.setattr(threading, "excepthook", died.put)
    stage.sink.close()
    stage.playback.play("r", "i", tone(0.1), RATE)
    assert died.get(timeout=5.0).exc_type is AudioError


class Fed(WavOutput):
    """A loudspeaker whose clock never stops."""

    def rest(self) -> bool:
        """Never."""
        return False


def test_a_card_that_must_be_fed_gets_silence(tmp_path: Path) -> None:
    sink = Fed(tmp_path / "speaker.wav", RATE)
    playback = Playback(sink)
    playback.start()
    until(lambda: (tmp_path / "speaker.wav").stat().st_size > RATE // 2)
    playback.idle(True)
    until(lambda: (tmp_path / "speaker.wav").stat().st_size > RATE)
    playback.stop()
    sink.close()
    assert not any((tmp_path / "speaker.wav").read_bytes()[44:])


def test_five_minutes_ahead_are_enough(stage: Stage) -> None:
    minute = tone(60.0, rate=8_000)
    for _ in range(7):
        stage.playback.play("r", "i", minute, 8_000)
    assert stage.playback.dropped_s in (60.0, 120.0)  # by how much has been played meanwhile
    stage.playback.flush()


def test_without_a_card_nothing_counts_as_heard_and_what_is_left_plays_when_it_is_back(
    tmp_path: Path,
) -> None:
    there, path = threading.Event(), tmp_path / "speaker.wav"
    there.set()
    sink = WavOutput(path, RATE)
    playback = Playback(sink, ready=lambda: there.is_set() or threading.Event().wait(0.02))
    playback.start()
    playback.play("r", "i", tone(1.0), RATE)
    playback.finish("r")
    until(lambda: (heard := playback.heard()) is not None and heard.ms > 300)
    there.clear()
    held = until_still(lambda: getattr(playback.heard(), "samples", -1))
    began = playback.last_block_at
    until(lambda: playback.last_block_at > began + 0.2)  # its clock goes on
    assert getattr(playback.heard(), "samples", -1) == held < RATE
    there.set()
    until(lambda: playback.heard() is None, 10)
    playback.stop()
    sink.close()
    played = np.frombuffer(path.read_bytes()[44:], np.int16)
    assert np.count_nonzero(played == 8_000) == RATE


def until_still(number: Callable[[], int]) -> int:
    """Wait until it does not change for 100 ms; returns it."""

    def still() -> bool:
        before = number()
        threading.Event().wait(0.1)
        return number() == before

    until(still)
    return number()
