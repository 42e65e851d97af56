"""The debugging recording: the files hold the very samples, and never grow beyond their bound."""

from __future__ import annotations

import stat
import wave
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from device.system.recording import Recorder, TappedOutput
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from device.ports import Samples


@dataclass
class Sound:
    why: str = "button"
    rate: int = 24_000


class Speaker:
    """An AudioOutput that takes note."""

    rate, block, underruns, pending = 48_000, 240, 0, 0

    def __init__(self) -> None:
        self.blocks: list[Samples] = []
        self.closed = False

    def write(self, samples: Samples) -> None:
        self.blocks.append(samples)

    def rest(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True


@contextmanager
def recorder(
    folder: Path, troubles: list[str], most_files: int = 200, most_bytes: int = 1 << 20
) -> Iterator[Recorder]:
    one = Recorder(folder, troubles.append, most_files=most_files, most_bytes=most_bytes)
    one.start()
    try:
        yield one
    finally:
        one.close()


def samples(path: Path) -> list[int]:
    with wave.open(str(path)) as file:
        return [int(value) for value in np.frombuffer(file.readframes(file.getnframes()), "<i2")]


def only(folder: Path, what: str) -> Path:
    [path] = folder.glob(what)
    return path


def turn(one: Recorder, values: range, pieces: int = 5) -> None:
    sound = Sound()
    one.began(sound)
    for piece in np.array_split(np.array(values, np.int16), pieces):
        one.sound(sound, piece.tobytes())
    one.ended(sound)


def test_each_turn_has_what_was_sent_and_what_was_played(tmp_path: Path) -> None:
    folder, troubles = tmp_path / "recordings", list[str]()
    with recorder(folder, troubles) as one:
        turn(one, range(1000))
        one.played(np.arange(1, 241, dtype=np.int16), 48_000)
        turn(one, range(1000, 3000))
        one.played(np.arange(300, 540, dtype=np.int16), 48_000)
    assert samples(only(folder, "*-001-sent.wav")) == list(range(1000))
    assert samples(only(folder, "*-001-played.wav")) == list(range(1, 241))
    assert samples(only(folder, "*-002-sent.wav")) == list(range(1000, 3000))
    assert samples(only(folder, "*-002-played.wav")) == list(range(300, 540))
    assert not troubles
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_hours_of_silence_are_not_kept_but_pauses_are(tmp_path: Path) -> None:
    loud, silence = np.ones(4800, np.int16), np.zeros(4800, np.int16)
    with recorder(tmp_path / "r", []) as one:
        for block in [silence] * 100 + [loud] + [silence] * 3 + [loud] + [silence] * 100:
            one.played(block, 48_000)
    heard = samples(only(tmp_path / "r", "*-played.wav"))
    assert sum(heard) == 2 * 4800
    assert heard[4800 : 4 * 4800] == [0] * 3 * 4800
    assert len(heard) < 10 * 4800


def test_what_is_being_written_can_be_read_before_it_ends(tmp_path: Path) -> None:
    with recorder(tmp_path / "r", []) as one:
        sound = Sound()
        one.began(sound)
        one.sound(sound, bytes(960))
        path = until(lambda: next(iter(tmp_path.glob("r/*.wav")), None))
        until(lambda: path.stat().st_size > 44)
        assert len(samples(path)) == 480


def test_the_oldest_files_make_room(tmp_path: Path) -> None:
    with recorder(tmp_path / "r", [], most_files=4) as one:
        for _ in range(10):
            turn(one, range(100))
    assert [path.name[-12:] for path in sorted((tmp_path / "r").iterdir())] == [
        f"{number:03}-sent.wav" for number in range(7, 11)
    ]
    with recorder(tmp_path / "s", [], most_bytes=80_000) as one:
        for _ in range(10):
            turn(one, range(30_000))
    assert sum(path.stat().st_size for path in (tmp_path / "s").iterdir()) <= 80_000


def test_a_disk_in_the_way_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("a file where the folder belongs")
    troubles: list[str] = []
    with recorder(tmp_path / "r", troubles) as one:
        turn(one, range(100))
    assert len(troubles) == 1
    assert "takes no recording" in troubles[0]


def test_the_tap_shows_what_the_speaker_plays() -> None:
    speaker, seen = Speaker(), list[tuple[int, int]]()
    tapped = TappedOutput(speaker, lambda block, rate: seen.append((len(block), rate)))
    tapped.write(np.zeros(240, np.int16))
    assert (tapped.rate, tapped.block, tapped.underruns, tapped.pending) == (48_000, 240, 0, 0)
    assert not tapped.rest()
    tapped.close()
    assert speaker.closed
    assert seen == [(240, 48_000)]
    assert len(speaker.blocks) == 1


def test_a_disk_that_is_too_slow_is_told_with_what_is_missing(tmp_path: Path) -> None:
    troubles: list[str] = []
    one = Recorder(tmp_path / "r", troubles.append)
    for _ in range(5010):  # nothing is written yet: its thread has not started
        one.played(np.ones(240, np.int16), 48_000)
    one.start()
    until(one._orders.empty)
    one.close()
    assert one.dropped == 10
    assert len(troubles) == 1
    assert "10 pieces of sound are missing" in troubles[0]
    assert len(samples(only(tmp_path / "r", "*-played.wav"))) == 5000 * 240
