"""One attempt's open session: a link, its dialect, and what comes in from it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from device.core import events as e
from device.dialects.dialect import Dialect, ReplyAudio, Send
from device.errors import LinkError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.net.downlink import Cut, Downlink
    from device.net.link import Link

_OPENING_S = 10.0  # from the open socket to the configured session


class Session:
    """Frames out by any thread, frames in by `run` in the receiver's thread."""

    def __init__(
        self,
        attempt: int,
        link: Link,
        dialect: Dialect,
        downlink: Downlink,
        *,
        input_rate: int,
        output_rate: int,
        on_event: Callable[[e.Event], None],
    ) -> None:
        self.input_rate = input_rate  # Hz
        self.opened = False
        self._attempt = attempt
        self._link = link
        self._dialect = dialect
        self._downlink = downlink
        self._output_rate = output_rate
        self._on_event = on_event
        self._lock = threading.Lock()  # the dialect's state; never taken for audio

    def send_audio(self, pcm: bytes) -> None:
        """Send PCM16 mono at `input_rate`."""
        self._link.send(self._dialect.audio(pcm))

    def end_turn(self) -> None:
        """Commit the audio sent so far and ask for the reply."""
        with self._lock:
            self._send(self._dialect.end_turn())

    def discard_turn(self) -> None:
        """Take back the audio sent so far."""
        with self._lock:
            self._send(self._dialect.discard_turn())

    def request_reply(self) -> None:
        """Ask for a reply to what the server knows."""
        with self._lock:
            self._send(self._dialect.request_reply())

    def refuse_reply(self, reply_id: str) -> None:
        """Cancel a reply that was not admitted."""
        with self._lock:
            self._send(self._dialect.refuse_reply(reply_id))

    def refuse_tool(self, call_id: str) -> None:
        """Answer a tool call with a polite no."""
        with self._lock:
            self._send(self._dialect.refuse_tool(call_id))

    def interrupt(self, cut: Cut | None) -> None:
        """Cancel the reply and cut it, at the server, to what was heard."""
        with self._lock:
            self._send(self._dialect.interrupt(cut.item_id if cut else None, cut.heard_ms if cut else 0))

    def close(self) -> None:
        """End the session; `run` returns soon after."""
        self._link.close()

    def run(self) -> None:
        """Read until the link is gone, then report it."""
        deadline = time.monotonic() + _OPENING_S
        try:
            while True:
                frame = self._link.receive(None if self.opened else deadline)
                if frame is None:
                    self._on_event(
                        e.Troubled(self._attempt, "the provider sent an oversized message; dropped")
                    )
                    continue
                try:
                    self._take(frame)
                except ProtocolError as error:
                    self._on_event(e.Troubled(self._attempt, str(error)))
        except LinkError as error:
            self._on_event(e.Lost(self._attempt, str(error), fatal=error.fatal))

    def _take(self, frame: str | bytes) -> None:
        with self._lock:
            decoded = self._dialect.decode(frame)
            self._send([one.frame for one in decoded if isinstance(one, Send)])
        for one in decoded:
            if isinstance(one, ReplyAudio):
                self._downlink.audio(one.reply_id, one.item_id, one.pcm, self._output_rate)
            elif isinstance(one, e.Event):
                self.opened = self.opened or isinstance(one, e.Opened)
                self._on_event(one)

    def _send(self, frames: list[str]) -> None:
        for frame in frames:
            self._link.send(frame)
