"""A device that speaks OpenAI's events, GA or beta, before a provider that has them on a data channel."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from companion.errors import LegError
from companion.gateway.bridge import CONNECT_S, FAILED, Bridge
from companion.gateway.downlink import Downlink, read

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

    from companion.gateway.downlink import Event, Shape
    from companion.gateway.legs import Leg

log = logging.getLogger(__name__)

_CLEAR_ID = "gateway_clear"
_CLEAR_SOUND = msgspec.json.encode({"type": "output_audio_buffer.clear", "event_id": _CLEAR_ID}).decode()
_CLEAR_INPUT = msgspec.json.encode({"type": "input_audio_buffer.clear", "event_id": _CLEAR_ID}).decode()


class _Order(msgspec.Struct):
    """What the gateway reads of a device's event."""

    type: str
    audio: bytes = b""


class EventBridge(Bridge):
    """Events pass as they are; sound is taken out of them on the way up and put into them on the way down."""

    def __init__(
        self, socket: WebSocket, leg: Leg, device: str, shape: Shape, connect_s: float = CONNECT_S
    ) -> None:
        super().__init__(socket, leg, device, connect_s)
        self._downlink = Downlink(shape)
        self._client_turns = False  # the device, not the server, ends the turns
        self._in_turn = False
        self._connected = False
        self._early: list[str] = []  # orders that came before the data channel was open

    def on_frame(self, frame: str | bytes) -> None:
        if isinstance(frame, bytes):
            log.warning("%s sent a binary frame where events are JSON text; dropped", self.device)
            return
        try:
            order = msgspec.json.decode(frame, type=_Order)
        except (msgspec.DecodeError, RecursionError) as error:
            log.warning("%s sent an event that makes no sense: %s; dropped", self.device, error)
            return
        match order.type:
            case "input_audio_buffer.append":
                self._append(order.audio)
            case "input_audio_buffer.commit":
                self._in_turn = False
                self.uplink.order(frame, after_sound=True)
            case "input_audio_buffer.clear":
                self._in_turn = False
                self.uplink.drop_sound()
                self.uplink.order(frame)
            case "response.cancel":
                self.uplink.order(frame)
                self.uplink.order(_CLEAR_SOUND)
                self._pass_on(self._downlink.cancelled())
            case _:
                self.uplink.order(frame)

    def on_connected(self) -> None:
        self._connected = True
        for text in self._early:
            self.on_order(text)
        self._early.clear()

    def on_order(self, text: str) -> None:
        if not self._connected:
            self._early.append(text)
            return
        try:
            self.peer.send(text)
        except LegError as error:
            self.end(FAILED, str(error))

    def on_event(self, text: str) -> None:
        try:
            event = read(text)
        except (msgspec.DecodeError, RecursionError) as error:
            log.warning("the provider sent an event that makes no sense: %s; dropped", error)
            return
        if event.type in ("session.created", "session.updated"):
            self.uplink.unmute()
            self._client_turns = _client_turns(event, before=self._client_turns)
        if event.error and event.error.get("event_id") == _CLEAR_ID:
            log.info("the provider does not know the gateway's clear: %s", event.error.get("code"))
            return
        self._pass_on(self._downlink.event(text, event, self.now()))

    def on_sound(self, pcm: bytes) -> None:
        self._pass_on(self._downlink.sound(pcm, self.now()))

    def on_tick(self) -> None:
        self._pass_on(self._downlink.tick(self.now()))

    def _append(self, pcm: bytes) -> None:
        if self._client_turns and not self._in_turn:
            self._in_turn = True
            self.uplink.order(_CLEAR_INPUT)  # RTP never stops: the buffer is full of silence
        self.speak(pcm)

    def _pass_on(self, texts: list[str]) -> None:
        for text in texts:
            self.to_device(text)


def _client_turns(event: Event, *, before: bool) -> bool:
    """Tell whether the session's turn detection is off, in either shape; `before` where it does not say."""
    session = event.session or {}
    audio = session.get("audio")
    place = audio.get("input") if isinstance(audio, dict) else session
    if not isinstance(place, dict) or "turn_detection" not in place:
        return before
    return place["turn_detection"] is None
