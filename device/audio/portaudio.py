"""The sound card by way of PyAudio; the only file that imports it."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyaudio

from device.errors import AudioError, FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device.ports import Frames, Samples

RATES = (8_000, 16_000, 24_000, 44_100, 48_000)
MAX_CHANNELS = 8

_FORMATS: dict[str, tuple[int, np.dtype[Any]]] = {
    "s16": (pyaudio.paInt16, np.dtype(np.int16)),
    "s32": (pyaudio.paInt32, np.dtype(np.int32)),
}
_INPUT_BLOCKS_PER_S = 50
_OUTPUT_BLOCKS_PER_S = 150  # 6.7 ms: PortAudio keeps three of them in the card
_CLOSE_S = 0.5
_ASOUND = Path("/proc/asound")
_RENEW_S = 30.0  # between two looks for cards that the kernel does not know
_REFUSED = (pyaudio.paInvalidSampleRate, pyaudio.paInvalidChannelCount, pyaudio.paSampleFormatNotSupported)


class DeviceFacts(msgspec.Struct, frozen=True):
    """What a device says of itself. Software devices claim up to 128 channels."""

    name: str
    inputs: int
    outputs: int
    rates: list[int]  # Hz, of `RATES`
    formats: list[str]  # "s16", "s32"


class PortAudioInput:
    """A running capture stream: implements AudioInput."""

    def __init__(self, device: str, rate: int, channels: int, sample_format: str) -> None:
        self.rate, self.channels = rate, channels
        self.overruns = 0
        self._name = device
        self._stream, self._list = _library.open(device, "input", rate, channels, sample_format)
        self._dtype = _FORMATS[sample_format][1]
        self._guard = _Guard(device)

    def read(self, frames: int) -> Frames:
        """Shape (frames, channels), int16 or int32 as opened."""
        while True:
            with self._guard:
                _library.check(self._list)
                try:
                    data = self._stream.read(frames)
                except OSError as error:
                    # An overflow takes the block with it: it is counted, and the next one is whole.
                    if error.errno != pyaudio.paInputOverflowed:
                        raise AudioError(_gone(self._name, error)) from error
                    self.overruns += 1
                else:
                    block: Frames = np.frombuffer(data, self._dtype).reshape(-1, self.channels)
                    return block

    @property
    def latency_s(self) -> float:
        """None: a read returns as the card's period ends. PortAudio's own figure is its whole buffer's."""
        return 0.0

    def close(self) -> None:
        """Stop and release; a device that is gone does not complain twice."""
        self._guard.close(self._stream)


class PortAudioOutput:
    """A playback stream: implements AudioOutput. Mono goes to every channel.

    `rests`: the clock may stop between replies. It costs nothing and starts sooner, but some amplifiers pop.
    """

    def __init__(
        self, device: str, rate: int, channels: int = 1, sample_format: str = "s16", *, rests: bool = False
    ) -> None:
        self.rate, self.block = rate, rate // _OUTPUT_BLOCKS_PER_S
        self.underruns = 0
        self._name, self._channels, self._rests = device, channels, rests
        self._wide = sample_format == "s32"
        self._stream, self._list = _library.open(device, "output", rate, channels, sample_format)
        self._guard = _Guard(device)
        self._room = self._stream.get_write_available()
        self._running = True

    def write(self, samples: Samples) -> None:
        """Blocks while the card holds more than about 15 ms."""
        wide = samples.astype(np.int32) << 16 if self._wide else samples
        data = (np.repeat(wide, self._channels) if self._channels > 1 else wide).tobytes()
        with self._guard:
            _library.check(self._list)
            try:
                if not self._running:
                    self._stream.start_stream()
                    self._running = True
                self._stream.write(data, len(samples), exception_on_underflow=True)
            except OSError as error:
                if error.errno != pyaudio.paOutputUnderflowed:  # that one only tells; the samples were taken
                    raise AudioError(_gone(self._name, error)) from error
                self.underruns += 1

    def rest(self) -> bool:
        """Stop the clock, if this card may."""
        _library.check(self._list)
        if self._rests and self._running:
            with self._guard, contextlib.suppress(OSError):  # a card that is gone says so at the next write
                self._stream.stop_stream()
            self._running = False
        return self._rests

    @property
    def pending(self) -> int:
        """What fills the card's buffer, and the block that a card or a sound server has taken out of it."""
        if not self._running:
            return 0
        try:
            return max(0, self._room - int(self._stream.get_write_available())) + self.block
        except OSError as error:
            raise AudioError(_gone(self._name, error)) from error

    def close(self) -> None:
        """Stop and release; a device that is gone does not complain twice."""
        self._guard.close(self._stream)


class _Guard:
    """Keeps a stream from being closed under a call that is still in it: that would crash the interpreter."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> None:
        self._lock.acquire()
        if self._closed:
            self._lock.release()
            raise AudioError(f'sound device "{self._name}" has been closed')

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def close(self, stream: pyaudio._Stream) -> None:
        """Release the stream once nobody is in it; a call that hangs keeps it until the process ends."""
        if self._closed:
            return
        self._closed = True
        if self._lock.acquire(timeout=_CLOSE_S):
            _library.close(stream)
            self._lock.release()


class _Library:
    """PortAudio, started once for all streams. It lists the cards when it starts, and never again.

    So a card that was plugged in later is seen once every stream has been closed. When it is worth while, the
    streams that run are told so (`check`), and whoever opened them opens them again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # for opening and closing, which PortAudio does not do at once
        self._handle: pyaudio.PyAudio | None = None
        self._users = 0
        self._list = 0  # counts the lists
        self._old = -1  # the newest list that is to be given up
        self._free: dict[str, set[str]] = {}  # when the list was made
        self._listed_at = 0.0

    def open(
        self, name: str, side: str, rate: int, channels: int, sample_format: str
    ) -> tuple[pyaudio._Stream, int]:
        """A running stream, and the number of the list that it was found in."""
        if sample_format not in _FORMATS:
            raise FormatError(
                f'sample format "{sample_format}" is unknown: take one of {", ".join(_FORMATS)}'
            )
        if not 1 <= channels <= MAX_CHANNELS:
            raise FormatError(f"{channels} channels cannot be opened: take 1 to {MAX_CHANNELS}")
        with self._lock:
            handle = self._take()
            try:
                found = _Device(handle, _find(handle, name, side), side)
                return found.open(rate, channels, sample_format), self._list
            except BaseException as error:
                self._give()
                if self._users and isinstance(error, AudioError) and self._is_old(side):
                    self._old = self._list
                raise

    def close(self, stream: pyaudio._Stream) -> None:
        """Close a stream that nobody uses."""
        with self._lock:
            with contextlib.suppress(OSError):
                stream.close()
            self._give()

    def check(self, number: int) -> None:
        """Raise AudioError when the streams of that list are to be closed, so that a new one can be made."""
        if number <= self._old:
            raise AudioError("another sound card is looked for: this one has to be opened again")

    def _take(self) -> pyaudio.PyAudio:
        if self._handle is None:
            self._handle = _start()
            self._list += 1
            self._free = {side: _free(side) for side in ("input", "output")}
            self._listed_at = time.monotonic()
        self._users += 1
        return self._handle

    def _give(self) -> None:
        self._users -= 1
        if self._users == 0 and self._handle is not None:
            self._handle.terminate()
            self._handle = None

    def _is_old(self, side: str) -> bool:
        # A sound server's cards are not in /proc: those are looked for now and then.
        now = _free(side)
        waited = time.monotonic() - self._listed_at > _RENEW_S
        return bool(now - self._free[side]) or (waited and not now)


_library = _Library()


def list_devices() -> list[DeviceFacts]:
    """Every device that PortAudio sees now, with the rates and formats it takes; opens each for a moment."""
    library = _start()
    try:
        return [_facts(library, info) for info in _devices(library)]
    finally:
        library.terminate()


def _facts(library: pyaudio.PyAudio, info: dict[str, Any]) -> DeviceFacts:
    # What is listed may still refuse: a loudspeaker of a sound server claims inputs, too.
    sides = [_Device(library, info, side) for side in ("input", "output")]
    takes = [{name: side.rates(min(2, side.most), name) for name in _FORMATS} for side in sides]
    inputs, outputs = (side.most if any(t.values()) else 0 for side, t in zip(sides, takes, strict=True))
    rates = sorted({rate for side in takes for found in side.values() for rate in found})
    formats = [name for name in _FORMATS if any(side[name] for side in takes)]
    return DeviceFacts(str(info["name"]), inputs, outputs, rates, formats)


class _Device:
    """One side of a device that PortAudio lists."""

    def __init__(self, library: pyaudio.PyAudio, info: dict[str, Any], side: str) -> None:
        self._library, self._side = library, side
        self._index = int(info["index"])
        self.most = int(info[f"max{side.capitalize()}Channels"])
        self._title = f'{side} "{info["name"]}"'

    def rates(self, channels: int, sample_format: str) -> list[int]:
        """The rates that it takes so, in Hz."""
        if not channels:
            return []
        with _quiet():
            return [rate for rate in RATES if self._takes(rate, channels, sample_format)]

    def open(self, rate: int, channels: int, sample_format: str) -> pyaudio._Stream:
        """A running stream; AudioError says what the device would take."""
        if channels > self.most:
            raise FormatError(f"{self._title} has {self.most} channels, not {channels}")
        blocks_per_s = _INPUT_BLOCKS_PER_S if self._side == "input" else _OUTPUT_BLOCKS_PER_S
        chosen: dict[str, Any] = {self._side: True, f"{self._side}_device_index": self._index}
        chosen["frames_per_buffer"] = rate // blocks_per_s
        try:
            with _quiet():
                return self._library.open(rate, channels, _FORMATS[sample_format][0], **chosen)
        except (OSError, ValueError) as error:
            rates = self.rates(channels, sample_format)
            if rates and rate not in rates:
                works = ", ".join(map(str, rates))
                raise FormatError(f"{self._title} refuses {rate} Hz: it takes {works}") from error
            what = f"{channels} x {sample_format} at {rate} Hz"
            kind = FormatError if error.args[0] in _REFUSED else AudioError
            raise kind(f"{self._title} cannot be opened with {what}: {_say(error)}") from error

    def _takes(self, rate: int, channels: int, sample_format: str) -> bool:
        asked: dict[str, Any] = {
            f"{self._side}_device": self._index,
            f"{self._side}_channels": channels,
            f"{self._side}_format": _FORMATS[sample_format][0],
        }
        try:
            return bool(self._library.is_format_supported(rate, **asked))
        except ValueError:
            return False


def _find(library: pyaudio.PyAudio, name: str, side: str) -> dict[str, Any]:
    # The index comes from PortAudio's own list: one out of range would crash the interpreter.
    able = [info for info in _devices(library) if info[f"max{side.capitalize()}Channels"] > 0]
    card = _card_tag(name)
    for matches in (
        lambda listed: listed == name,
        lambda listed: card is not None and card in listed,
        lambda listed: name.lower() in listed.lower(),
    ):
        for info in able:
            if name and matches(str(info["name"])):
                return info
    names = ", ".join(f'"{info["name"]}"' for info in able) or "none"
    raise AudioError(f'no sound {side} called "{name}": there are {names}')


def _card_tag(name: str) -> str | None:
    # /proc/asound/<card id> links to card<N>, and PortAudio ends such a device's name in (hw:N,0).
    link = _ASOUND / name
    if not name or "/" in name or not link.is_symlink():
        return None
    return f"(hw:{link.readlink().name.removeprefix('card')},"


def _devices(library: pyaudio.PyAudio) -> Iterator[dict[str, Any]]:
    for index in range(library.get_device_count()):
        yield dict(library.get_device_info_by_index(index))


def _start() -> pyaudio.PyAudio:
    # Searching for JACK must not start one.
    os.environ.setdefault("JACK_NO_START_SERVER", "1")
    try:
        with _quiet():
            return pyaudio.PyAudio()
    except OSError as error:
        raise AudioError(f"the sound system does not start: {error.args[-1]}") from error


def _free(side: str) -> set[str]:
    # The kernel's streams of one direction that nobody has open.
    kind = "c" if side == "input" else "p"
    found = set()
    for status in _ASOUND.glob(f"card*/pcm*{kind}/sub*/status"):
        with contextlib.suppress(OSError):
            if status.read_text().startswith("closed"):
                found.add(str(status))
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # ALSA and JACK print a page of complaints about devices that nobody asked for; other lines are kept.
    # The log has a descriptor of its own (system/logs.py): a call that hangs in here does not hold it up.
    kept, said = os.dup(2), os.memfd_create("stderr")
    try:
        os.dup2(said, 2)
        yield
    finally:
        os.dup2(kept, 2)
        lines = os.pread(said, os.fstat(said).st_size, 0).splitlines(keepends=True)
        os.write(kept, b"".join(line for line in lines if not _COMPLAINT.search(line)))
        os.close(kept)
        os.close(said)


_COMPLAINT = re.compile(
    rb"(?i)^(alsa lib |jack|cannot (connect to server|create (thread|message))|expression '|\s*$)"
)


def _say(error: OSError | ValueError) -> str:
    if error.args[0] == pyaudio.paDeviceUnavailable:
        return "another program holds it"
    return str(error.args[-1])


def _gone(name: str, error: OSError) -> str:
    return f'sound device "{name}" is gone: {error.args[-1]}'
