"""The daemon: wires the rooms together, feeds the conversation with facts and carries out its orders."""

from __future__ import annotations

import gc
import logging
import os
import queue
import random
import signal
import sys
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from device import __version__
from device.commands import SLOW, answer
from device.config import make_limits, make_rules
from device.core import actions as a
from device.core import events as e
from device.core.budget import Budget
from device.core.conversation import Conversation
from device.core.gestures import Gestures
from device.core.moves import State
from device.core.patience import Patience
from device.errors import PresselError
from device.gate import DEAD
from device.orders import Orders
from device.system.clock import StepDetector
from device.system.watchdog import LastResort

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.config import Config
    from device.core.sessions import Book, Turn
    from device.parts import Parts

log = logging.getLogger(__name__)

_PULSE_S = 1.0  # the main loop goes round at least this often, for the watchdog to see
_STATE_S, _CLOSING_S, _END_S = 1.2, 0.75, 1.3  # the state, the other parts, both: then they are left behind
_MOST_BEHIND, _PACE_S = 500, 0.005  # facts that wait
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


@dataclass(frozen=True)
class _Edge:
    line: str
    active: bool
    at: float


@dataclass(frozen=True)
class _Volume:
    percent: int


@dataclass(frozen=True)
class _Stop:
    status: int
    reason: str


@dataclass(frozen=True)
class _Health:
    part: str
    trouble: bool  # from now on, or no longer
    text: str


_Post = e.Event | _Edge | _Health | _Volume | _Stop


class Daemon:
    """One device. `run` returns the exit status."""

    def __init__(self, config: Config, make_parts: Callable[[Daemon], Parts]) -> None:
        self._config = config
        self._ended = threading.Event()
        self._inbox: queue.SimpleQueue[_Post] = queue.SimpleQueue()
        self._started = time.monotonic()
        self._faults: dict[str, str] = {}  # by part
        self._dropped = 0  # frames of turns that could not be sent
        self._gap_told = False  # of this turn
        self._pulse_at = time.monotonic()
        self._clock = StepDetector(time.time, time.monotonic())
        self._session: dict[str, str] | None = None
        self._today = ""
        self._parts = make_parts(self)
        self._orders = Orders(config, self._parts, self._load(), self)
        self._conversation = self._recall()
        self._gestures = Gestures(config.panel.hold_ms)

    # --- what other threads call

    def post(self, event: e.Event) -> None:
        """Hand a fact to the main loop."""
        self._inbox.put(event)

    def pace(self) -> None:
        """Hold a receiver up while the main loop is far behind: a flood of events waits at its sender."""
        while self._inbox.qsize() > _MOST_BEHIND and not self._ended.wait(_PACE_S):
            pass

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
        self._parts.latencies.mark("sound", time.monotonic())
        self._inbox.put(e.ReplySounded(reply_id))

    def heard(self, reply_id: str) -> None:
        """Report a reply that was heard to its end."""
        self._inbox.put(e.ReplyHeard(reply_id, self._orders.received_ms(reply_id)))

    def sent(self, mark: str, at: float) -> None:
        """Note when the uplink sent a turn's first frame or its commit."""
        latencies = self._parts.latencies
        latencies.mark(mark, at)
        if mark == "first":
            latencies.measure("press_to_frame_ms", "press", "first")
        else:
            latencies.measure("release_to_commit_ms", "release", "commit")

    def card_lost(self, side: e.Side, reason: str) -> None:
        """Report that there is no microphone, or no speaker."""
        self._inbox.put(e.CardLost(side, reason))

    def card_back(self, side: e.Side) -> None:
        """Report that it works again."""
        self._inbox.put(e.CardBack(side))

    def microphone_dead(self, reason: str | None) -> None:
        """Report a microphone that gives what no microphone gives; None: it lives again."""
        self._inbox.put(_Health(DEAD, reason is not None, reason or "the microphone lives again"))

    def store_troubled(self, text: str) -> None:
        """Report that the conversation cannot be put on disk."""
        self._inbox.put(_Health("store", True, text))

    def store_recovered(self, text: str) -> None:
        """Report that it can be again, and is."""
        self._inbox.put(_Health("store", False, text))

    def enrolment_troubled(self, text: str) -> None:
        """Report that the companion does not know this device."""
        self._inbox.put(_Health("enrolment", True, text))

    def enrolment_recovered(self, text: str) -> None:
        """Report that it does."""
        self._inbox.put(_Health("enrolment", False, text))

    # --- life

    def run(self) -> int:
        """Work until told to stop."""
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
            gc.freeze()  # what is loaded stays; a full collection is then quick, and comes often enough
            gc.collect()
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
        self._ended.set()
        ends_at = time.monotonic() + _END_S
        resort = LastResort(_STATE_S, stop.status)
        if stop.status:
            log.error("%s", stop.reason, extra={"shown": True})  # the events are written after the state
        self._parts.notify.stopping()
        try:
            self._take_leave(time.monotonic())
        except Exception:
            log.exception("what was heard of the last reply is not kept")
        resort.note("the state folder")
        self._parts.store.close()
        resort.cancel()
        resort = LastResort(min(_CLOSING_S, ends_at - time.monotonic()), stop.status)
        self._drain(time.monotonic())
        resort.note("the events")
        self._parts.recent.save(stop.reason)
        self._parts.close(resort.note)
        resort.note("the session")
        self._orders.join(_CLOSING_S)
        resort.cancel()
        return stop.status

    def _take_leave(self, now: float) -> None:
        self._parts.store.hold()
        self._handle(e.Stopped(), now)
        self._drain(now)

    def _drain(self, now: float) -> None:
        """Take from the inbox what still counts at the end."""
        while not self._inbox.empty():
            post = self._inbox.get()
            if isinstance(post, e.ReplyCut):
                self._handle(post, now)
            elif isinstance(post, _Health):
                self._take_health(post)

    def _loop(self) -> _Stop:
        self._pass_time(time.monotonic())  # before the first press it is known which day it is
        while True:
            post = self._next()
            now = time.monotonic()
            match post:
                case _Stop():
                    return post
                case _Edge():
                    self._take_edge(post, now)
                case _Health():
                    self._take_health(post)
                case _Volume():
                    self._orders.keep_volume(post.percent)
                case e.Event():
                    self._handle(post, now)
            self._pass_time(now)

    def _next(self) -> _Post | None:
        times = [at for at in (self._conversation.deadline, self._gestures.deadline) if at is not None]
        times.append(self._pulse_at)
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
        if now >= self._pulse_at:
            self._pulse_at = now + _PULSE_S
            self._pulse(now)
        self._parts.beat(now)

    def _pulse(self, now: float) -> None:
        today = time.strftime("%Y-%m-%d")
        if today != self._today:
            self._today = today
            self._handle(e.Dated(today), now)
        if self._clock.stepped(now):
            self._handle(e.ClockSet(), now)
        state = self._conversation.state
        if self._config.backend.warm and state is State.IDLE and self._conversation.affordable:
            self._orders.warm(len(self._conversation.turns))
        self._tell_gap(self._parts.uplink.frames_dropped)

    def _tell_gap(self, dropped: int) -> None:
        """Say, once a turn, that a part of it had left the ring before it could be sent."""
        seconds, self._dropped = (dropped - self._dropped) / 50, dropped
        if seconds and not self._gap_told:
            self._gap_told = True
            self.tell(
                "warning", f"{seconds:.1f} s of what was said had to wait longer than talk.buffer_s: not sent"
            )

    def _take_edge(self, edge: _Edge, now: float) -> None:
        self.publish("panel", line=edge.line, active=edge.active)
        if edge.line == "button":
            self._parts.latencies.mark("press" if edge.active else "release", edge.at)
        fact = self._gestures.edge(edge.line, active=edge.active, at=edge.at)
        if fact:
            self._handle(fact, now)

    def _take_health(self, health: _Health) -> None:
        if health.trouble:
            self._faults[health.part] = health.text
        else:
            self._faults.pop(health.part, None)
        self.tell("error" if health.trouble else "info", health.text)
        self._show()

    def _handle(self, event: e.Event, now: float) -> None:
        before = self._conversation.state
        orders = self._conversation.handle(event, now)
        self._observe(event)
        if self._conversation.state is not before:
            self.publish("state", **{"state": self._conversation.state.value, "from": before.value})
        for order in orders:
            if isinstance(order, a.Connect) and before is not State.IDLE:
                self._parts.counters.reconnects += 1
            if isinstance(order, a.Hangup):
                self._session = None
            if isinstance(order, a.BeginTurn | a.AdvanceTurn):
                self._gap_told = False
            self._orders.carry_out(order)
        if self._conversation.state is not before or orders:
            self._show()

    # --- facts that are shown as they pass

    def _observe(self, event: e.Event) -> None:
        match event:
            case e.Opened() if self._orders.session(event.attempt):
                self._faults.pop("session", None)
                self._session = {
                    "id": event.session_id,
                    "endpoint": self._config.backend.endpoint,
                    "provider": event.provider,
                    "rung": event.rung,
                }
                facts = {"session_id" if key == "id" else key: value for key, value in self._session.items()}
                self.publish("session", **facts)
            case e.Restored() if self._session and event.turns:
                self._session = {**self._session, "rung": "live"}
                turns = [{"role": turn.role, "text": turn.text} for turn in event.turns]
                self.publish("restored", turns=turns)
            case e.ReplyText():
                self.publish("transcript", role="assistant", text=event.text, whole=event.whole, final=False)
            case e.ReplySounded():
                self._reply_sounded(event.reply_id)
            case e.CardLost():
                self._faults[event.side] = f"the {event.side} is missing: {event.reason}"
            case e.CardBack():
                self._faults.pop(event.side, None)
            case e.MuteSet():
                self._parts.capture.muted = event.on
                self._show()  # at rest no state changes with it

    def _reply_sounded(self, reply_id: str) -> None:
        self._parts.counters.replies += 1
        first_at = self._orders.first_sound_at(reply_id)
        latencies = self._parts.latencies
        if first_at is not None:
            latencies.mark("reply", first_at)
            latencies.measure("commit_to_reply_ms", "commit", "reply")
            latencies.measure("reply_to_sound_ms", "reply", "sound")
        self.publish("turn", latencies=dict(latencies.ms))

    # --- showing

    def tell(self, level: str, text: str) -> None:
        """Say one line to the owner."""
        log.log(_LEVELS[level], "%s", text, extra={"shown": True})
        self.publish("notice", level=level, text=text)
        if level == "error":
            if text not in self._faults.values():  # else it is told again, and not the session's
                self._faults["session"] = text
            self._parts.recent.save_soon(text)

    def _show(self) -> None:
        state = self._conversation.state
        resting = state in (State.IDLE, State.READY)
        pattern = state.value
        if resting and self._conversation.muted:
            pattern = "muted"
        elif (resting and self._parts.card_fault()) or (state is State.IDLE and self._faults):
            pattern = "fault"
        self._parts.panel.show(pattern)
        self._parts.notify.status(self._fault() or pattern)
        self._parts.rest(state is State.IDLE)
        session = self._orders.session(self._conversation.attempt)
        waits = state in (State.AWAITING, State.SPEAKING) and session and session.continuous
        self._parts.uplink.fill(session if waits else None)
        if session:
            session.talking(state in (State.LISTENING, State.AWAITING, State.SPEAKING))

    def _fault(self) -> str | None:
        return self._parts.card_fault() or next(iter([*self._faults.values()]), None)

    def publish(self, kind: str, **facts: Any) -> None:
        """Hand an event to the watchers and to the ring of the last ones."""
        event = {"event": kind, "t": time.monotonic(), "at": time.time(), **facts}
        self._parts.recent.note(event)
        self._parts.control.publish(event)

    # --- what the control socket asks, in its thread

    def command(self, request: dict[str, Any]) -> dict[str, Any] | Callable[[], dict[str, Any]]:
        """Answer one request of `pressel ctl`; a function is for a thread that may wait."""
        return partial(answer, self, request) if request.get("cmd") in SLOW else answer(self, request)

    def check(self) -> dict[str, Any]:
        """Ask the backend whether it knows this device; waits for the answer. Raises BackendError."""
        device = self._parts.check()
        told = {} if device else {"note": f"a backend of kind {self._config.backend.kind} cannot be asked"}
        return {"device": device, **told}

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
            "speaker_rests": self._parts.playback.resting,
            "session": self._session,
            "counters": self._parts.count(),
            "latencies": dict(self._parts.latencies.ms),
            "fault": self._fault(),
            "faults": dict(self._faults),
            "recording": self._parts.recorder is not None,
            "identity": self._parts.identity(),
            "version": __version__,
            "uptime_s": round(time.monotonic() - self._started, 1),
            **({"chaos": self._parts.chaos.status()} if self._parts.chaos else {}),
        }

    def events(self) -> list[dict[str, Any]]:
        """Return the last events, oldest first, without anybody's words."""
        return self._parts.recent.events()

    def set_volume(self, percent: int) -> None:
        """Set the speaker's volume, 0 to 100, and keep it."""
        self._parts.playback.volume = percent
        self._inbox.put(_Volume(percent))

    def _load(self) -> Book:
        book, notice = self._parts.store.load()
        if notice:
            log.warning("%s", notice)
        if book.volume is not None:
            self._parts.playback.volume = book.volume
        return book

    def _recall(self) -> Conversation:
        return Conversation(
            make_rules(self._config),
            Patience(random.random),
            self._orders.stored,
            Budget(make_limits(self._config), dict(self._orders.book.spent)),
        )


def _reason(error: BaseException | None) -> str:
    return str(error) or type(error).__name__
