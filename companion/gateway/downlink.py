"""The provider's events and RTP sound on their way to the device, joined to one stream of events.

PURE: seconds are given. On a WebSocket a reply's sound travels in `audio.delta` events, and `response.done`
ends it. On WebRTC the sound is RTP in real time, and `response.done` comes when the last word is *made*, long
before it is heard. The rules that turn the second into the first:

- A reply sounds from `output_audio_buffer.started`, or from the first RTP frame that is not silent after
  `response.created`, until `output_audio_buffer.stopped` (plus TAIL_S, for what is still under way).
- A service that sends no `output_audio_buffer` events: until RTP has been silent for HUSH_S after
  `response.done`. One that forgets the `stopped`: for LONG_HUSH_S.
- What ends a reply on a WebSocket (`*.audio.done` and all that follows for this response) waits until then.
- A reply that is cancelled, by whichever side, ends at once, and so does one that has no sound.

Source: OpenAI's guide "Realtime conversations", client and server events for audio in WebRTC.
"""

from __future__ import annotations

import base64
import math
import secrets
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec import Struct

Shape = Literal["ga", "beta"]

TAIL_S = 0.1
HUSH_S = 1.0
LONG_HUSH_S = 5.0
SOUND_WITHIN_S = 3.0  # of response.done: a reply that has words and no sound yet
_QUIET = 64  # of 32767: what a codec leaves of silence
_DELTA = {"ga": "response.output_audio.delta", "beta": "response.audio.delta"}
_AUDIO_DONE = ("response.output_audio.done", "response.audio.done")
_WORDS = ("response.output_audio_transcript.delta", "response.audio_transcript.delta", *_AUDIO_DONE)
_STOPPED = ("output_audio_buffer.stopped", "output_audio_buffer.cleared")


class _Response(Struct):
    id: str = ""
    status: str = ""


class _Item(Struct):
    id: str = ""
    type: str = ""


class Event(Struct):
    """What the gateway reads of a server's event; all else passes as it is."""

    type: str
    response: _Response | None = None
    response_id: str | None = None
    item: _Item | None = None
    session: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


def read(text: str) -> Event:
    """Read an event. Raises msgspec.DecodeError (one line) when it is none."""
    return msgspec.json.decode(text, type=Event)


class Downlink:
    """One response at a time. Each method returns what the device is to be sent now. `now`: monotonic s."""

    def __init__(self, shape: Shape) -> None:
        self._kind = _DELTA[shape]
        self._response: str | None = None
        self._item: str | None = None
        self._sounding = False
        self._speaks = False  # it has words to be heard
        self._told = False  # the service tells where the sound begins
        self._made = False  # response.done has come
        self._held: list[str] = []
        self._last_frame = b""
        self._loud_at = 0.0
        self._over_at = math.inf

    def event(self, text: str, event: Event, now: float) -> list[str]:
        """Take a server event, as text and as read."""
        if event.type == "response.created" and event.response:
            return [*self._close(), *self._begin(event.response.id, text)]
        if self._response is None or (_response_id(event) or self._response) != self._response:
            return [text]
        return self._of_response(text, event, now)

    def sound(self, pcm: bytes, now: float) -> list[str]:
        """Take RTP sound: PCM16 mono, 24 kHz."""
        before, self._last_frame = self._last_frame, pcm
        if self._response is None:
            return []
        if _loud(pcm):
            self._loud_at = now
            if not self._sounding:
                self._start()
                return [self._delta(before), self._delta(pcm)] if before else [self._delta(pcm)]
        return [self._delta(pcm)] if self._sounding else []

    def tick(self, now: float) -> list[str]:
        """End the sound that has ended."""
        if not self._made:
            return []
        quiet_s = now - self._loud_at
        limit_s = SOUND_WITHIN_S if not self._sounding else LONG_HUSH_S if self._told else HUSH_S
        return self._close() if now >= self._over_at or quiet_s >= limit_s else []

    def cancelled(self) -> list[str]:
        """End the reply at once: the device does not want more of it. What is still said about it passes."""
        return self._close()

    def _begin(self, response_id: str, text: str) -> list[str]:
        self._response, self._item = response_id, None
        self._sounding = self._speaks = self._told = self._made = False
        self._over_at = math.inf
        self._last_frame = b""
        return [text]

    def _of_response(self, text: str, event: Event, now: float) -> list[str]:
        if event.type == "response.output_item.added" and event.item and event.item.type == "message":
            self._item = event.item.id
        elif event.type == "output_audio_buffer.started":
            self._told = True
            self._start()
        elif event.type in _STOPPED:
            return self._stopped(text, event.type, now)
        elif event.type == "response.done":
            return self._done(text, event, now)
        elif event.type in _WORDS:
            self._speaks = True
        waits = self._held or event.type in _AUDIO_DONE
        if waits and event.type.startswith("response."):
            self._held.append(text)
            return []
        return [text]

    def _stopped(self, text: str, kind: str, now: float) -> list[str]:
        self._told = True
        if kind == "output_audio_buffer.cleared":
            return [*self._close(), text]
        self._over_at = now + TAIL_S
        return [text]

    def _done(self, text: str, event: Event, now: float) -> list[str]:
        self._made = True
        self._held.append(text)
        status = event.response.status if event.response else ""
        if status in ("cancelled", "failed") or not (self._sounding or self._speaks):
            return self._close()
        self._loud_at = max(self._loud_at, now)
        return []

    def _start(self) -> None:
        self._sounding = self._speaks = True

    def _close(self) -> list[str]:
        held, self._held = self._held, []
        self._response = None
        self._sounding = self._made = False
        return held

    def _delta(self, pcm: bytes) -> str:
        event = {
            "type": self._kind,
            "event_id": f"event_{secrets.token_hex(8)}",
            "response_id": self._response,
            "item_id": self._item or f"{self._response}_sound",
            "output_index": 0,
            "content_index": 0,
            "delta": base64.b64encode(pcm).decode("ascii"),
        }
        return msgspec.json.encode(event).decode()


def _response_id(event: Event) -> str | None:
    return event.response.id if event.response else event.response_id


def _loud(pcm: bytes) -> bool:
    return int(np.abs(np.frombuffer(pcm, "<i2").astype(np.int32)).max(initial=0)) >= _QUIET
