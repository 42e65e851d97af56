"""Opus and MP3 through PyAV: split anywhere, damaged, from other encoders."""

from __future__ import annotations

import io
import sys
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.codecs import make_decoder, make_encoder
from device.codecs.pyav import Mp3Decoder, OggOpusDecoder, OggOpusEncoder
from device.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

RATE = 24_000
BLOCK = 960  # bytes: 20 ms


def sweep(seconds: float, rate: int = RATE) -> NDArray[np.int16]:
    """A tone from 200 to 1200 Hz: it looks like itself at one lag only."""
    at = np.arange(int(seconds * rate)) / rate
    wave = np.sin(2 * np.pi * (200 * at + 500 / seconds * at * at))
    return (10_000 * wave).astype(np.int16)


def samples(pcm: bytes) -> NDArray[np.int16]:
    return np.frombuffer(pcm, "<i2")


def likeness(heard: NDArray[np.int16], said: NDArray[np.int16]) -> tuple[float, int]:
    """Return the best correlation (1 is the same) and its lag in samples, of up to 200 ms."""
    best, at = 0.0, 0
    middle = said[2400:-4800][:8000].astype(float)
    for lag in range(4800):
        piece = heard[2400 + lag :][: len(middle)].astype(float)
        piece = np.pad(piece, (0, len(middle) - len(piece)))
        like = float(piece @ middle / (np.linalg.norm(piece) * np.linalg.norm(middle) + 1))
        if like > best:
            best, at = like, lag
    return best, at


def opus(pcm: NDArray[np.int16]) -> list[bytes]:
    return OggOpusEncoder(RATE).encode(pcm.tobytes())


def mp3(pcm: NDArray[np.int16], rate: int, layout: str = "mono") -> bytes:
    codec = av.CodecContext.create("libmp3lame", "w")
    codec.sample_rate, codec.layout, codec.format = rate, layout, "s16p"
    codec.time_base, codec.bit_rate = Fraction(1, rate), 64_000 if rate >= 16_000 else 32_000
    codec.open()
    channels = 2 if layout == "stereo" else 1
    out = b""
    for at in range(0, len(pcm), codec.frame_size):
        block = np.repeat(pcm[np.newaxis, at : at + codec.frame_size], channels, axis=0)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), "s16p", layout)
        frame.sample_rate, frame.pts = rate, at
        out += b"".join(bytes(packet) for packet in codec.encode(frame))
    return out + b"".join(bytes(packet) for packet in codec.encode(None))


def id3(picture: bytes) -> bytes:
    size = bytes(len(picture) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\x00\x00" + size + picture


def in_pieces(sound: bytes, size: int) -> list[bytes]:
    return [sound[at : at + size] for at in range(0, len(sound), size)]


def test_the_first_piece_is_the_head_and_then_a_page_comes_every_20_ms() -> None:
    encoder, pcm = OggOpusEncoder(RATE), sweep(1.0).tobytes()
    first = encoder.encode(pcm[:BLOCK])
    assert len(first) == 2
    assert first[0][5] & 2
    assert first[0][28:36] == b"OpusHead"
    for at in range(BLOCK, len(pcm), BLOCK):
        pieces = encoder.encode(pcm[at : at + BLOCK])
        assert [piece[:4] for piece in pieces] == [b"OggS"]


def test_sound_of_any_length_goes_in() -> None:
    encoder, whole = OggOpusEncoder(RATE), sweep(0.5)
    pieces = [piece for part in in_pieces(whole.tobytes(), 334) for piece in encoder.encode(part)]
    assert pieces == opus(whole)


@pytest.mark.parametrize("rate", [16_000, 24_000, 48_000])
def test_opus_goes_there_and_back(rate: int) -> None:
    said = sweep(1.0, rate)
    decoder = OggOpusDecoder(rate)
    heard = samples(b"".join(map(decoder.decode, OggOpusEncoder(rate).encode(said.tobytes()))))
    like, lag = likeness(heard, said)
    assert like > 0.99
    assert lag / rate <= 0.010
    assert len(said) - len(heard) <= rate // 500  # the resampler's taps


def test_the_stream_of_unmutes_own_writer_is_heard_from_its_first_sample() -> None:
    """`sphn.ogg` is sweep(0.6) written by sphn 0.2.1, 40 ms at a time; its header's pre-skip says 80 ms."""
    recorded = (Path(__file__).parent / "sphn.ogg").read_bytes()
    heard = samples(OggOpusDecoder().decode(recorded))
    like, lag = likeness(heard, sweep(0.6))
    assert like > 0.99
    assert lag / RATE < 0.007
    assert len(heard) > 0.598 * RATE


def test_a_common_reader_takes_the_encoders_stream() -> None:
    said = sweep(1.0)
    with av.open(io.BytesIO(b"".join(opus(said))), "r") as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.codec_context.channels) == ("opus", 1)
        frames = [frame.to_ndarray()[0] for frame in container.decode(stream)]
    heard = (np.concatenate(frames)[::2] * 32_767).astype(np.int16)
    assert likeness(heard, said)[0] > 0.98


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 997))
def test_an_opus_stream_may_be_split_anywhere(size: int) -> None:
    stream = b"".join(opus(sweep(0.3)))
    decoder = OggOpusDecoder()
    assert b"".join(map(decoder.decode, in_pieces(stream, size))) == OggOpusDecoder().decode(stream)


def test_the_stream_goes_on_after_an_interruption_and_a_second_head() -> None:
    one, two = b"".join(opus(sweep(0.4))), b"".join(opus(sweep(0.4)))
    decoder = OggOpusDecoder()
    decoder.decode(one)
    decoder.flush()
    again = samples(decoder.decode(two))
    assert likeness(again, sweep(0.4))[0] > 0.99


def test_a_stereo_stream_comes_out_as_mono() -> None:
    buffer = io.BytesIO()
    said = sweep(0.5, 48_000)
    with av.open(buffer, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.repeat(said, 2)[np.newaxis], "s16", "stereo")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    heard = samples(OggOpusDecoder(48_000).decode(buffer.getvalue()))
    assert likeness(heard, said)[0] > 0.98


def test_what_was_good_around_garbage_is_heard() -> None:
    pieces = opus(sweep(0.4))
    decoder, clean = OggOpusDecoder(), OggOpusDecoder()
    heard = b"".join(map(decoder.decode, pieces[:10]))
    with pytest.raises(CodecError, match="no Ogg page") as caught:
        decoder.decode(pieces[10] + b"garbage" + pieces[11])
    assert "\n" not in str(caught.value)
    heard += b"".join(map(decoder.decode, pieces[12:]))
    assert heard == b"".join(map(clean.decode, pieces))


def test_a_packet_that_is_no_opus_is_reported_once_a_run() -> None:
    from device.codecs.ogg import page  # noqa: PLC0415 # for this one

    pieces = opus(sweep(0.2))
    decoder = OggOpusDecoder()
    decoder.decode(pieces[0] + pieces[1])
    bad = page(b"\xff\xff\xff\x00garbage", serial=1, number=9, granule=0)
    with pytest.raises(CodecError, match="no Opus"):
        decoder.decode(bad)
    assert decoder.decode(bad) == b""
    assert decoder.decode(pieces[2])
    with pytest.raises(CodecError):
        decoder.decode(bad)


def test_a_head_that_makes_no_sense_is_one_line() -> None:
    head = b"OpusHead" + b"\xff" * 11
    from device.codecs.ogg import page  # noqa: PLC0415 # for this one

    decoder = OggOpusDecoder()
    decoder.decode(page(head, serial=1, number=0, granule=0, first=True))
    with pytest.raises(CodecError):
        decoder.decode(opus(sweep(0.1))[1])


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=600), st.integers(0, 5), st.integers(0, 200))
def test_no_garbage_crashes_a_decoder(garbage: bytes, piece: int, at: int) -> None:
    pieces = opus(sweep(0.1))
    pieces[piece] = pieces[piece][:at] + garbage + pieces[piece][at:]
    for decoder in (OggOpusDecoder(), Mp3Decoder()):
        for sound in pieces:
            with suppress(CodecError):
                assert len(decoder.decode(sound)) % 2 == 0
        decoder.flush()


@pytest.mark.parametrize(("make", "name"), [(make_encoder, "ogg_opus"), (make_decoder, "audio/mpeg")])
def test_without_the_library_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[str, int], object], name: str
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "device.codecs.pyav")
    line = rf"{name} needs the Python package av: pip install 'pressel\[codecs\]'"
    with pytest.raises(CodecError, match=line):
        make(name, RATE)


@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize("rate", [44_100, 48_000, 24_000, 16_000, 8_000])
def test_mp3_of_every_kind_is_heard(rate: int, layout: str) -> None:
    """MPEG 1 (from 32 kHz on), MPEG 2 (from 16 kHz on) and MPEG 2.5."""
    decoder = Mp3Decoder()
    heard = b"".join(map(decoder.decode, in_pieces(mp3(sweep(1.0, rate), rate, layout), 417)))
    heard += decoder.flush()
    assert likeness(samples(heard), sweep(1.0))[0] > 0.98


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 1500))
def test_an_mp3_may_be_split_anywhere_and_a_tag_is_not_heard(size: int) -> None:
    bare = mp3(sweep(0.3), RATE)
    tagged = id3(bare[:300] + b"\xff\xfb\x90\x00" * 20) + bare
    plain, decoder = Mp3Decoder(), Mp3Decoder()
    whole = plain.decode(bare) + plain.flush()
    assert b"".join(map(decoder.decode, in_pieces(tagged, size))) + decoder.flush() == whole


def test_a_decoder_takes_one_mp3_after_another() -> None:
    decoder, one, two = Mp3Decoder(), mp3(sweep(0.3), RATE), mp3(sweep(0.6, 44_100), 44_100, "stereo")
    assert decoder.decode(one) + decoder.flush()
    again = decoder.decode(id3(b"title") + two) + decoder.flush()
    assert likeness(samples(again), sweep(0.6))[0] > 0.98


def test_two_mp3s_of_two_rates_in_one_stream_are_both_heard() -> None:
    decoder = Mp3Decoder()
    heard = decoder.decode(mp3(sweep(0.3), RATE) + mp3(sweep(0.3, 48_000), 48_000)) + decoder.flush()
    assert len(samples(heard)) > 0.6 * RATE


def test_what_is_no_mp3_is_one_line_and_the_next_one_is_heard() -> None:
    decoder = Mp3Decoder()
    with pytest.raises(CodecError, match="no MP3") as caught:
        decoder.decode((b"\xff\xfb\x90\x00" + b"\xaa" * 413) * 40)
    assert "\n" not in str(caught.value)
    decoder.flush()
    assert decoder.decode(mp3(sweep(0.3), RATE)) + decoder.flush()
