"""The codecs by name: which there are, and that pieces of sound need not end with a sample."""

from __future__ import annotations

import pytest

from device.codecs import DECODERS, ENCODERS, make_decoder, make_encoder
from device.errors import CodecError


def test_pcm_may_be_cut_in_the_middle_of_a_sample() -> None:
    decoder = make_decoder("audio/pcm;rate=16000", 24_000)
    assert decoder.rate == 16_000
    assert [decoder.decode(piece) for piece in (b"\1", b"\2\3\4", b"\5", b"\6")] == [
        b"",
        b"\1\2\3\4",
        b"",
        b"\5\6",
    ]
    assert decoder.flush() == b""


@pytest.mark.parametrize("law", ["g711_ulaw", "g711_alaw"])
def test_g711_is_a_byte_a_sample(law: str) -> None:
    (piece,) = make_encoder(law, 8000).encode(b"\0\0" * 160)
    assert len(piece) == 160
    decoder = make_decoder(law, 8000)
    assert len(decoder.decode(piece)) == 320
    assert decoder.flush() == b""


def test_a_direction_without_sound_drops_it() -> None:
    assert make_encoder("none", 24_000).encode(b"\0\0") == []
    silent = make_decoder("none", 24_000)
    assert silent.decode(b"abc") == silent.flush() == b""


@pytest.mark.parametrize(
    ("name", "rate"), [("audio/pcm", 24_000), ("Audio/PCM; rate=8000", 8000), ("audio/pcm;rate=x", 24_000)]
)
def test_a_mime_type_may_name_its_rate(name: str, rate: int) -> None:
    assert make_decoder(name, 24_000).rate == rate


def test_every_codec_can_be_made_and_an_unknown_one_is_one_line() -> None:
    for name in ENCODERS:
        make_encoder(name, 24_000)
    for name in DECODERS:
        make_decoder(name, 24_000)
    with pytest.raises(CodecError, match="no codec for 'audio/midi' here; known: pcm16"):
        make_decoder("audio/midi", 24_000)


def test_a_rate_that_no_sound_has_is_refused() -> None:
    with pytest.raises(CodecError, match="has a rate that no sound here has"):
        make_decoder("audio/pcm;rate=191999", 24_000)
