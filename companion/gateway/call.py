"""A telephone call for a device that speaks Speko's frames: JSON with the field `t`, PCM16 in binary frames.

A call has sound and nothing else: no words, no turns. So the other side's speech is found by its level, and
its end is told with an empty last transcript; a turn of the user's ends when silence follows it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from companion.gateway.bridge import Bridge
from companion.gateway.uplink import RATE_HZ

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

    from companion.gateway.legs import Leg

log = logging.getLogger(__name__)

LOUD = 500  # of 32767: above the comfort noise of a line
QUIET_S = 1.2  # after which the other side has ended what it said: longer than a pause between sentences
_HUSH_S = 0.3  # of silence, after which what follows an interruption is something new
_READY = msgspec.json.encode({"t": "ready", "inputSampleRate": RATE_HZ, "outputSampleRate": RATE_HZ}).decode()
_SAID = msgspec.json.encode({"t": "transcript", "role": "assistant", "text": "", "final": True}).decode()


class Gate:
    """Lets speech through and keeps the line's silence back. PURE: `now` in monotonic seconds."""

    def __init__(self) -> None:
        self._open = False
        self._hushed = False
        self._loud_at = 0.0
        self._before = b""

    def sound(self, pcm: bytes, now: float) -> bytes:
        """Return what is to be heard of it, b"" for nothing."""
        before, self._before = self._before, pcm
        loud = _loud(pcm)
        if self._hushed:
            if loud and now - self._loud_at < _HUSH_S:
                self._loud_at = now
                return b""
            self._hushed = now - self._loud_at < _HUSH_S
        if loud:
            self._loud_at = now
            if not self._open:
                self._open = True
                return before + pcm
        return pcm if self._open else b""

    def ended(self, now: float) -> bool:
        """Tell, once, that the speech has ended."""
        over = self._open and now - self._loud_at >= QUIET_S
        if over:
            self._open = False
        return over

    def hush(self, now: float) -> None:
        """Keep back what is being said, until there has been a silence."""
        self._open, self._hushed, self._loud_at = False, True, now


class _Frame(msgspec.Struct):
    t: str
    action: str = ""


class CallBridge(Bridge):
    """The device's socket on a call."""

    def __init__(self, socket: WebSocket, leg: Leg, device: str, connect_s: float) -> None:
        super().__init__(socket, leg, device, connect_s)
        self._gate = Gate()

    def on_frame(self, frame: str | bytes) -> None:
        if isinstance(frame, bytes):
            self.speak(frame)
            return
        try:
            order = msgspec.json.decode(frame, type=_Frame)
        except (msgspec.DecodeError, RecursionError) as error:
            log.warning("%s sent a frame that makes no sense: %s; dropped", self.device, error)
            return
        if order.t == "interrupt":
            self._gate.hush(self.now())
        elif order.t == "control" and order.action == "clear":
            self.uplink.drop_sound()

    def on_connected(self) -> None:
        self.uplink.unmute()
        self.to_device(_READY)

    def on_event(self, text: str) -> None:
        """A call has no data channel."""

    def on_order(self, text: str) -> None:
        """A call is sent no events."""

    def on_sound(self, pcm: bytes) -> None:
        heard = self._gate.sound(pcm, self.now())
        if heard:
            self.to_device(heard)

    def on_tick(self) -> None:
        if self._gate.ended(self.now()):
            self.to_device(_SAID)


def _loud(pcm: bytes) -> bool:
    return int(np.abs(np.frombuffer(pcm, "<i2").astype(np.int32)).max(initial=0)) >= LOUD
