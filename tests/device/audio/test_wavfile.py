"""WAV files as a microphone that can be spoken into by appending, and as a loudspeaker that can be killed."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
import wave
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.audio.wavfile import WavInput, WavOutput
from device.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Callable

RATE = 16_000


def test_the_file_is_heard_once_and_then_silence(wav: Callable[..., Path]) -> None:
    spoken = np.arange(1, 501).astype(np.int16)
    source = WavInput(wav(spoken, RATE), RATE, 2, "s16")
    first, second = source.read(320), source.read(320)
    assert np.array_equal(first[:, 0], spoken[:320])
    assert np.array_equal(first[:, 1], first[:, 0])
    assert np.array_equal(second[:180, 0], spoken[320:])
    assert not second[180:].any()
    assert not source.read(320).any()
    source.close()


def test_what_is_appended_later_is_heard_later(wav: Callable[..., Path]) -> None:
    path = wav(np.ones(320, np.int16), RATE)
    source = WavInput(path, RATE, 1, "s16")
    assert source.read(320).all()
    assert not source.read(320).any()
    with path.open("ab") as file:
        file.write(np.full(320, 7, np.int16).tobytes())
    assert set(source.read(320)[:, 0]) == {7}
    source.close()


def test_half_a_frame_at_the_end_waits_for_the_other_half(wav: Callable[..., Path]) -> None:
    path = wav(np.zeros((0, 2), np.int32), RATE)
    source = WavInput(path, RATE, 2, "s32")
    frame = np.array([[1 << 20, 2 << 20]], np.int32).tobytes()
    with path.open("ab", buffering=0) as file:
        file.write(frame[:3])
        assert not source.read(320).any()
        file.write(frame[3:])
        assert source.read(320)[0].tolist() == [1 << 20, 2 << 20]
    source.close()


@pytest.mark.parametrize(("wanted", "value"), [("s32", 1_000 << 16), ("s16", 1_000)])
@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_either_width_serves_as_either(
    wav: Callable[..., Path], dtype: type[np.int16 | np.int32], wanted: str, value: int
) -> None:
    samples = np.full(320, 1_000 if dtype is np.int16 else 1_000 << 16, dtype)
    source = WavInput(wav(samples, RATE), RATE, 1, wanted)
    assert set(source.read(320)[:, 0].tolist()) == {value}
    source.close()


def test_a_file_of_another_shape_is_refused_by_name(wav: Callable[..., Path], tmp_path: Path) -> None:
    path = wav(np.zeros(10, np.int16), 8_000)
    with pytest.raises(AudioError, match=r"mic.wav is 1 x 8000 Hz, not 2 x 16000 Hz"):
        WavInput(path, RATE, 2, "s16")
    with pytest.raises(AudioError, match=r"none.wav cannot be read: No such file"):
        WavInput(tmp_path / "none.wav", RATE, 1, "s16")
    (tmp_path / "text.wav").write_text("hello, this is no sound")
    with pytest.raises(AudioError, match=r"text.wav is not a WAV file"):
        WavInput(tmp_path / "text.wav", RATE, 1, "s16")


def test_a_killed_writer_leaves_a_file_that_can_be_read_and_continued(tmp_path: Path) -> None:
    path = tmp_path / "speaker.wav"
    code = (
        "import sys, numpy as np\nfrom pathlib import Path\nfrom device.audio.wavfile import WavOutput\n"
        f"sink = WavOutput(Path(sys.argv[1]), {RATE})\n"
        "for n in range(10**6):\n"
        "    sink.write(np.full(sink.block, 1234, np.int16))\n"
        "    if n == 150: print('going', flush=True)\n"
    )
    root = Path(__file__).resolve().parents[3]
    child = subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=root, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    child.kill()
    child.wait()
    child.stdout.close()
    with wave.open(str(path)) as file:
        frames = file.getnframes()
    assert frames > 0.4 * RATE
    with path.open("ab") as torn:
        torn.write(b"\x01")
    there = (path.stat().st_size - 44) // 2
    sink = WavOutput(path, RATE)
    sink.write(np.full(80, 77, np.int16))
    sink.close()
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    assert set(samples[:there].tolist()) == {1234}
    assert samples[-80:].tolist() == [77] * 80


def test_time_without_sound_is_silence_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "speaker.wav"
    sink = WavOutput(path, RATE)
    source = WavInput(path, RATE, 1, "s16")  # a clock that blocks
    sink.write(np.full(80, 5, np.int16))
    sink.rest()
    for _ in range(10):
        source.read(320)
    sink.write(np.full(80, 6, np.int16))
    sink.close()
    source.close()
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    between = np.flatnonzero(samples == 6)[0] - np.flatnonzero(samples == 5)[-1]
    assert 0.15 * RATE < between < 0.5 * RATE
    assert sink.underruns == 0


def test_another_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "diary.wav").write_text("dear diary, " * 10)
    with pytest.raises(AudioError, match="move it out of the way"):
        WavOutput(tmp_path / "diary.wav", RATE)
    assert (tmp_path / "diary.wav").read_text() == "dear diary, " * 10
    with pytest.raises(AudioError, match="cannot be written"):
        WavOutput(tmp_path / "nowhere" / "speaker.wav", RATE)


def test_what_is_in_the_file_already_may_be_past(wav: Callable[..., Path]) -> None:
    path = wav(np.full(RATE, 7, np.int16), RATE)
    source = WavInput(path, RATE, 1, "s16", from_end=True)
    assert not source.read(RATE // 50).any()
    with path.open("ab") as file:
        file.write(np.full(RATE, 9, np.int16).tobytes())
    assert set(source.read(RATE // 50).flat) == {9}
    source.close()


def test_a_long_silence_costs_no_memory(tmp_path: Path) -> None:
    out = WavOutput(tmp_path / "out.wav", 48_000)
    out._started_at -= 600
    tracemalloc.start()
    out.write(np.ones(240, np.int16))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    out.close()
    assert peak < 1 << 20
    with wave.open(str(tmp_path / "out.wav")) as file:
        heard = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    assert abs(len(heard) - 600 * 48_000) < 48_000
    assert not heard[: 599 * 48_000].any()
    assert heard[-240:].all()
