"""One attempt's open session: a link, its dialect, its codecs, and what comes in from it."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from device.codecs import make_decoder, make_encoder
from device.core import events as e
from device.dialects.dialect import Decoded, Dialect, ReplyAudio, Send
from device.dialects.intake import Intake
from device.errors import CodecError, LinkError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.codecs import Decoder, Encoder
    from device.net.downlink import Cut, Downlink
    from device.net.link import Link

_OPENING_S = 10.0  # from the open socket to the configured session
_MOST_REDIALS = 5  # in a row, without a frame between them
_MOST_STREAMS = 8  # decoders at once: a server that ends no reply is not given one for each


class Session:
    """Frames out by any thread, frames in by `run` in the receiver's thread. `dial` opens the socket."""

    def __init__(
        self,
        attempt: int,
        dial: Callable[[], Link],
        dialect: Dialect,
        downlink: Downlink,
        *,
        on_event: Callable[[e.Event], None],
        pace: Callable[[], None] = lambda: None,
    ) -> None:
        self.opened = False
        self._attempt = attempt
        self._dial = dial
        self._link = dial()
        self._dialect = dialect
        self._downlink = downlink
        self._intake = Intake(attempt)
        self._on_event = on_event
        self._pace = pace
        self._lock = threading.Lock()  # the dialect's state; never taken for audio
        self._ended = threading.Event()
        self._redials = 0
        self._talking = False
        self._encoder: Encoder | None = None
        self._decoder: Decoder | None = None
        self._pieces: dict[
            str, tuple[str, Decoder]
        ] = {}  # by reply: of a message that named its own MIME type

    @property
    def input_rate(self) -> int:
        """Hz of the PCM16 that `send_audio` takes; certain once the session is opened."""
        return self._dialect.input.rate

    @property
    def where(self) -> str:
        """The server's host and port."""
        return self._link.where

    @property
    def continuous(self) -> bool:
        """Whether silence is to be sent while a reply is awaited or sounds."""
        return self._dialect.continuous

    def send_audio(self, pcm: bytes) -> None:
        """Send PCM16 mono at `input_rate`; by one thread, after the session was opened."""
        if self._encoder is None:
            return
        for sound in self._encoder.encode(pcm):
            self._link.send(self._dialect.audio(sound))

    def end_turn(self) -> None:
        """Commit the audio sent so far and ask for the reply."""
        self._order(self._dialect.end_turn)

    def say(self, text: str) -> None:
        """Give the server the owner's written words."""
        self._order(lambda: self._dialect.say(text))

    def discard_turn(self) -> None:
        """Take back the audio sent so far."""
        self._order(self._dialect.discard_turn)

    def request_reply(self) -> None:
        """Ask for a reply to what the server knows."""
        self._order(self._dialect.request_reply)

    def refuse_reply(self, reply_id: str) -> None:
        """Cancel a reply that was not admitted."""
        self._order(lambda: self._dialect.refuse_reply(self._intake.theirs(reply_id)))

    def refuse_tool(self, call_id: str) -> None:
        """Answer a tool call with a polite no."""
        self._order(lambda: self._dialect.refuse_tool(call_id))

    def interrupt(self, cut: Cut | None) -> None:
        """Cancel the reply and cut it, at the server, to what was heard."""
        item_id, heard_ms = (cut.item_id, cut.heard_ms) if cut else (None, 0)
        self._order(lambda: self._dialect.interrupt(item_id, heard_ms))

    def talking(self, on: bool) -> None:
        """Say whether the user or the model talks, so that a link that is silent is found out soon."""
        self._talking = on
        self._link.talking(on)

    def close(self) -> None:
        """End the session; `run` returns soon after."""
        if not self._ended.is_set():
            self._ended.set()
            self._order(self._dialect.closing)
        self._link.close()

    def run(self, *, last: bool = True) -> bool:
        """Read until the link is gone for good, then report it as lost.

        Unless it is the `last` try, a refused secret is not the end: returns whether to mint a new one.
        """
        if self._dialect.ping_s is not None:
            threading.Thread(target=self._ping, name=f"ping-{self._attempt}", daemon=True).start()
        try:
            self._order(self._dialect.opening)
            while True:
                try:
                    self._receive()
                except LinkError as error:
                    self._redial(error)
        except LinkError as error:
            if not (last or self.opened) and self._dialect.mint_again(error.code):
                self._on_event(e.Troubled(self._attempt, f"{error}; asking for a new session"))
                return True
            self._on_event(e.Lost(self._attempt, str(error), error.fatal, error.retry_after_s))
        finally:
            self._ended.set()
        return False

    def _receive(self) -> None:
        deadline: float | None = time.monotonic() + _OPENING_S
        while True:
            frame = self._link.receive(deadline)
            deadline = None if self.opened else deadline  # after a redial the first frame opens
            self._redials = 0
            if frame is None:
                self._on_event(e.Troubled(self._attempt, "the provider sent an oversized message; dropped"))
                continue
            try:
                with self._lock:
                    self._take(self._dialect.decode(frame))
            except ProtocolError as error:
                self._on_event(e.Troubled(self._attempt, str(error)))
            self._pace()  # outside the lock: what is behind may need it to catch up

    def _redial(self, error: LinkError) -> None:
        """Dial again where the protocol allows it, with the same secret; raises the error that ends it."""
        while True:
            wait_s = self._dialect.redial(error.code) if self.opened else None
            if wait_s is None or self._redials >= _MOST_REDIALS or self._ended.wait(wait_s):
                # After a redial an old secret is refused for good: a new attempt brings a new one.
                line = str(error) + self._dialect.mend(error.code)
                stale = self._redials or (self.opened and self._dialect.mint_again(error.code))
                fatal = error.fatal and not stale
                raise LinkError(line, fatal=fatal, code=error.code, retry_after_s=error.retry_after_s)
            self._redials += 1
            self._link.close(0)
            try:
                self._link = self._dial()
            except LinkError as failure:
                error = failure
                continue
            if self._ended.is_set():  # `close` may have closed the older link only
                self._link.close(0)
                raise LinkError("the session was closed")
            self._link.talking(self._talking)
            self._order(self._dialect.reopened)
            return

    def _ping(self) -> None:
        while not self._ended.wait(self._dialect.ping_s):
            self._order(self._dialect.ping)

    def _order(self, order: Callable[[], list[Decoded]]) -> None:
        with self._lock:  # what two threads ask for goes out in the order in which it was decided
            self._take(order())

    def _take(self, decoded: list[Decoded]) -> None:
        for one in decoded:
            if isinstance(one, Send):
                self._link.send(one.frame)
            elif isinstance(one, ReplyAudio):
                self._sound(self._intake.sound(one))
            else:
                self._report(self._intake.fact(one, time.monotonic()))

    def _report(self, event: e.Event) -> None:
        if isinstance(event, e.Opened):
            self._open()
        elif isinstance(event, e.ReplyEnded):
            self._finish(event.reply_id)
            self._downlink.end(event.reply_id)
            # Sound that nothing came of, for want of a codec, is none: nobody waits to hear it.
            event = replace(event, audio=event.audio and self._downlink.first_at(event.reply_id) is not None)
        self._on_event(event)

    def _open(self) -> None:
        try:
            self._encoder = make_encoder(self._dialect.input.encoding, self._dialect.input.rate)
            self._decoder = make_decoder(self._dialect.output.encoding, self._dialect.output.rate)
        except CodecError as error:
            raise LinkError(str(error), fatal=True) from None
        self.opened = True

    def _sound(self, piece: ReplyAudio) -> None:
        try:
            decoder = self._decoder_of(piece)
            pcm = decoder.decode(piece.sound)
        except CodecError as error:
            self._on_event(e.Troubled(self._attempt, str(error)))
            return
        if pcm:
            self._downlink.audio(piece.reply_id, piece.item_id, pcm, decoder.rate)

    def _decoder_of(self, piece: ReplyAudio) -> Decoder:
        if piece.mime is None:
            assert self._decoder  # noqa: S101 # no dialect reports sound before it has opened
            return self._decoder
        item_id, decoder = self._pieces.get(piece.reply_id, ("", None))
        if decoder is None or item_id != piece.item_id:  # each item is a stream, or a file, of its own
            self._finish(piece.reply_id)
            decoder = self._made(piece.mime)
            self._pieces[piece.reply_id] = piece.item_id, decoder
            if len(self._pieces) > _MOST_STREAMS:
                self._finish(next(iter(self._pieces)))
        return decoder

    def _made(self, mime: str) -> Decoder:
        try:
            return make_decoder(mime, self._dialect.output.rate)
        except CodecError as error:
            self._on_event(e.Troubled(self._attempt, str(error)))
            return make_decoder("none", self._dialect.output.rate)

    def _finish(self, reply_id: str) -> None:
        """Let out what a decoder still holds of a reply."""
        item_id, decoder = self._pieces.pop(reply_id, ("", None))
        rest = decoder.flush() if decoder else b""
        if decoder and rest:
            self._downlink.audio(reply_id, item_id, rest, decoder.rate)
