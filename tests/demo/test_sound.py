"""Recordings on the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from demo.sound import RATE, Recording, at_card_rate, load, merged, save

if TYPE_CHECKING:
    from pathlib import Path


def ones(start: float, seconds: float, value: int = 1) -> Recording:
    return Recording(np.full(int(seconds * RATE), value, np.int16), RATE, start)


def test_parts_lie_where_they_sounded() -> None:
    track = merged([ones(1.0, 0.5), ones(2.0, 5.0, 2)], 0.0, 3.0)
    assert len(track.pcm) == 3 * RATE
    for at, value in ((0.9, 0), (1.2, 1), (1.7, 0), (2.5, 2)):
        assert track.pcm[int(at * RATE)] == value


def test_a_part_from_before_the_track_loses_its_beginning() -> None:
    track = merged([ones(-0.5, 1.0)], 0.0, 2.0)
    assert np.count_nonzero(track.pcm) == RATE // 2


def test_cutting_and_saving_keep_samples_and_times(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", ones(5.0, 2.0, 7))
    again = load(tmp_path / "a.wav", 5.0)
    assert (again.rate, again.end) == (RATE, 7.0)
    assert len(again.cut(6.0, 6.5)) == RATE // 2
    assert len(again.cut(8.0, 9.0)) == 0


def test_a_file_that_promises_more_than_it_has_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", ones(0.0, 1.0))
    data = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(data[: 44 + 2001])
    assert len(load(tmp_path / "a.wav", 0.0).pcm) == 1000


def test_a_file_that_has_more_than_it_promises_is_read_to_its_end(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", ones(0.0, 1.0))
    with (tmp_path / "a.wav").open("ab") as file:
        file.write(bytes(2000))
    assert len(load(tmp_path / "a.wav", 0.0).pcm) == RATE + 1000


def test_speech_comes_out_at_the_cards_rate() -> None:
    assert len(at_card_rate(np.zeros(24_000, np.int16), 24_000)) == 48_000
