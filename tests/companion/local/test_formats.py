"""Sound as G.711: the same sound, no seams, and a whole talk in it."""

from __future__ import annotations

import base64
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from companion.local.audio import WIRE_HZ, ToEar, pcm16
from companion.local.formats import _A, _MU, A_LAW, MU_LAW, PCM, bytes_per_ms, from_voice, to_ear
from tests.companion.talk import Client, speech

if TYPE_CHECKING:
    from numpy.typing import NDArray

LAWS = (MU_LAW, A_LAW)


def tone(hz: float, rate: int = WIRE_HZ) -> bytes:
    return pcm16((0.5 * np.sin(2 * np.pi * hz * np.arange(rate // 2) / rate)).astype(np.float32))


def level(pcm: bytes) -> float:
    """Of what is below 4 kHz: RMS."""
    samples: NDArray[np.float64] = np.frombuffer(pcm, "<i2")[200:-200].astype(np.float64)
    spectrum = np.fft.rfft(samples)
    spectrum[len(spectrum) // 2 :] = 0
    return float(np.sqrt(np.mean(np.fft.irfft(spectrum) ** 2)))


def in_blocks(convert: Any, sound: bytes, step: int) -> bytes:
    rng, out, at = np.random.default_rng(1), b"", 0
    while at < len(sound):
        size = step * int(rng.integers(1, 700))
        out += convert(sound[at : at + size])
        at += size
    return out


def test_pcm_goes_through() -> None:
    assert from_voice(PCM)(b"\1\2") == b"\1\2"
    assert to_ear(PCM)(tone(440)) == ToEar()(tone(440))
    assert bytes_per_ms(PCM) == 48
    with pytest.raises(ValueError, match="even number"):
        to_ear(PCM)(b"\1")


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("hz", [300, 1000, 3000])
def test_a_tone_keeps_pitch_and_level_there_and_back(law: dict[str, Any], hz: int) -> None:
    coded = from_voice(law)(tone(hz))
    assert len(coded) == pytest.approx(500 * bytes_per_ms(law), abs=20)
    back = to_ear(law)(coded)
    assert level(back) == pytest.approx(0.5 * 32767 / np.sqrt(2), rel=0.1)
    spectrum = np.abs(np.fft.rfft(np.frombuffer(back, "<i2")))
    assert np.argmax(spectrum) * 16_000 / (len(back) // 2) == pytest.approx(hz, abs=5)


@pytest.mark.parametrize("law", LAWS)
def test_blocks_of_any_size_give_the_same_sound(law: dict[str, Any]) -> None:
    coded = from_voice(law)(tone(440))
    assert in_blocks(from_voice(law), tone(440), 2) == coded
    assert in_blocks(to_ear(law), coded, 1) == to_ear(law)(coded)


@pytest.mark.parametrize("law", LAWS)
def test_what_8_khz_cannot_hold_is_taken_out(law: dict[str, Any]) -> None:
    assert level(to_ear(law)(from_voice(law)(tone(5500)))) < 0.02 * 32767


@pytest.mark.parametrize(("law", "name"), [(_MU, "ulaw"), (_A, "alaw")])
def test_the_codes_are_g_711_s(law: Any, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        audioop: Any = pytest.importorskip("audioop")
    codes = bytes(range(256))
    assert law.decode(codes).astype("<i2").tobytes() == getattr(audioop, f"{name}2lin")(codes, 2)
    samples = np.arange(-32768, 32768, 7).astype("<i2")
    theirs = law.decode(getattr(audioop, f"lin2{name}")(samples.tobytes(), 2))
    ours = law.decode(law.encode(samples.astype(np.float32)))
    assert (np.abs(ours - samples) <= np.abs(theirs - samples)).all()  # never farther off than theirs


@pytest.mark.parametrize("law", LAWS)
def test_a_whole_turn_in_g_711(client: Client, law: dict[str, Any]) -> None:
    audio = {"input": {"format": law}, "output": {"format": law}}
    client.send("session.update", session={"type": "realtime", "audio": audio})
    told = client.until("session.updated")["session"]["audio"]
    assert (told["input"]["format"], told["output"]["format"]) == (law, law)
    client.send("input_audio_buffer.append", audio=base64.b64encode(b"\xd5" * 700).decode())
    client.send("input_audio_buffer.commit")
    assert "87.50ms" in client.error()["message"]
    client.send("input_audio_buffer.clear")
    coded = from_voice(law)(speech("my name is peter"))
    client.send("input_audio_buffer.append", audio=base64.b64encode(coded).decode())
    client.send("input_audio_buffer.commit")
    client.send("response.create")
    words, sound, done = client.answer()
    [heard] = [e["transcript"] for e in client.seen if e["type"].endswith("transcription.completed")]
    assert "peter" in heard
    assert "Peter" in words
    assert done["response"]["audio"]["output"]["format"] == law
    assert 0.5 < len(sound) / 8000 < 5  # seconds
