"""WAV that comes in pieces."""

from __future__ import annotations

import io
import struct
import wave

import numpy as np
import pytest

from device.codecs import make_decoder
from device.codecs.wav import WavDecoder
from device.errors import CodecError

SAMPLES = (np.arange(-500, 500) * 60).astype("<i2")


def wav(samples: bytes, channels: int = 1, rate: int = 22_050) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as box:
        box.setparams((channels, 2, rate, 0, "NONE", ""))
        box.writeframes(samples)
    return file.getvalue()


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_samples_come_out_however_it_is_cut(step: int) -> None:
    decoder = make_decoder("audio/wav", 24_000)
    whole = wav(SAMPLES.tobytes())
    assert (
        b"".join(decoder.decode(whole[at : at + step]) for at in range(0, len(whole), step))
        == SAMPLES.tobytes()
    )
    assert decoder.rate == 22_050
    assert decoder.flush() == b""


def test_channels_are_mixed_and_other_chunks_are_passed_over() -> None:
    stereo = np.stack([SAMPLES, SAMPLES // 2], axis=1).tobytes()
    whole = wav(stereo, channels=2)
    whole = whole[:12] + b"LIST" + struct.pack("<I", 3) + b"abc\0" + whole[12:]
    pcm = np.frombuffer(WavDecoder(24_000).decode(whole), "<i2")
    assert np.abs(pcm - SAMPLES * 0.75).max() <= 1


@pytest.mark.parametrize(
    "data",
    [
        b"ID3\x04 not at all",
        b"RIFF\0\0\0\0AVI ....",
        wav(b"")[:34] + b"\x08\0" + wav(b"")[36:],
        b"RIFF\0\0\0\0WAVEjunk\xff\xff\xff\xff" + bytes(40),
    ],
)
def test_what_is_no_pcm16_wav_is_one_line_and_then_silence(data: bytes) -> None:
    decoder = WavDecoder(24_000)
    with pytest.raises(CodecError, match="the provider's WAV"):
        decoder.decode(data)
    assert decoder.decode(bytes(100)) == b""
