"""A device whose network can be broken: one proxy before the backend, one before the session's socket."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from device.dsp.resample import Resampler
from rig.proxy import Proxy
from rig.realtime import RATE, RealtimeServer, realtime_server
from tests.servers import until
from tests.stage import CARD_HZ, WavDevice

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

SPOKEN_S = 1.0


def sweep(seconds: float = SPOKEN_S) -> NDArray[np.int16]:
    """A tone that rises from 200 to 1200 Hz, at the card's rate: no part of it is like another one."""
    t = np.arange(int(seconds * CARD_HZ)) / CARD_HZ
    return (9_000 * np.sin(2 * np.pi * (200 * t + 500 * t**2 / seconds))).astype(np.int16)


def said_once(heard: NDArray[np.int16], spoken: NDArray[np.int16]) -> bool:
    """Whether what was heard has the spoken signal in it, whole, once, and nothing else."""
    wire = Resampler(CARD_HZ, RATE).process(spoken).astype(np.float64)
    got = heard.astype(np.float64)
    if len(got) < len(wire):
        return False
    size = 1 << (len(got) + len(wire)).bit_length()
    match = np.fft.irfft(np.fft.rfft(got, size) * np.conj(np.fft.rfft(wire, size)), size)
    energy = float(wire @ wire)
    return bool(match.max() > 0.99 * energy and 0.98 * energy < float(got @ got) < 1.02 * energy)


class Wire:
    """One device, its server, and what is between them."""

    def __init__(self, device: WavDevice, server: RealtimeServer, mint: Proxy, live: Proxy) -> None:
        self.device, self.server, self.mint, self.live = device, server, mint, live
        self._said = 0
        self._captured = 0.0  # blocks, when the words were over
        self._before = (0, 0)  # sessions, samples in the last one, before the turn

    def status(self) -> dict[str, Any]:
        return self.device.ask("status")

    @property
    def state(self) -> str:
        return str(self.status()["state"])

    @property
    def replies(self) -> int:
        return int(self.status()["counters"]["replies"])

    @property
    def captured(self) -> int:
        """How many blocks of 20 ms the device has captured."""
        return int(self.status()["counters"]["frames_captured"])

    def reach(self, *states: str, seconds: float = 20.0) -> None:
        until(lambda: self.state in states, seconds)

    def told(self, words: str, seconds: float = 20.0) -> None:
        """Wait until the device has logged some words, since the last ones that were waited for."""
        found = until(lambda: self.device.log.read_text().find(words, self._said) + 1, seconds)
        self._said = found + len(words) - 1

    def press(self) -> None:
        """Press and begin to speak; not so soon that the pre-roll has the words before in it."""
        until(lambda: self.captured > self._captured + 50, 20)
        sessions = self.server.sessions
        self._before = (len(sessions), len(self.server.heard_in(-1)) if sessions else 0)
        self._captured = self.captured + SPOKEN_S * 50 + 10
        self.device.ask("press")
        with self.device.microphone.open("ab") as file:
            file.write(sweep().tobytes())

    def release(self) -> None:
        """Release once all has been captured."""
        until(lambda: self.captured > self._captured, 20)
        self.device.ask("release")

    def heard(self, seconds: float) -> None:
        """Wait until the session has heard so much of the turn."""
        sessions, samples = self._before

        def much() -> bool:
            start = samples if len(self.server.sessions) == sessions else 0
            return bool(self.server.sessions) and len(self.server.heard_in(-1)) - start > seconds * RATE

        until(much, 20)

    def answered(self, replies: int, seconds: float = 30.0) -> None:
        """Wait for the n-th answer in all; its session must have heard the words whole and once."""
        until(lambda: self.replies >= replies, seconds)
        self.reach("ready", seconds=seconds)
        assert self.replies == replies
        sessions, samples = self._before
        start = samples if len(self.server.sessions) == sessions else 0
        assert said_once(self.server.heard_in(-1)[start:], sweep())

    def ask(self, replies: int = 1) -> None:
        """One press, one answer."""
        self.press()
        self.release()
        self.answered(replies)


@contextmanager
def wire(
    folder: Path, *, reply_s: float = 0.3, more: str = "", backend: str = "", start: bool = True
) -> Iterator[Wire]:
    """A device with files for a sound card, on a quick server behind two proxies."""
    reply = (9_000 * np.sin(2 * np.pi * 440 * np.arange(int(reply_s * RATE)) / RATE)).astype(np.int16)
    with (
        realtime_server(reply) as server,
        Proxy(server.url) as mint,
        Proxy(server.realtime_url) as live,
    ):
        kind = f'kind = "token"\nurl = "{mint.url}"\nrealtime_url = "{live.url}"\nmodel = "m"\n{backend}'
        device = WavDevice(folder, None, more, kind)
        try:
            if start:
                device.start()
            yield Wire(device, server, mint, live)
        finally:
            device.kill()
