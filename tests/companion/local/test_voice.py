"""The voice port, held by hibari: sound at 24 kHz that a recogniser understands."""

from __future__ import annotations

import pytest

from companion.local.voice import HibariVoice
from tests.companion.talk import recognised


@pytest.fixture(scope="module")
def voice() -> HibariVoice:
    return HibariVoice()


def test_a_sentence_is_spoken(voice: HibariVoice) -> None:
    assert recognised(voice.speak("Your name is Peter.", 1.0)) == "your name is peter"


def test_speed_shortens_it(voice: HibariVoice) -> None:
    usual, fast = (len(voice.speak("Nice to meet you, Peter.", speed)) for speed in (1.0, 1.5))
    assert 0.5 < fast / usual < 0.85


def test_nothing_to_say_is_no_sound(voice: HibariVoice) -> None:
    assert voice.speak("", 1.0) == b""
