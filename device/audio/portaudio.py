"""The PyAudio driver: streams by device name, blocking, with only a small cushion in the card."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyaudio

from device.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device.ports import Frames, Samples

_FORMATS = {"s32": (pyaudio.paInt32, np.int32), "s16": (pyaudio.paInt16, np.int16)}
_RATES = (8000, 16000, 24000, 32000, 44100, 48000)


class DeviceFacts(msgspec.Struct, frozen=True):
    """What one sound device can do, as PortAudio says. `inputs` and `outputs`: channels."""

    name: str
    inputs: int
    outputs: int
    formats: list[str]
    rates: list[int]


def list_devices() -> list[DeviceFacts]:
    """Return all devices in PortAudio's order."""
    with _portaudio() as audio:
        return [_facts(audio, index) for index in range(audio.get_device_count())]


class PortAudioInput:
    """A microphone. Raises AudioError when it is missing or refuses the format."""

    def __init__(self, device: str, *, rate: int, channels: int, sample_format: str) -> None:
        self.rate, self.channels = rate, channels
        code, self._type = _FORMATS[sample_format]
        self._name = device
        self._audio = _initialise()
        self._stream = _open(
            self._audio, device, rate, channels, code, is_input=True, frames_per_buffer=rate // 50
        )
        self.latency_s = min(0.02, float(self._stream.get_input_latency()))
        self.overruns = 0

    def read(self, frames: int) -> Frames:
        """Block until `frames` frames have arrived, shape (frames, channels)."""
        try:
            data = self._stream.read(frames, exception_on_overflow=False)
        except OSError as error:
            raise AudioError(f"the microphone {self._name} is gone: {error}") from None
        return np.frombuffer(data, self._type).reshape(-1, self.channels)

    def close(self) -> None:
        """Stop and release the device; safe to call twice."""
        _close(self._audio, self._stream)


class PortAudioOutput:
    """A speaker, fed in mono and heard on every channel."""

    def __init__(self, device: str, *, rate: int, channels: int, sample_format: str) -> None:
        self.rate = rate
        self._channels = channels
        self._name = device
        code, self._type = _FORMATS[sample_format]
        self._audio = _initialise()
        self._stream = _open(
            self._audio, device, rate, channels, code, is_input=False, frames_per_buffer=rate // 100
        )
        self._room = self._stream.get_write_available()
        self.underruns = 0

    def write(self, samples: Samples) -> None:
        """Hand over mono samples, blocking until the driver has taken them."""
        frames = samples if self._type is np.int16 else samples.astype(np.int32) << 16
        if self._channels > 1:
            frames = np.repeat(frames, self._channels)
        try:
            self._stream.write(frames.tobytes(), exception_on_underflow=False)
        except OSError as error:
            raise AudioError(f"the speaker {self._name} is gone: {error}") from None

    @property
    def pending(self) -> int:
        """Frames taken by `write` and not heard yet."""
        try:
            return max(0, self._room - int(self._stream.get_write_available()))
        except OSError as error:
            raise AudioError(f"the speaker {self._name} is gone: {error}") from None

    def close(self) -> None:
        """Stop and release the device; safe to call twice."""
        _close(self._audio, self._stream)


def _open(
    audio: pyaudio.PyAudio, device: str, rate: int, channels: int, code: int, *, is_input: bool, frames_per_buffer: int
) -> pyaudio._Stream:
    index = _find(audio, device, is_input=is_input)
    side = "input" if is_input else "output"
    # An index that PortAudio does not know crashes the interpreter in open(); this call raises instead.
    audio.get_device_info_by_index(index)
    try:
        return audio.open(
            format=code,
            channels=channels,
            rate=rate,
            frames_per_buffer=frames_per_buffer,
            **{side: True, f"{side}_device_index": index},
        )
    except (OSError, ValueError) as error:
        takes = ", ".join(str(one) for one in _facts(audio, index).rates) or "none of the usual ones"
        audio.terminate()
        raise AudioError(f"{device} refuses {channels} channels at {rate} Hz ({error}); it takes {takes} Hz") from None


def _find(audio: pyaudio.PyAudio, wanted: str, *, is_input: bool) -> int:
    """Find a device by exact name, then by ALSA card id, then by part of its name."""
    side = "maxInputChannels" if is_input else "maxOutputChannels"
    names: dict[str, int] = {}
    for index in range(audio.get_device_count()):
        info = audio.get_device_info_by_index(index)
        if int(info[side]) > 0:
            names.setdefault(str(info["name"]), index)
    if wanted in names:
        return names[wanted]
    card = _card_number(wanted)
    for part in filter(None, (card and f"(hw:{card},", wanted)):
        for name, index in names.items():
            if part in name:
                return index
    audio.terminate()
    kind = "microphone" if is_input else "speaker"
    raise AudioError(f"there is no {kind} named {wanted}; there are: {', '.join(names) or 'none'}")


def _card_number(card_id: str) -> str | None:
    """Resolve /proc/asound/<id>, a link to card<N>."""
    try:
        return Path("/proc/asound", card_id).readlink().name.removeprefix("card")
    except OSError:
        return None


def _facts(audio: pyaudio.PyAudio, index: int) -> DeviceFacts:
    info = audio.get_device_info_by_index(index)
    inputs, outputs = int(info["maxInputChannels"]), int(info["maxOutputChannels"])
    rates = [rate for rate in _RATES if _takes(audio, index, rate, pyaudio.paInt16, inputs)]
    formats = [name for name, (code, _) in _FORMATS.items() if _takes(audio, index, 48000, code, inputs)]
    return DeviceFacts(str(info["name"]), inputs, outputs, formats, rates)


def _takes(audio: pyaudio.PyAudio, index: int, rate: int, code: int, inputs: int) -> bool:
    side = "input" if inputs else "output"
    try:
        with _quiet():
            return bool(
                audio.is_format_supported(
                    rate, **{f"{side}_device": index, f"{side}_channels": 1, f"{side}_format": code}
                )
            )
    except ValueError:
        return False


def _initialise() -> pyaudio.PyAudio:
    with _quiet():
        return pyaudio.PyAudio()


@contextlib.contextmanager
def _portaudio() -> Iterator[pyaudio.PyAudio]:
    audio = _initialise()
    try:
        yield audio
    finally:
        audio.terminate()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ALSA prints a page of noise while PortAudio looks at every card: send it nowhere."""
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def _close(audio: pyaudio.PyAudio, stream: pyaudio._Stream) -> None:
    with contextlib.suppress(OSError):
        stream.close()
    audio.terminate()
