"""The peer connection against another one: what comes up, goes over and ends."""

from __future__ import annotations

import asyncio
import contextlib
from fractions import Fraction
from typing import Any

import aioice.ice
import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtp import RtpPacket
from av import AudioFrame

from companion.errors import LegError
from companion.gateway.media import _InOrder
from companion.gateway.peer import Peer
from companion.gateway.uplink import SILENCE

WAIT_S = 10.0


class Tone(MediaStreamTrack):
    """20 ms of a tone, then silence, at 48 kHz; frames whose number is in `lost` are left out."""

    kind = "audio"

    def __init__(self, lost: frozenset[int] = frozenset()) -> None:
        super().__init__()
        self._number = 0
        self._lost = lost

    async def recv(self) -> AudioFrame:
        await asyncio.sleep(0.02)
        while self._number in self._lost:
            self._number += 1
        frame = AudioFrame(format="s16", layout="mono", samples=960)
        loud = self._number % 25 == 0
        wave = 8000 * np.sin(np.arange(960) * 2 * np.pi * 1000 / 48_000) * loud
        frame.planes[0].update(wave.astype("<i2").tobytes())
        frame.sample_rate, frame.time_base, frame.pts = 48_000, Fraction(1, 48_000), self._number * 960
        self._number += 1
        return frame


class Two:
    """A gateway's peer and a plain one of aiortc's own, connected."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.sound: list[bytes] = []
        self.heard: list[bytes] = []
        self.channel: Any = None
        self.says = SILENCE
        self.peer = Peer(self._next_frame, self.events.append, self.sound.append)
        self.other = RTCPeerConnection(RTCConfiguration([]))
        self.other.on("datachannel", self._take_channel)
        self.other.on("track", self._take_track)
        self._tasks: list[asyncio.Task[None]] = []

    async def connect(self, track: MediaStreamTrack) -> None:
        await self.other.setRemoteDescription(RTCSessionDescription(await self.peer.offer(), "offer"))
        self.other.addTrack(track)
        await self.other.setLocalDescription(await self.other.createAnswer())
        await self.peer.answer(self.other.localDescription.sdp)
        await self.peer.connected()

    async def close(self) -> None:
        await self.peer.close()
        await self.other.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _next_frame(self) -> bytes:
        await asyncio.sleep(0.02)
        return self.says

    def _take_channel(self, channel: Any) -> None:
        self.channel = channel
        channel.on("message", lambda text: channel.send(f"got {text}"))

    def _take_track(self, track: MediaStreamTrack) -> None:
        async def hear() -> None:
            with contextlib.suppress(Exception):
                while True:
                    frame: Any = await track.recv()
                    self.heard.append(bytes(frame.planes[0])[: frame.samples * 4])

        self._tasks.append(asyncio.create_task(hear()))


async def _fact(fact: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not fact():  # noqa: ASYNC110 - facts of many kinds, most without an event
            await asyncio.sleep(0.005)


def test_events_and_sound_go_both_ways() -> None:
    async def talk() -> None:
        two = Two()
        await two.connect(Tone())
        two.peer.send("hello")
        await _fact(lambda: two.events == ["got hello"])
        await _fact(lambda: any(_peak(pcm) > 5000 for pcm in two.sound) and len(two.sound) > 10)
        assert {len(pcm) for pcm in two.sound[1:]} == {960}, "20 ms are 20 ms"
        two.says = (8000 * np.sin(np.arange(480) * 0.2618)).astype("<i2").tobytes()
        await _fact(lambda: any(_peak(pcm) > 5000 for pcm in two.heard))
        await two.close()

    asyncio.run(talk())


def test_lost_packets_are_silence_of_the_same_length() -> None:
    async def talk() -> None:
        two = Two()
        await two.connect(Tone(frozenset({30, 31})))
        await _fact(lambda: sum(map(len, two.sound)) >= 60 * 960)
        loud = np.flatnonzero([_peak(two_pcm(two.sound, at)) > 5000 for at in range(55)])
        assert 49 <= loud[-1] - loud[0] + 1 <= 52, "tones 0 and 50 are still a second apart"
        await two.close()

    asyncio.run(talk())


def test_sound_that_cannot_be_taken_ends_the_connection_with_a_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: bytes) -> None:
        raise ValueError("Invalid data found when processing input")

    async def talk() -> None:
        two = Two()
        two.peer._on_sound = broken
        await two.connect(Tone())
        async with asyncio.timeout(WAIT_S):
            assert await two.peer.ended == "the provider's sound broke off"
        await two.peer.close()
        assert two.peer._pc.connectionState == "closed"
        await two.close()

    asyncio.run(talk())
    assert "cannot be taken" in caplog.text


def test_the_other_side_hangs_up() -> None:
    async def talk() -> None:
        two = Two()
        await two.connect(Tone())
        await two.other.close()
        async with asyncio.timeout(WAIT_S):
            assert await two.peer.ended == ""
        with pytest.raises(LegError, match="closed"):
            two.peer.send("too late")
        await two.close()

    asyncio.run(talk())


def test_the_other_side_goes_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0.2)
    monkeypatch.setattr(aioice.ice, "CONSENT_FAILURES", 2)

    async def talk() -> None:
        two = Two()
        await two.connect(Tone())
        assert two.other.sctp
        for protocol in two.other.sctp.transport.transport._connection._protocols:
            protocol.transport.abort()
        async with asyncio.timeout(WAIT_S):
            assert "went silent" in await two.peer.ended
        await two.close()

    asyncio.run(talk())


@pytest.mark.parametrize("sdp", ["", "<html>", "v=0\r\nm=audio 9 X", "v=0\r\ns=-\r\nt=0 0\r\n"])
def test_an_answer_that_makes_no_sense_is_one_error(sdp: str) -> None:
    async def answer() -> None:
        two = Two()
        await two.peer.offer()
        with pytest.raises(LegError, match="SDP answer makes no sense"):
            await two.peer.answer(sdp)
        await two.peer.candidate("candidate:what", "0", 0)
        await two.peer.candidate("candidate:1 1 udp x 127.0.0.1 y typ host", None, None)
        await two.peer.candidate("", None, None)
        await two.close()

    asyncio.run(answer())


@pytest.mark.parametrize("line", ["a=fingerprint", "a=setup", "a=ice-ufrag", "m=audio", "a=rtpmap"])
def test_an_answer_that_lacks_a_line_is_one_error_or_none(line: str) -> None:
    async def answer() -> None:
        two = Two()
        await two.other.setRemoteDescription(RTCSessionDescription(await two.peer.offer(), "offer"))
        two.other.addTrack(Tone())
        await two.other.setLocalDescription(await two.other.createAnswer())
        lines = [one for one in two.other.localDescription.sdp.splitlines() if not one.startswith(line)]
        with contextlib.suppress(LegError):
            await two.peer.answer("\r\n".join(lines) + "\r\n")
        await two.close()

    asyncio.run(answer())


def test_an_event_that_is_too_large_is_dropped_and_the_next_goes() -> None:
    async def talk() -> None:
        two = Two()
        await two.connect(Tone())
        two.peer.send("x" * 300_000)
        two.peer.send("small")
        await _fact(lambda: two.events)
        assert two.events == ["got small"]
        await two.close()

    asyncio.run(talk())


def _packet(number: int) -> RtpPacket:
    packet = RtpPacket(sequence_number=number & 0xFFFF, timestamp=number * 960)
    packet._data = b"x"  # type: ignore[attr-defined]  # as aiortc's receiver sets it
    return packet


def test_packets_go_on_as_they_come_and_late_ones_do_not() -> None:
    buffer = _InOrder()
    numbers = [65533, 65534, 65535, 65536, 65538, 65537, 65538, 65539]
    passed = [frame.timestamp // 960 for one in numbers if (frame := buffer.add(_packet(one))[1])]
    assert passed == [65533, 65534, 65535, 65536, 65538, 65539]


def two_pcm(pieces: list[bytes], at: int) -> bytes:
    """The frame of that number, whatever the pieces are."""
    return b"".join(pieces)[at * 960 : (at + 1) * 960]


def _peak(pcm: bytes) -> int:
    return int(np.abs(np.frombuffer(pcm, "<i2").astype(int)).max(initial=0))
