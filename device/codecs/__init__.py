"""Between PCM16 and what goes over the wire: a codec for each encoding and MIME type, made by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from device.codecs.rates import RATES_HZ
from device.codecs.wav import WavDecoder
from device.dsp import g711
from device.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Encoder(Protocol):
    """One direction of one session. `encode` takes PCM16 mono in any length, whole samples."""

    def encode(self, pcm: bytes) -> list[bytes]:
        """Return the pieces that are ready, each to go out as one message."""


class Decoder(Protocol):
    """One stream of sound. `rate`: Hz of the PCM16 mono that comes out."""

    @property
    def rate(self) -> int: ...
    def decode(self, sound: bytes) -> bytes:
        """Return the PCM16 that is ready. Raises CodecError, one line, for what is no such sound."""

    def flush(self) -> bytes:
        """Return the rest: no more will come."""


class Pcm16:
    """Nothing to do, but that a sample may be cut in two."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._half = b""

    def encode(self, pcm: bytes) -> list[bytes]:
        return [pcm]

    def decode(self, sound: bytes) -> bytes:
        sound = self._half + sound
        whole = len(sound) & ~1
        self._half = sound[whole:]
        return sound[:whole]

    def flush(self) -> bytes:
        return b""


class G711:
    """One byte a sample."""

    def __init__(self, rate: int, law: g711.Law) -> None:
        self.rate = rate
        self._law = law

    def encode(self, pcm: bytes) -> list[bytes]:
        return [g711.encode(pcm, self._law)]

    def decode(self, sound: bytes) -> bytes:
        return g711.decode(sound, self._law)

    def flush(self) -> bytes:
        return b""


class Silent:
    """For a direction without sound: all of it is dropped."""

    def __init__(self, rate: int) -> None:
        self.rate = rate

    def encode(self, _pcm: bytes) -> list[bytes]:
        return []

    def decode(self, _sound: bytes) -> bytes:
        return b""

    def flush(self) -> bytes:
        return b""


def _opus_encoder(rate: int) -> Encoder:
    from device.codecs.pyav import OggOpusEncoder  # noqa: PLC0415 # an extra that only some providers need

    return OggOpusEncoder(rate)


def _opus_decoder(_rate: int) -> Decoder:
    from device.codecs.pyav import OggOpusDecoder  # noqa: PLC0415 # the same

    return OggOpusDecoder()


def _mp3_decoder(_rate: int) -> Decoder:
    from device.codecs.pyav import Mp3Decoder  # noqa: PLC0415 # the same

    return Mp3Decoder()


ENCODERS: dict[str, Callable[[int], Encoder]] = {
    "pcm16": Pcm16,
    "g711_ulaw": lambda rate: G711(rate, "ulaw"),
    "g711_alaw": lambda rate: G711(rate, "alaw"),
    "ogg_opus": _opus_encoder,
    "none": Silent,
}
DECODERS: dict[str, Callable[[int], Decoder]] = {
    "pcm16": Pcm16,
    "audio/pcm": Pcm16,
    "g711_ulaw": lambda rate: G711(rate, "ulaw"),
    "audio/pcmu": lambda rate: G711(rate, "ulaw"),
    "audio/basic": lambda rate: G711(rate, "ulaw"),
    "g711_alaw": lambda rate: G711(rate, "alaw"),
    "audio/pcma": lambda rate: G711(rate, "alaw"),
    "ogg_opus": _opus_decoder,
    "audio/ogg": _opus_decoder,
    "audio/mpeg": _mp3_decoder,
    "audio/mp3": _mp3_decoder,
    "audio/wav": WavDecoder,
    "audio/x-wav": WavDecoder,
    "audio/wave": WavDecoder,
    "none": Silent,
}


def make_encoder(encoding: str, rate: int) -> Encoder:
    """Return a new encoder for PCM16 mono at `rate` Hz. Raises CodecError when its library is missing."""
    return _made(ENCODERS, encoding, rate)


def make_decoder(name: str, rate: int) -> Decoder:
    """Return a new decoder for an encoding, or for a MIME type such as "audio/pcm;rate=16000".

    `rate`, in Hz, holds where the MIME type names none. Raises CodecError when there is no such decoder.
    """
    kind, *parameters = (part.strip() for part in name.lower().split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key == "rate" and value.isdecimal():
            rate = int(value[:9])
    if rate not in RATES_HZ:
        raise CodecError(f"{name[:60]!r} has a rate that no sound here has; known: {RATES_HZ}")
    return _made(DECODERS, kind, rate)


def _made(table: dict[str, Callable[[int], T]], name: str, rate: int) -> T:
    make = table.get(name)
    if make is None:
        raise CodecError(f"there is no codec for {name[:60]!r} here; known: {', '.join(table)}")
    try:
        return make(rate)
    except ImportError as error:
        line = f"{name} needs the Python package {error.name}: pip install 'pressel[codecs]'"
        raise CodecError(line) from None
