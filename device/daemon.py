"""The daemon: wires the rooms together, feeds the conversation with facts and carries out its orders."""

from __future__ import annotations

import faulthandler
import logging
import os
import queue
import random
import signal
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from device import __version__
from device.audio.earcons import earcon
from device.commands import answer
from device.config import make_limits, make_rules
from device.core import actions as a
from device.core import events as e
from device.core.budget import Budget
from device.core.conversation import Conversation
from device.core.gestures import Gestures
from device.core.grant import GrantRequest
from device.core.moves import State
from device.core.patience import Patience
from device.core.sessions import Book, Session
from device.errors import PresselError
from device.net.attempt import Attempt
from device.system.clock import is_synchronised
from device.system.watchdog import LastResort

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.config import Config
    from device.core.sessions import Turn
    from device.net.session import Session as NetSession
    from device.parts import Parts

log = logging.getLogger(__name__)

_PULSE_S = 1.0  # the main loop goes round at least this often, for the watchdog to see
_CLOSING_S = 0.75  # what has not closed by then is left behind
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


@dataclass(frozen=True)
class _Edge:
    line: str
    active: bool
    at: float


@dataclass(frozen=True)
class _Stop:
    status: int
    reason: str


@dataclass(frozen=True)
class _Health:
    reason: str | None  # why the microphone is dead; None: it lives again


_Post = e.Event | _Edge | _Health | _Stop


class Daemon:
    """One device. `run` returns the exit status."""

    def __init__(self, config: Config, make_parts: Callable[[Daemon], Parts]) -> None:
        self._config = config
        self._inbox: queue.SimpleQueue[_Post] = queue.SimpleQueue()
        self._key = f"{config.backend.endpoint}/{config.talk.mode}"
        self._started = time.monotonic()
        self._attempt: Attempt | None = None
        self._fault: str | None = None
        self._session: dict[str, str] | None = None
        self._today = ""
        self._book = Book()
        self._marks: dict[str, float] = {}
        self._parts = make_parts(self)
        self._conversation = self._recall()
        self._gestures = Gestures(config.panel.hold_ms)

    # --- what other threads call

    def post(self, event: e.Event) -> None:
        """Hand a fact to the main loop."""
        self._inbox.put(event)

    def edge(self, line: str, active: bool, at: float) -> None:
        """Hand a panel's edge to the main loop."""
        self._inbox.put(_Edge(line, active, at))

    def _mourn(self, dead: threading.ExceptHookArgs) -> None:
        """End the process: a thread that died must not leave it deaf. A bug is logged with its traceback."""
        try:
            name = dead.thread.name if dead.thread else "a thread"
            if dead.exc_value and not isinstance(dead.exc_value, PresselError):
                log.error("%s died", name, exc_info=dead.exc_value)
            self._inbox.put(_Stop(1, f"{name} died: {_reason(dead.exc_value)}"))
        except BaseException:  # noqa: BLE001 # no memory left even to say so
            os._exit(1)

    def stop(self) -> None:
        """End in good order."""
        self._inbox.put(_Stop(0, "asked to stop"))

    def speech(self, began: bool, at: float) -> None:  # noqa: ARG002 # the port gives it
        """Hand on what the local voice detector found."""
        self._inbox.put(e.SpeechStarted("local") if began else e.SpeechEnded("local"))

    def sounded(self, reply_id: str) -> None:
        """Note when a reply reached the speaker."""
        self._marks["sound"] = time.monotonic()
        self._inbox.put(e.ReplySounded(reply_id))

    def heard(self, reply_id: str) -> None:
        """Report a reply that was heard to its end."""
        came_ms = self._attempt.downlink.received_ms(reply_id) if self._attempt else None
        self._inbox.put(e.ReplyHeard(reply_id, came_ms))

    def sent(self, mark: str, at: float) -> None:
        """Note when the uplink sent a turn's first frame or its commit."""
        self._marks[mark] = at
        if mark == "first":
            self._measure("press_to_frame_ms", "press", "first")
        else:
            self._measure("release_to_commit_ms", "release", "commit")

    def card_lost(self, side: e.Side, reason: str) -> None:
        """Report that there is no microphone, or no speaker."""
        self._inbox.put(e.CardLost(side, reason))

    def card_back(self, side: e.Side) -> None:
        """Report that it works again."""
        self._inbox.put(e.CardBack(side))

    def microphone_dead(self, reason: str | None) -> None:
        """Report a microphone that gives what no microphone gives; None: it lives again."""
        self._inbox.put(_Health(reason))

    # --- life

    def run(self) -> int:
        """Work until told to stop."""
        faulthandler.enable()  # systemd's SIGABRT, or a crash in a library, tells where every thread was
        sys.setswitchinterval(0.001)  # a busy thread may not delay the audio threads by the default 5 ms
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())
        threading.excepthook = self._mourn
        logging.getLogger().addHandler(self._parts.recent)
        try:
            self._parts.start()
            self._show()
            if self._parts.recorder:
                self.tell("warning", "debugging recording is on: all that is sent and played is kept")
            self._parts.notify.ready()
            log.info("ready in %.2f s", time.monotonic() - self._started)
            stop = self._loop()
        except PresselError as error:
            stop = _Stop(1, str(error))
        except Exception as error:
            log.exception("main died")
            stop = _Stop(1, f"main died: {_reason(error)}")
        return self._end(stop)

    def _end(self, stop: _Stop) -> int:
        """Keep what was heard, then close everything; a part that does not close is left behind."""
        resort = LastResort(_CLOSING_S, stop.status)
        if stop.status:
            log.error("%s", stop.reason)
        self._parts.notify.stopping()
        try:
            self._take_leave(time.monotonic())
        except Exception:
            log.exception("what was heard of the last reply is not kept")
        self._parts.recent.save(stop.reason)
        self._parts.close(resort.note)
        resort.note("the session")
        if self._attempt:
            self._attempt.join(_CLOSING_S)
        resort.cancel()
        return stop.status

    def _take_leave(self, now: float) -> None:
        self._handle(e.Stopped(), now)
        while not self._inbox.empty():
            if isinstance(post := self._inbox.get(), e.ReplyCut):
                self._handle(post, now)

    def _loop(self) -> _Stop:
        while True:
            post = self._next()
            now = time.monotonic()
            if isinstance(post, _Stop):
                return post
            if isinstance(post, _Edge):
                self._take_edge(post, now)
            elif isinstance(post, _Health):
                self._take_health(post)
            elif post is not None:
                self._handle(post, now)
            self._pass_time(now)

    def _next(self) -> _Post | None:
        times = [at for at in (self._conversation.deadline, self._gestures.deadline) if at is not None]
        times.append(time.monotonic() + _PULSE_S)
        try:
            return self._inbox.get(timeout=max(0.0, min(times) - time.monotonic()))
        except queue.Empty:
            return None

    def _pass_time(self, now: float) -> None:
        held = self._gestures.expire(now)
        if held:
            self._handle(held, now)
        deadline = self._conversation.deadline
        if deadline is not None and deadline <= now:
            self._handle(e.Elapsed(), now)
        self._date(now)
        self._parts.beat(now)

    def _date(self, now: float) -> None:
        today = time.strftime("%Y-%m-%d")
        if today != self._today:
            self._today = today
            self._handle(e.Dated(today), now)
        state = self._conversation.state
        if self._config.backend.warm and state is State.IDLE:
            stored = self._book.sessions.get(self._key)
            self._parts.warm(
                self._request(stored.session_id if stored else None, len(self._conversation.turns))
            )

    def _take_edge(self, edge: _Edge, now: float) -> None:
        self._publish("panel", line=edge.line, active=edge.active)
        if edge.line == "button":
            self._marks["press" if edge.active else "release"] = edge.at
        fact = self._gestures.edge(edge.line, active=edge.active, at=edge.at)
        if fact:
            self._handle(fact, now)

    def _take_health(self, health: _Health) -> None:
        if health.reason:
            self.tell("error", health.reason)
        else:
            self._fault = None
            self.tell("info", "the microphone lives again")
        self._show()

    def _handle(self, event: e.Event, now: float) -> None:
        before = self._conversation.state
        orders = self._conversation.handle(event, now)
        self._observe(event)
        if self._conversation.state is not before:
            self._publish("state", **{"state": self._conversation.state.value, "from": before.value})
        for order in orders:
            if isinstance(order, a.Connect) and before is not State.IDLE:
                self._parts.counters.reconnects += 1
            getattr(self, _EXECUTORS[type(order)])(order)
        if self._conversation.state is not before or orders:
            self._show()

    # --- facts that are shown as they pass

    def _observe(self, event: e.Event) -> None:
        match event:
            case e.Opened() if self._attempt and event.attempt == self._attempt.number:
                self._fault = None
                self._session = {
                    "id": event.session_id,
                    "endpoint": self._config.backend.endpoint,
                    "provider": event.provider,
                    "rung": event.rung,
                }
                facts = {"session_id" if key == "id" else key: value for key, value in self._session.items()}
                self._publish("session", **facts)
            case e.Restored() if self._session and event.turns:
                self._session = {**self._session, "rung": "live"}
                turns = [{"role": turn.role, "text": turn.text} for turn in event.turns]
                self._publish("restored", turns=turns)
            case e.ReplyText():
                self._publish("transcript", role="assistant", text=event.text, whole=event.whole, final=False)
            case e.ReplySounded():
                self._reply_sounded(event.reply_id)
            case e.CardBack():
                self._fault = None
            case e.MuteSet():
                self._parts.capture.muted = event.on

    def _reply_sounded(self, reply_id: str) -> None:
        self._parts.counters.replies += 1
        first_at = self._attempt.downlink.first_at(reply_id) if self._attempt else None
        if first_at is not None:
            self._marks["reply"] = first_at
            self._measure("commit_to_reply_ms", "commit", "reply")
            self._measure("reply_to_sound_ms", "reply", "sound")
        self._publish("turn", latencies=dict(self._parts.latencies))

    def _measure(self, name: str, start: str, end: str) -> None:
        if start in self._marks and self._marks[end] >= self._marks[start]:
            self._parts.latencies[name] = round((self._marks[end] - self._marks[start]) * 1000, 1)

    # --- orders

    def _connect(self, order: a.Connect) -> None:
        request = self._request(order.resume, len(order.turns))
        self._attempt = Attempt(
            order.attempt,
            self._parts.backend(),
            request,
            order.turns,
            self._parts.playback,
            now=time.time,
            clock_offset_s=time.monotonic() - time.time(),
            on_event=self.post,
            clock_is_set=is_synchronised,
            after=self._attempt,
            open_link=self._parts.open_link,
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
        self._session = None

    def _begin_turn(self, order: a.BeginTurn) -> None:
        self._marks.pop("commit", None)
        self._parts.uplink.begin(order.at, order.lead_ms, order.why)
        if self._parts.speaking():
            self.post(e.SpeechStarted("local"))

    def _attach_turn(self, order: a.AttachTurn) -> None:
        session = self._open_session(order.attempt)
        if session:
            self._parts.uplink.attach(session)

    def _detach_turn(self, _order: a.DetachTurn) -> None:
        self._parts.uplink.detach()

    def _end_turn(self, order: a.EndTurn) -> None:
        self._parts.uplink.end(order.at)

    def _reopen_turn(self, _order: a.ReopenTurn) -> None:
        self._parts.uplink.reopen()

    def _close_turn(self, _order: a.CloseTurn) -> None:
        self._parts.uplink.close()

    def _discard_turn(self, _order: a.DiscardTurn) -> None:
        self._parts.uplink.discard()

    def _say(self, order: a.Say) -> None:
        session = self._open_session(order.attempt)
        if session:
            session.say(order.text)

    def _request_reply(self, order: a.RequestReply) -> None:
        session = self._open_session(order.attempt)
        if session:
            session.request_reply()

    def _admit_reply(self, order: a.AdmitReply) -> None:
        if self._attempt:
            self._attempt.downlink.admit(order.reply_id)

    def _refuse_reply(self, order: a.RefuseReply) -> None:
        session = self._open_session(order.attempt)
        if session and self._attempt:
            self._attempt.downlink.refuse(order.reply_id)
            session.refuse_reply(order.reply_id)

    def _interrupt(self, order: a.Interrupt) -> None:
        if not self._attempt:
            return
        cut = self._attempt.downlink.cut()
        session = self._open_session(order.attempt)
        if session:
            session.interrupt(cut)
        if cut:
            self._parts.counters.interruptions += 1
            self._publish("interrupted", heard_ms=cut.heard_ms)
            self.post(e.ReplyCut(cut.reply_id, cut.heard_ms, cut.received_ms))

    def _finish_reply(self, order: a.FinishReply) -> None:
        if self._attempt:
            self._attempt.downlink.finish(order.reply_id)

    def _refuse_tool(self, order: a.RefuseTool) -> None:
        session = self._open_session(order.attempt)
        if session:
            log.info("the model asked for the tool %s; this device has none", order.name)
            session.refuse_tool(order.call_id)

    def _remember(self, order: a.Remember) -> None:
        session = Session(order.session_id, order.provider, order.turns, time.time(), order.heard_ms)
        self._book = msgspec.structs.replace(self._book, sessions={**self._book.sessions, self._key: session})
        self._parts.store.save_soon(self._book)

    def _forget(self, _order: a.Forget) -> None:
        kept = {key: session for key, session in self._book.sessions.items() if key != self._key}
        self._book = msgspec.structs.replace(self._book, sessions=kept)
        self._parts.store.save_soon(self._book)

    def _spend(self, order: a.Spend) -> None:
        self._book = msgspec.structs.replace(self._book, spent=order.spent)
        self._parts.store.save_soon(self._book)

    def _chime(self, order: a.Chime) -> None:
        self._parts.playback.chime(earcon(order.sound, self._parts.playback.rate))
        self._publish("chime", sound=order.sound)

    def _quote(self, order: a.Quote) -> None:
        self._publish("transcript", role=order.role, text=order.text, final=True)

    def _tell(self, order: a.Tell) -> None:
        self.tell(order.level, order.text)

    def _open_session(self, attempt: int) -> NetSession | None:
        current = self._attempt
        return current.session if current and current.number == attempt else None

    # --- showing

    def tell(self, level: str, text: str) -> None:
        """Say one line to the owner."""
        log.log(_LEVELS[level], "%s", text, extra={"shown": True})
        self._publish("notice", level=level, text=text)
        if level == "error":
            self._fault = text
            self._parts.recent.save_soon(text)

    def _show(self) -> None:
        state = self._conversation.state
        resting = state in (State.IDLE, State.READY)
        pattern = state.value
        if resting and self._conversation.muted:
            pattern = "muted"
        elif (resting and self._parts.card_fault()) or (state is State.IDLE and self._fault):
            pattern = "fault"
        self._parts.panel.show(pattern)
        self._parts.rest(state is State.IDLE)
        session = self._open_session(self._conversation.attempt)
        waits = state in (State.AWAITING, State.SPEAKING) and session and session.continuous
        self._parts.uplink.fill(session if waits else None)
        if session:
            session.talking(state in (State.LISTENING, State.AWAITING, State.SPEAKING))

    def _publish(self, kind: str, **facts: Any) -> None:
        event = {"event": kind, "t": time.monotonic(), "at": time.time(), **facts}
        self._parts.recent.note(event)
        self._parts.control.publish(event)

    # --- what the control socket asks, in its thread

    def command(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request of `pressel ctl`."""
        return answer(self, request)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What was said, oldest first."""
        return self._conversation.turns

    def status(self) -> dict[str, Any]:
        """Return the facts of `pressel ctl status`."""
        return {
            "state": self._conversation.state.value,
            "mode": self._config.talk.mode,
            "muted": self._conversation.muted,
            "volume": self._parts.playback.volume,
            "session": self._session,
            "counters": self._parts.count(),
            "latencies": dict(self._parts.latencies),
            "fault": self._parts.card_fault() or self._fault,
            "recording": self._parts.recorder is not None,
            "version": __version__,
            "uptime_s": round(time.monotonic() - self._started, 1),
            **({"chaos": self._parts.chaos.status()} if self._parts.chaos else {}),
        }

    def set_volume(self, percent: int) -> None:
        """Set the speaker's volume, 0 to 100, and keep it."""
        self._parts.playback.volume = percent
        self._book = msgspec.structs.replace(self._book, volume=percent)
        self._parts.store.save_soon(self._book)

    def _recall(self) -> Conversation:
        self._book, notice = self._parts.store.load()
        if notice:
            log.warning("%s", notice)
        if self._book.volume is not None:
            self._parts.playback.volume = self._book.volume
        return Conversation(
            make_rules(self._config),
            Patience(random.random),
            self._book.sessions.get(self._key),
            Budget(make_limits(self._config), dict(self._book.spent)),
        )


def _reason(error: BaseException | None) -> str:
    return str(error) or type(error).__name__


_EXECUTORS: dict[type[a.Action], str] = {
    a.Connect: "_connect",
    a.Hangup: "_hangup",
    a.BeginTurn: "_begin_turn",
    a.AttachTurn: "_attach_turn",
    a.DetachTurn: "_detach_turn",
    a.EndTurn: "_end_turn",
    a.ReopenTurn: "_reopen_turn",
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
