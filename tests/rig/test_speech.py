"""What the mouth says, the ear understands."""

from __future__ import annotations

import numpy as np
import pytest

from device.dsp.resample import Resampler
from rig.speech import SPOKEN_HZ, hear, say


@pytest.mark.parametrize("text", ["my name is peter", "what time is it", "carry on"])
def test_words_survive_the_way_through_a_card(text: str) -> None:
    card = Resampler(SPOKEN_HZ, 48_000).process(say(text))
    assert hear(np.pad(card, 48_000), 48_000) == text


def test_silence_and_a_faint_hum_are_no_words() -> None:
    assert hear(np.zeros(16_000, np.int16), 16_000) == ""
    assert hear(np.full(16_000, 100, np.int16), 16_000) == ""


def test_the_same_text_is_the_same_sound() -> None:
    assert np.array_equal(say("hello"), say("hello"))
    assert say("hello").dtype == np.int16
