"""The PyAudio driver: names, formats, refusals, and a card that is pulled out."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

import numpy as np
import pyaudio
import pytest

from device.audio import portaudio
from device.audio.portaudio import PortAudioInput, PortAudioOutput, list_devices
from device.errors import AudioError, FormatError
from rig.card import Card
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator

NOISE = b"""\
ALSA lib confmisc.c:855:(parse_card) cannot find card '0'
Cannot create thread res = 1
JackMessageBuffer::Create cannot start thread
Cannot create message buffer
Cannot connect to server socket err = No such file or directory
Cannot connect to server request channel
jack server is not running or cannot be started
JackShmReadWritePtr::~JackShmReadWritePtr - Init not done for -1, skipping unlock
Expression 'parameters->channelCount <= maxChans' failed in 'src/hostapi/alsa/pa_linux_alsa.c', line: 1514

"""


@pytest.fixture
def other_card(tmp_path: Path) -> Iterator[Card]:
    """A card that a test may break; a process has to be started on it."""
    with Card(tmp_path / "card", mic_channels=6, mic_rate=16_000) as card:
        yield card


@contextlib.contextmanager
def run(card: Card, code: str) -> Iterator[Child]:
    """A Python process on that card; it is gone afterwards."""
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", "from device.audio.portaudio import *\nimport numpy as np\n" + code]
    with subprocess.Popen(command, env=card.env, cwd=root, stdout=PIPE, stderr=PIPE, text=True) as process:
        try:
            yield Child(process)
        finally:
            process.kill()


class Child:
    """What a process says and how it ends."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def end(self) -> tuple[int, str]:
        """Exit status and standard error."""
        _, errors = self._process.communicate(timeout=20)
        return self._process.returncode, errors


@pytest.mark.usefixtures("card")
def test_devices_are_listed_with_what_they_take() -> None:
    facts = {device.name: device for device in list_devices()}
    assert {"rigmic", "rigspk"} <= set(facts)
    assert facts["rigmic"].inputs >= 2
    assert (facts["rigspk"].inputs, facts["rigspk"].outputs > 0) == (0, True)
    assert {16_000, 48_000} <= set(facts["rigmic"].rates)
    assert facts["rigmic"].formats == ["s16", "s32"]


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("name", ["rigmic", "RIGM"])
def test_a_device_is_found_by_its_name_or_a_part_of_it(name: str) -> None:
    source = PortAudioInput(name, 48_000, 1, "s16")
    assert source.read(960).dtype == np.int16
    source.close()


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("name", ["", "0", "nosuch"])
def test_a_missing_device_is_an_error_that_lists_the_names(name: str) -> None:
    with pytest.raises(
        AudioError, match=r'no sound input called ".*": there are "rigmic", "rigspk", "default"'
    ):
        PortAudioInput(name, 48_000, 1, "s16")


def test_an_alsa_card_id_is_found_by_its_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "card1").mkdir()
    (tmp_path / "sndrpigooglevoi").symlink_to("card1")
    monkeypatch.setattr(portaudio, "_ASOUND", tmp_path)
    names = [
        "HDMI: b (hw:0,0)",
        "snd_rpi_googlevoicehat_soundcar: c (hw:1,0)",
        "sndrpigooglevoi long (hw:2,0)",
    ]
    library: Any = Listing(names)
    assert portaudio._find(library, "sndrpigooglevoi", "input")["index"] == 1
    assert portaudio._find(library, "HDMI: b (hw:0,0)", "input")["index"] == 0
    with pytest.raises(AudioError, match="no sound input"):
        portaudio._find(library, "../card1", "input")


class Listing:
    """The part of PyAudio that lists devices."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def get_device_count(self) -> int:
        return len(self._names)

    def get_device_info_by_index(self, index: int) -> dict[str, Any]:
        return {"index": index, "name": self._names[index], "maxInputChannels": 2, "maxOutputChannels": 0}


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize(
    ("channels", "sample_format", "text"),
    [(0, "s16", "0 channels"), (9, "s16", "1 to 8"), (1, "s24", 'sample format "s24" is unknown')],
)
def test_what_cannot_be_asked_for_is_refused_before_opening(
    channels: int, sample_format: str, text: str
) -> None:
    with pytest.raises(AudioError, match=text):
        PortAudioInput("rigmic", 48_000, channels, sample_format)


class Refusing:
    """A library whose device takes 48 kHz only."""

    def open(self, rate: int, channels: int, code: int, **_: Any) -> None:
        raise OSError(-9997, "Invalid sample rate")

    def is_format_supported(self, rate: int, **_: Any) -> bool:
        if rate != 48_000:
            raise ValueError("Invalid sample rate", -9997)
        return True


def test_a_refused_rate_names_the_rates_that_work() -> None:
    library: Any = Refusing()
    device = portaudio._Device(library, {"index": 0, "name": "voicehat", "maxInputChannels": 2}, "input")
    with pytest.raises(AudioError, match='input "voicehat" refuses 16000 Hz: it takes 48000'):
        device.open(16_000, 2, "s32")
    with pytest.raises(AudioError, match='input "voicehat" has 2 channels, not 4'):
        device.open(48_000, 4, "s32")


class Overflowing:
    """A stream that has lost samples once."""

    def __init__(self) -> None:
        self.errors = [OSError(pyaudio.paInputOverflowed, "Input overflowed")]

    def read(self, frames: int) -> bytes:
        if self.errors:
            raise self.errors.pop()
        return bytes(frames * 2)


@pytest.mark.usefixtures("card")
def test_lost_samples_are_counted_and_the_stream_goes_on() -> None:
    source = PortAudioInput("rigmic", 48_000, 1, "s16")
    running = source._stream
    stand_in: Any = Overflowing()
    source._stream = stand_in
    assert len(source.read(960)) == 960
    assert source.overruns == 1
    source._stream = running
    source.close()


def test_six_channels_at_16_khz_are_heard_each(other_card: Card) -> None:
    code = (
        "source = PortAudioInput('rigmic', 16000, 6, 's32')\n"
        "source.read(320)\n"
        "print('ready', flush=True)\n"
        "while not (block := np.abs(source.read(320) >> 16)).all(): pass\n"
        "print(*block[-1], flush=True)\n"
    )
    with run(other_card, code) as child:
        assert child.line() == "ready"
        other_card.feed(np.full(16_000, 7_000, np.int16), 16_000)
        assert [int(value) for value in child.line().split()] == [pytest.approx(7_000, abs=20)] * 6


@pytest.mark.parametrize(
    ("opened", "used"),
    [
        ("PortAudioInput('rigmic', 16000, 2, 's32')", "stream.read(320)"),
        ("PortAudioOutput('rigspk', 48000, 2, 's16')", "stream.write(np.zeros(320, np.int16))"),
    ],
)
def test_a_card_that_is_pulled_out_is_one_clear_error(other_card: Card, opened: str, used: str) -> None:
    code = (
        f"stream = {opened}\n"
        f"{used}\n"
        "print('ready', flush=True)\n"
        "try:\n"
        f"    while True: {used}\n"
        "except AudioError as error: print(error, flush=True)\n"
        "stream.close()\n"
    )
    with run(other_card, code) as child:
        assert child.line() == "ready"
        other_card.unplug()
        assert " is gone: " in child.line()
        assert child.end()[0] == 0  # PortAudio prints a few lines of its own


def test_nothing_is_printed_while_opening(other_card: Card) -> None:
    code = (
        "list_devices()\nPortAudioOutput('rigspk', 48000).close()\nimport sys; print('mine', file=sys.stderr)"
    )
    with run(other_card, code) as child:
        assert child.end() == (0, "mine\n")


@pytest.mark.usefixtures("card")
def test_every_channel_of_the_loudspeaker_plays_in_32_bits_too(card: Card, tmp_path: Path) -> None:
    recorder = card.record(tmp_path / "speaker.wav")
    sink = PortAudioOutput("rigspk", 48_000, 2, "s32", rests=True)
    tone = np.full(sink.block, 6_000, np.int16)
    playing = threading.Event()

    def play() -> None:
        while not playing.is_set():
            sink.write(tone)

    player = threading.Thread(target=play)
    player.start()
    try:
        until(lambda: 6_000 in np.frombuffer(recorder.path.read_bytes()[44:][: 1 << 20], np.int16))
    finally:
        playing.set()
        player.join()
        sink.close()
        recorder.stop()


class Held(Refusing):
    """A library whose device another program has."""

    def open(self, rate: int, channels: int, code: int, **_: Any) -> None:
        raise OSError(-9985, "Device unavailable")

    def is_format_supported(self, rate: int, **_: Any) -> bool:
        raise ValueError("Device unavailable", -9985)


def test_a_held_card_is_no_wrong_format(monkeypatch: pytest.MonkeyPatch) -> None:
    library: Any = Held()
    device = portaudio._Device(library, {"index": 0, "name": "voicehat", "maxInputChannels": 2}, "input")
    with pytest.raises(AudioError, match="another program holds it") as raised:
        device.open(48_000, 2, "s32")
    assert not isinstance(raised.value, FormatError)


class Starts:
    """PortAudio as it starts: it lists what is there at that moment."""

    def __init__(self) -> None:
        self.there = ["speaker"]
        self.running = 0

    def start(self) -> Any:
        self.running += 1
        return Listed(self, list(self.there))


class Listed(Listing):
    """One start of it."""

    def __init__(self, starts: Starts, names: list[str]) -> None:
        super().__init__(names)
        self._starts = starts

    def open(self, *_: object, **__: object) -> Any:
        return Stream()

    def terminate(self) -> None:
        self._starts.running -= 1


class Stream:
    """A stream of it."""

    def close(self) -> None:
        pass


def free(asound: Path, card: int) -> None:
    status = asound / f"card{card}" / "pcm0c" / "sub0" / "status"
    status.parent.mkdir(parents=True, exist_ok=True)
    status.write_text("closed\n")


def test_a_card_that_came_later_is_listed_once_all_streams_were_closed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    starts, library = Starts(), portaudio._Library()
    monkeypatch.setattr(portaudio, "_start", starts.start)
    monkeypatch.setattr(portaudio, "_ASOUND", tmp_path)
    free(tmp_path, 0)
    speaker, number = library.open("speaker", "input", 48_000, 1, "s16")
    for _ in range(3):
        with pytest.raises(AudioError, match='no sound input called "microphone"'):
            library.open("microphone", "input", 48_000, 1, "s16")
        library.check(number)  # nothing has changed: the one that works is left alone
    free(tmp_path, 1)
    starts.there.append("microphone")
    with pytest.raises(AudioError, match="no sound input"):
        library.open("microphone", "input", 48_000, 1, "s16")
    with pytest.raises(AudioError, match="another sound card is looked for"):
        library.check(number)
    library.close(speaker)
    assert starts.running == 0
    for name in ("microphone", "speaker"):
        _, number = library.open(name, "input", 48_000, 1, "s16")
        library.check(number)
    assert starts.running == 1


def test_a_sound_servers_card_is_looked_for_now_and_then(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    starts, library = Starts(), portaudio._Library()
    monkeypatch.setattr(portaudio, "_start", starts.start)
    monkeypatch.setattr(portaudio, "_ASOUND", tmp_path)
    monkeypatch.setattr(portaudio, "_RENEW_S", 0.0)
    _, number = library.open("speaker", "input", 48_000, 1, "s16")
    with pytest.raises(AudioError, match="no sound input"):
        library.open("microphone", "input", 48_000, 1, "s16")
    with pytest.raises(AudioError, match="another sound card is looked for"):
        library.check(number)


def test_complaints_are_dropped_and_other_lines_kept(capfd: pytest.CaptureFixture[str]) -> None:
    with portaudio._quiet():
        os.write(2, NOISE + b"INFO the card seeed2micvoicec is open; ALSA and Jack are well\n")
    assert capfd.readouterr().err == "INFO the card seeed2micvoicec is open; ALSA and Jack are well\n"


def test_a_sound_system_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(-10000, "PortAudio not initialized")

    monkeypatch.setattr(pyaudio, "PyAudio", refuse)
    with pytest.raises(AudioError, match="the sound system does not start: PortAudio not initialized"):
        portaudio._Library().open("any", "input", 48_000, 1, "s16")
