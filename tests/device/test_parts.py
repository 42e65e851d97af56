"""The parts as the configuration wants them: the longest turn outlives its session whole."""

from __future__ import annotations

import time
import wave
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from device.config import load
from device.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from device.audio.ring import Ring

RATE = 48_000


class Nobody:
    """A listener whom nothing that is told concerns."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


class Outlet:
    """A session that counts the sound it is sent."""

    input_rate = 24_000
    where = "here"

    def __init__(self) -> None:
        self.bytes, self.ended = 0, False

    def send_audio(self, pcm: bytes) -> None:
        self.bytes += len(pcm)

    def end_turn(self) -> None:
        self.ended = True

    @property
    def seconds(self) -> float:
        return self.bytes / 2 / self.input_rate


def _parts(folder: Path) -> Parts:
    with wave.open(str(folder / "mic.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", "not compressed"))
    config = folder / "config.toml"
    config.write_text(
        'board = "simulated"\n[backend]\nkind = "token"\nurl = "http://127.0.0.1:1"\n'
        f'realtime_url = "ws://127.0.0.1:1"\n[state]\ndir = "{folder}/state"\n[audio]\ndriver = "wav"\n'
        f'[audio.input]\ndevice = "{folder}/mic.wav"\n[audio.output]\ndevice = "{folder}/out.wav"\n'
    )
    return Parts(load(config).config, cast("Any", Nobody()))


def test_the_longest_turn_is_sent_again_whole_after_the_longest_wait(tmp_path: Path) -> None:
    parts = _parts(tmp_path)
    uplink, ring = parts.uplink, cast("Ring", parts.uplink._source)
    pressed_at = time.monotonic()
    ring.mark(pressed_at)
    first, second = Outlet(), Outlet()
    uplink.begin(pressed_at, 0)
    uplink.attach(cast("Any", first))
    for _ in range(120):  # as long as a turn may be
        ring.write(np.ones(RATE, np.int16))
        uplink.pump()
        uplink.pump()
    assert first.seconds > 119
    uplink.detach()
    uplink.end(pressed_at + 119.98)
    for _ in range(15):  # as long as it may wait
        ring.write(np.ones(RATE, np.int16))
        uplink.pump()
    uplink.attach(cast("Any", second))
    while not second.ended:
        uplink.pump()
    parts.store.close()
    parts.close()
    assert abs(second.seconds - 120) < 0.05
    assert uplink.frames_dropped == 0
