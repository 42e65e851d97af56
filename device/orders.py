"""Carries out the conversation's orders: session, the turn on its way out, replies, sounds, what is kept."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from device.audio.earcons import earcon
from device.core import actions as a
from device.core import events as e
from device.core.grant import GrantRequest
from device.core.sessions import Session
from device.net.attempt import Attempt
from device.system.clock import is_synchronised

if TYPE_CHECKING:
    from device.config import Config
    from device.core.sessions import Book
    from device.net.session import Session as NetSession
    from device.parts import Parts

log = logging.getLogger(__name__)


class Desk(Protocol):
    """Whom it reports to."""

    def post(self, event: e.Event) -> None: ...
    def pace(self) -> None: ...
    def tell(self, level: str, text: str) -> None: ...
    def publish(self, kind: str, **facts: Any) -> None: ...


class Orders:
    """Used by the main loop alone, but for `received_ms`. `book`: what is on disk."""

    def __init__(self, config: Config, parts: Parts, book: Book, desk: Desk) -> None:
        self.book = book
        self._config = config
        self._parts = parts
        self._desk = desk
        self._key = f"{config.backend.endpoint}/{config.talk.mode}"
        self._attempt: Attempt | None = None

    def carry_out(self, order: a.Action) -> None:
        """Do it now; nothing here waits."""
        getattr(self, _EXECUTORS[type(order)])(order)

    @property
    def stored(self) -> Session | None:
        """The conversation that is on disk."""
        return self.book.sessions.get(self._key)

    def session(self, attempt: int) -> NetSession | None:
        """Return the attempt's session, if it is the latest attempt and has one."""
        current = self._attempt
        return current.session if current and current.number == attempt else None

    def received_ms(self, reply_id: str) -> int | None:
        """How much sound of a reply has come; from any thread."""
        current = self._attempt
        return current.downlink.received_ms(reply_id) if current else None

    def first_sound_at(self, reply_id: str) -> float | None:
        """When the first sound of a reply came, monotonic seconds."""
        return self._attempt.downlink.first_at(reply_id) if self._attempt else None

    def keep_volume(self, percent: int) -> None:
        """Put the speaker's volume on disk."""
        self._keep(volume=percent)

    def warm(self, turns: int) -> None:
        """Have a grant ready for a press, where the owner wants that."""
        stored = self.stored
        self._parts.warm(self._request(stored.session_id if stored else None, turns))

    def join(self, timeout_s: float) -> None:
        """Wait for the attempt that was hung up."""
        if self._attempt:
            self._attempt.join(timeout_s)

    # --- the session

    def _connect(self, order: a.Connect) -> None:
        self._attempt = Attempt(
            order.attempt,
            self._parts.backend(),
            self._request(order.resume, len(order.turns)),
            order.turns,
            self._parts.playback,
            now=time.time,
            clock_offset_s=time.monotonic() - time.time(),
            on_event=self._desk.post,
            clock_is_set=is_synchronised,
            after=self._attempt,
            open_link=self._parts.open_link,
            limit_s=order.limit_s,
            pace=self._desk.pace,
        )

    def _request(self, resume: str | None, turns: int) -> GrantRequest:
        talk = self._config.talk
        client_ends = talk.mode == "push_to_talk" or talk.turn_end == "client"
        return GrantRequest(
            endpoint=self._config.backend.endpoint,
            mode=talk.mode,
            turn_end="client" if client_ends else "server",
            resume_session=resume,
            turns=turns,
            codec=self._config.backend.codec,
        )

    def _hangup(self, order: a.Hangup) -> None:
        if self._attempt and self._attempt.number == order.attempt:
            self._attempt.cancel()

    def _say(self, order: a.Say) -> None:
        session = self.session(order.attempt)
        self._parts.latencies.forget("commit")
        if session:
            session.say(order.text)

    def _request_reply(self, order: a.RequestReply) -> None:
        session = self.session(order.attempt)
        if session:
            session.request_reply()

    def _refuse_tool(self, order: a.RefuseTool) -> None:
        session = self.session(order.attempt)
        if session:
            log.info("the model asked for the tool %s; this device has none", order.name)
            session.refuse_tool(order.call_id)

    # --- the user's turn

    def _begin_turn(self, order: a.BeginTurn) -> None:
        self._parts.latencies.forget("commit")
        self._parts.uplink.begin(order.at, order.lead_ms, order.why)
        if self._parts.speaking():
            self._desk.post(e.SpeechStarted("local"))

    def _attach_turn(self, order: a.AttachTurn) -> None:
        session = self.session(order.attempt)
        if session:
            self._parts.uplink.attach(session)

    def _detach_turn(self, _order: a.DetachTurn) -> None:
        self._parts.uplink.detach()

    def _end_turn(self, order: a.EndTurn) -> None:
        self._parts.uplink.end(order.at)

    def _reopen_turn(self, _order: a.ReopenTurn) -> None:
        self._parts.uplink.reopen()

    def _advance_turn(self, order: a.AdvanceTurn) -> None:
        self._parts.uplink.advance(order.at, order.lead_ms)

    def _close_turn(self, _order: a.CloseTurn) -> None:
        self._parts.uplink.close()

    def _discard_turn(self, _order: a.DiscardTurn) -> None:
        self._parts.uplink.discard()

    # --- replies

    def _admit_reply(self, order: a.AdmitReply) -> None:
        if self._attempt:
            self._attempt.downlink.admit(order.reply_id)

    def _refuse_reply(self, order: a.RefuseReply) -> None:
        session = self.session(order.attempt)
        if session and self._attempt:
            self._attempt.downlink.refuse(order.reply_id)
            session.refuse_reply(order.reply_id)

    def _interrupt(self, order: a.Interrupt) -> None:
        if not self._attempt:
            return
        cut = self._attempt.downlink.cut()
        session = self.session(order.attempt)
        if session:
            session.interrupt(cut)
        if cut:
            self._parts.counters.interruptions += 1
            self._desk.publish("interrupted", heard_ms=cut.heard_ms)
            self._desk.post(e.ReplyCut(cut.reply_id, cut.heard_ms, cut.received_ms))

    def _finish_reply(self, order: a.FinishReply) -> None:
        if self._attempt:
            self._attempt.downlink.finish(order.reply_id)

    # --- what is kept

    def _remember(self, order: a.Remember) -> None:
        session = Session(order.session_id, order.provider, order.turns, time.time(), order.heard_ms)
        self._keep(sessions={**self.book.sessions, self._key: session})

    def _forget(self, _order: a.Forget) -> None:
        self._keep(sessions={key: one for key, one in self.book.sessions.items() if key != self._key})

    def _spend(self, order: a.Spend) -> None:
        self._keep(spent=order.spent)

    def _keep(self, **changed: Any) -> None:
        self.book = msgspec.structs.replace(self.book, **changed)
        self._parts.store.save_soon(self.book)

    # --- what is shown and heard

    def _chime(self, order: a.Chime) -> None:
        self._parts.playback.chime(earcon(order.sound, self._parts.playback.rate))
        self._desk.publish("chime", sound=order.sound)

    def _quote(self, order: a.Quote) -> None:
        self._desk.publish("transcript", role=order.role, text=order.text, final=True)

    def _tell(self, order: a.Tell) -> None:
        self._desk.tell(order.level, order.text)


_EXECUTORS: dict[type[a.Action], str] = {
    a.Connect: "_connect",
    a.Hangup: "_hangup",
    a.BeginTurn: "_begin_turn",
    a.AttachTurn: "_attach_turn",
    a.DetachTurn: "_detach_turn",
    a.EndTurn: "_end_turn",
    a.ReopenTurn: "_reopen_turn",
    a.AdvanceTurn: "_advance_turn",
    a.CloseTurn: "_close_turn",
    a.DiscardTurn: "_discard_turn",
    a.Say: "_say",
    a.RequestReply: "_request_reply",
    a.AdmitReply: "_admit_reply",
    a.RefuseReply: "_refuse_reply",
    a.Interrupt: "_interrupt",
    a.FinishReply: "_finish_reply",
    a.RefuseTool: "_refuse_tool",
    a.Remember: "_remember",
    a.Spend: "_spend",
    a.Chime: "_chime",
    a.Quote: "_quote",
    a.Forget: "_forget",
    a.Tell: "_tell",
}
