"""Speech as Delphi streams it: a MIME type, and base64 text in pieces."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import av
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

RATE = 24_000
PCM_MIME = f"audio/pcm;rate={RATE}"
MP3_MIME = "audio/mpeg"
_PIECE = 9_600  # bytes: 200 ms of PCM16, a multiple of three
_ODD_PIECE = 1_001  # characters


def encoded(pcm: bytes, mime: str) -> bytes:
    """Return 24 kHz PCM16 mono in the wanted form."""
    return _mp3(pcm) if mime == MP3_MIME else pcm


def pieces(sound: bytes, *, aligned: bool) -> Iterator[str]:
    """Yield base64 of three-byte aligned pieces, or one long base64 text cut anywhere."""
    if aligned:
        for at in range(0, len(sound), _PIECE):
            yield base64.b64encode(sound[at : at + _PIECE]).decode()
        return
    text = base64.b64encode(sound).decode()
    for at in range(0, len(text), _ODD_PIECE):
        yield text[at : at + _ODD_PIECE]


def _mp3(pcm: bytes) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as box:
        stream = box.add_stream("libmp3lame", rate=RATE, layout="mono")
        samples = np.frombuffer(pcm, "<i2").reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = RATE
        resampler = av.AudioResampler(format="s16p", layout="mono", rate=RATE)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            box.mux(stream.encode(part))
        box.mux(stream.encode(None))
    return file.getvalue()
