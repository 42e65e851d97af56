"""A virtual card for this process, and WAV files as cards."""

from __future__ import annotations

import os
import wave
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rig.card import Card

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray


@pytest.fixture(scope="session")
def card(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Card]:
    """PortAudio in this process sees this card and no other."""
    before = dict(os.environ)
    with Card(tmp_path_factory.mktemp("card")) as card:
        os.environ.update(card.env)
        try:
            yield card
        finally:
            os.environ.clear()
            os.environ.update(before)


@pytest.fixture
def wav(tmp_path: Path) -> Callable[..., Path]:
    """Writes samples, shape (frames,) or (frames, channels), as a WAV file of their own width."""

    def write(samples: NDArray[np.int16] | NDArray[np.int32], rate: int, name: str = "mic.wav") -> Path:
        path = tmp_path / name
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
            file.setsampwidth(samples.dtype.itemsize)
            file.setframerate(rate)
            file.writeframes(np.ascontiguousarray(samples).tobytes())
        return path

    return write
