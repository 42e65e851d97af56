from __future__ import annotations

import wave
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rig.vpi.agent import GuestError
from rig.vpi.pi import CARD_HZ, load, save

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    samples = np.arange(-500, 500, dtype=np.int16)
    save(tmp_path / "a.wav", samples)
    loaded, rate = load(tmp_path / "a.wav")
    assert rate == CARD_HZ
    assert np.array_equal(loaded, samples)


def test_of_two_channels_the_first_is_taken(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((2, 2, 44_100, 0, "NONE", "not compressed"))
        file.writeframes(np.array([[1, -1], [2, -2]], np.int16).tobytes())
    loaded, rate = load(tmp_path / "a.wav")
    assert (loaded.tolist(), rate) == ([1, 2], 44_100)


@pytest.mark.parametrize("content", [b"", b"no sound at all, but text"])
def test_a_file_that_is_no_wav_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(GuestError, match=r"a\.wav cannot be read as WAV"):
        load(tmp_path / "a.wav")


def test_a_missing_file_and_one_of_24_bits_are_named(tmp_path: Path) -> None:
    with pytest.raises(GuestError, match=r"b\.wav cannot be read as WAV"):
        load(tmp_path / "b.wav")
    with wave.open(str(tmp_path / "c.wav"), "wb") as file:
        file.setparams((1, 3, CARD_HZ, 0, "NONE", "not compressed"))
        file.writeframes(b"\0" * 9)
    with pytest.raises(GuestError, match=r"c\.wav has 24 bits: 16 are needed"):
        load(tmp_path / "c.wav")
