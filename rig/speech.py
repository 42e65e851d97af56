"""A mouth and an ear for rigs: text to speech, and speech to text, on CPU with models from the wheels."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from device.dsp.resample import Resampler

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.int16]

SPOKEN_HZ = 24_000
_HEARD_HZ = 16_000
_LOUD = 300  # of 32767; less is not a voice
_MARGIN = _HEARD_HZ // 4


def say(text: str) -> Samples:
    """Speak: mono PCM16 at 24 kHz, the same samples for the same text."""
    wave = _voice()(text, seed=1)
    pcm: Samples = np.clip(np.rint(wave * 32767), -32768, 32767).astype(np.int16)
    return pcm


def hear(pcm: Samples, rate: int) -> str:
    """Return the words of mono PCM16 at `rate` Hz in lower case, "" for silence."""
    ear = _trimmed(Resampler(rate, _HEARD_HZ).process(pcm))
    if not len(ear):
        return ""
    decoder = _decoder()
    decoder.start_utt()
    decoder.process_raw(ear.astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    best = decoder.hyp()
    return str(best.hypstr) if best else ""


def _trimmed(pcm: Samples) -> Samples:
    """Cut the silence off both ends and fill the rest: the recogniser stumbles over exact zeros."""
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > _LOUD)
    if not len(loud):
        return pcm[:0]
    voice = np.pad(pcm[max(0, loud[0] - _MARGIN) : loud[-1] + _MARGIN], _MARGIN)
    hiss = np.random.default_rng(1).integers(-4, 5, len(voice))
    heard: Samples = np.clip(voice + hiss, -32768, 32767).astype(np.int16)
    return heard


@cache
def _voice() -> Any:
    from hibari import Hibari  # noqa: PLC0415 # half a second that belongs to the first words

    return Hibari()


@cache
def _decoder() -> Any:
    from pocketsphinx import Decoder  # noqa: PLC0415 # the same

    return Decoder(samprate=_HEARD_HZ, loglevel="FATAL")
