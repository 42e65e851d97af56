"""Turns found by sound: where they begin and end, in quiet, in noise, and with clicks."""

from __future__ import annotations

import numpy as np
import pytest

from companion.local.audio import ToEar
from companion.local.turns import Edge, TurnFinder
from companion.realtime import ServerVad
from tests.companion.talk import RATE, silence, speech


def noisy(pcm: bytes, rms: float) -> bytes:
    clean = np.frombuffer(pcm, "<i2").astype(np.float64)
    noise = np.random.default_rng(7).normal(0, rms, len(clean))
    return np.clip(clean + noise, -32768, 32767).astype("<i2").tobytes()


def found(pcm: bytes, vad: ServerVad | None = None, block_ms: int = 20) -> list[Edge]:
    finder, ear = TurnFinder(vad or ServerVad(), 0), ToEar()
    edges: list[Edge] = []
    size = RATE * 2 * block_ms // 1000
    for at in range(0, len(pcm), size):
        edges += finder.feed(ear(pcm[at : at + size]))[0]
    return edges


def bounds(pcm: bytes) -> tuple[int, int]:
    """Where the sound really begins and ends, ms."""
    loud = np.flatnonzero(np.abs(np.frombuffer(pcm, "<i2").astype(int)) > 1000)
    return int(loud[0] / RATE * 1000), int(loud[-1] / RATE * 1000)


@pytest.mark.parametrize("rms", [0, 30, 150])
def test_two_sentences_are_two_turns_in_their_places(rms: float) -> None:
    one, two = speech("my name is peter"), speech("what is my name")
    pcm = noisy(silence(1000) + one + silence(1500) + two + silence(1500), rms)
    edges = found(pcm)
    assert [edge.kind for edge in edges] == ["started", "stopped", "started", "stopped"]
    begin = [1000 + bounds(one)[0], 2500 + len(one) // 48 + bounds(two)[0]]
    end = [1000 + bounds(one)[1], 2500 + len(one) // 48 + bounds(two)[1]]
    for n in (0, 1):
        assert begin[n] - 500 <= edges[2 * n].at_ms <= begin[n] - 100  # 300 ms of padding
        assert end[n] + 300 <= edges[2 * n + 1].at_ms <= end[n] + 800  # 500 ms of silence


@pytest.mark.parametrize("pcm", [silence(3000), noisy(silence(5000), 300), noisy(silence(5000), 1000)])
def test_a_room_without_speech_has_no_turns(pcm: bytes) -> None:
    assert found(pcm) == []


def test_a_click_is_no_turn() -> None:
    click = np.zeros(RATE, np.int16)
    click[1000:1480] = 20_000
    assert found(silence(500) + click.tobytes() + silence(500)) == []


def test_the_settings_are_obeyed() -> None:
    pcm = silence(1000) + speech("my name is peter") + silence(1500)
    plain = found(pcm)
    patient = found(pcm, ServerVad(silence_duration_ms=1000, prefix_padding_ms=0))
    assert patient[0].at_ms == plain[0].at_ms + 300
    assert patient[1].at_ms == plain[1].at_ms + 500


def test_all_sound_of_a_turn_is_handed_over_once() -> None:
    pcm = silence(1000) + speech("my name is peter") + silence(1000)
    heard = ToEar()(pcm)
    finder = TurnFinder(ServerVad(), 0)
    turn, between = b"", []
    for at in range(0, len(heard), 1234):
        edges, going_on = finder.feed(heard[at : at + 1234])
        turn += b"".join(edge.pcm for edge in edges) + going_on
        between += edges
    assert turn in heard
    assert len(turn) // 32 == between[1].at_ms - between[0].at_ms


def test_counting_goes_on_from_what_was_written_before() -> None:
    pcm = ToEar()(silence(1000) + speech("hello there") + silence(1000))
    first, later = TurnFinder(ServerVad(), 0), TurnFinder(ServerVad(), 5000)
    assert later.feed(pcm)[0][0].at_ms == first.feed(pcm)[0][0].at_ms + 5000
