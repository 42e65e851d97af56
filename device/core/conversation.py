"""The conversation: facts and the time in, orders out. The moves it may make are declared in `moves`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from device.core import actions as a
from device.core import events as e
from device.core.moves import MOVES, State
from device.core.record import Record
from device.core.replies import Replies
from device.core.sessions import heard_part

if TYPE_CHECKING:
    from device.core.patience import Patience
    from device.core.rules import Rules
    from device.core.sessions import Session
    from device.core.sessions import Turn as Said

Actions = list[a.Action]

_YOUNG_S = 10.0  # a session that lasts longer was a good one


@dataclass
class Turn:
    """The user's turn in the making: by button, hands free or written, open or ended, and how far it got."""

    began: float
    hands_free: bool
    written: str = ""
    ended: bool = False
    speech: bool = False
    item: str | None = None


class Conversation:
    """One device's talk. Call `handle` for each fact and at `deadline`; carry out the orders in sequence."""

    def __init__(self, rules: Rules, patience: Patience, stored: Session | None = None) -> None:
        self.state = State.IDLE
        self.attempt = 0
        self.muted = False
        self._rules = rules
        self._patience = patience
        self._turn: Turn | None = None
        self._up = False
        self._timers: dict[str, float] = {}
        self._patient_until = 0.0
        self._opened_at = 0.0
        self._fallen = False  # a session has gone, and no reply has come since
        self._replies = Replies()
        self._awaits_tools = False
        self._writing = False  # the talk is in writing: the microphone stays shut after a reply
        self._written = 0
        self._hold_ends_talk = False
        self._quiet_at = float("-inf")
        self._record = Record(stored, rules.keep_turns)

    @property
    def turns(self) -> tuple[Said, ...]:
        """What was said, oldest first."""
        return self._record.turns

    @property
    def deadline(self) -> float | None:
        """When to hand in `Elapsed` next, in monotonic seconds."""
        return min((at for name, at in self._timers.items() if name in _TIMERS[self.state]), default=None)

    def handle(self, event: e.Event, now: float) -> Actions:
        """Take one fact. A fact that comes too late to matter, or from an older attempt, returns []."""
        if isinstance(event, e.Attempted) and (event.attempt != self.attempt or not self._live):
            return []
        legal = MOVES[self.state].get(type(event))
        if legal is None:
            return []
        before = self.state
        done: Actions = getattr(self, _HANDLERS[type(event)])(event, now)
        assert self.state in legal, f"{before} may not become {self.state} on {event}"
        return done

    # --- the panel

    def _pressed(self, event: e.Pressed, now: float) -> Actions:
        hands_free = self._rules.mode == "open_mic"
        match self.state:
            case State.LISTENING if hands_free:
                return self._end_talk(now)
            case State.LISTENING:  # the button takes over a turn that the wake line began
                assert self._turn
                self._turn.hands_free = False
                return []
            case State.CONNECTING if hands_free and not self._writing:
                return self._abandon(now)
            case State.CONNECTING:
                return self._reopen()
            case State.RETRYING:
                return [*self._reopen(), *self._connect_anew(now)]
        return self._begin(event.at, now, hands_free=hands_free)

    def _woken(self, event: e.Woken, now: float) -> Actions:
        if self.state is State.RETRYING:
            return self._connect_anew(now)
        return self._begin(event.at, now, hands_free=True)

    def _begin(self, at: float, now: float, *, hands_free: bool) -> Actions:
        """Start a turn from wherever nobody listens yet; a reply that sounds is interrupted."""
        if self.muted:
            return [a.Tell("warning", "the microphone is muted; `pressel ctl unmute` switches it on")]
        self._hold_ends_talk = self.state in (State.AWAITING, State.SPEAKING)
        cut = self._interrupt(now) if self._hold_ends_talk else []
        since_quiet_ms = (at - self._quiet_at) * 1000 - (
            self._rules.tail_ms if self._rules.half_duplex else 0
        )
        lead_ms = int(max(0.0, min(self._rules.preroll_ms, since_quiet_ms)))
        return [*cut, *self._open_turn(at, lead_ms, now, hands_free=hands_free)]

    def _open_turn(self, at: float, lead_ms: int, now: float, *, hands_free: bool) -> Actions:
        self._turn = Turn(began=at, hands_free=hands_free)
        self._writing = False
        begun: Actions = [a.BeginTurn(at, lead_ms)]
        self._timers["turn"] = at + self._rules.longest_turn_ms / 1000
        if self._up:
            self._listen(now)
            return [*begun, a.AttachTurn(self.attempt)]
        return [*begun, *self._connect_anew(now)]

    def _typed(self, event: e.Typed, now: float) -> Actions:
        if self.state in (State.CONNECTING, State.RETRYING):
            return [a.Tell("warning", "no session is open yet; write it again when one is")]
        given_up: Actions = []
        match self.state:
            case State.LISTENING:
                given_up = [a.DiscardTurn()]
            case State.AWAITING | State.SPEAKING:
                given_up = [*self._interrupt(now), a.CloseTurn()]
            case _:
                self._writing = True
        self._turn = Turn(began=now, hands_free=False, written=event.text, ended=True)
        self._timers.pop("turn", None)
        if not self._up:
            return [*given_up, *self._connect_anew(now)]
        self._await(now)
        return [*given_up, *self._say()]

    def _say(self) -> Actions:
        """Hand the written words over; they are the user's turn from here on."""
        assert self._turn
        self._written += 1
        self._turn.item = f"written-{self._written}"
        return [
            *self._record.note(self._turn.item, "user", self._turn.written),
            a.Say(self.attempt, self._turn.written),
        ]

    def _reopen(self) -> Actions:
        assert self._turn
        if self._turn.written:
            return []
        was_ended, self._turn.ended = self._turn.ended, False
        self._timers["turn"] = self._turn.began + self._rules.longest_turn_ms / 1000
        return [a.ReopenTurn()] if was_ended else []

    def _released(self, event: e.Released, now: float) -> Actions:
        turn = self._turn
        assert turn
        if turn.hands_free or turn.ended:
            return []
        short = (event.at - turn.began) * 1000 < self._rules.shortest_press_ms
        if short and not turn.speech:
            return self._end_talk(now) if self.state is State.LISTENING else self._abandon(now)
        return self._end_turn(event.at, now)

    def _held(self, _event: e.Held, now: float) -> Actions:
        if self._rules.mode == "push_to_talk" or not self._hold_ends_talk:
            return []  # there a long press is a long turn, or the start of the talk
        return self._end_talk(now) if self.state is State.LISTENING else self._abandon(now)

    def _mute_set(self, event: e.MuteSet, now: float) -> Actions:
        self.muted = event.on
        if event.on and self.state is State.LISTENING:
            return self._end_talk(now)
        if event.on and self.state in (State.CONNECTING, State.RETRYING):
            return self._abandon(now)
        return []

    def _forgotten(self, _event: e.Forgotten, now: float) -> Actions:
        cut = self._interrupt(now) if self.state in (State.AWAITING, State.SPEAKING) else []
        gone: Actions = [*cut, *self._abandon(now)] if self.state is not State.IDLE else []
        self._record = Record(None, self._rules.keep_turns)
        return [*gone, a.Forget(), a.Tell("info", "the conversation is forgotten")]

    # --- connecting

    def _connect(self) -> Actions:
        self.attempt += 1
        self.state = State.CONNECTING
        return [a.Connect(self.attempt, self._record.session_id, self._record.turns)]

    def _connect_anew(self, now: float) -> Actions:
        self._patience.reset()
        self._patient_until = now + self._rules.connect_patience_ms / 1000
        return self._connect()

    def _opened(self, event: e.Opened, now: float) -> Actions:
        assert self._turn
        self._record.open(event.session_id, event.provider, event.rung)
        self._up = True
        self._opened_at = now
        if event.ends_at is not None:
            self._timers["session"] = event.ends_at - self._rules.renew_margin_ms / 1000
        told: Actions = [
            a.Tell("info", f"session {event.session_id} is open ({event.rung})"),
            self._record.kept(),
        ]
        if not self._turn.ended:
            self._listen(now)
            return [*told, a.AttachTurn(self.attempt)]
        self._await(now)
        if self._known_to_server(event.rung, self._turn):
            return [*told, a.CloseTurn(), a.RequestReply(self.attempt)]
        if self._turn.written:
            return [*told, *self._say()]
        return [*told, a.AttachTurn(self.attempt)]

    def _restored(self, event: e.Restored, _now: float) -> Actions:
        self._record.restore(event.turns)
        told = a.Tell("info", f"the server remembers {len(event.turns)} turns of the conversation")
        return [told, self._record.kept()]

    def _known_to_server(self, rung: str, turn: Turn) -> bool:
        """Say nothing twice: a restored session has what was accepted, a seeded one what was transcribed."""
        if turn.item is None:
            return False
        return rung == "live" or (rung == "seeded" and self._record.has(turn.item))

    def _lost(self, event: e.Lost, now: float) -> Actions:
        self._timers.pop("session", None)
        self._up = False
        told: Actions = [a.Hangup(self.attempt)]
        match self.state:
            case State.CONNECTING:
                return [*told, *self._attempt_failed(event, now)]
            case State.SPEAKING:  # what has come is heard out, the rest is not pretended
                finish = [a.FinishReply(reply_id) for reply_id in self._replies.unfinished]
                return [*told, a.Tell("warning", f"lost the session while speaking: {event.reason}"), *finish]
            case State.READY:
                self._rest(now)
                return [*told, a.Tell("info", f"the session has ended: {event.reason}")]
        return [*told, *self._lost_in_talk(event, now)]

    def _lost_in_talk(self, event: e.Lost, now: float) -> Actions:
        cut = self._interrupt(now) if self._replies else []
        if event.fatal or self._turn is None:
            return [*cut, *self._give_up(event.reason, now)]
        if self._fallen and now - self._opened_at < _YOUNG_S:  # it opens and falls: wait between the tries
            return [*cut, a.DetachTurn(), *self._attempt_failed(event, now)]
        self._fallen = True
        told = a.Tell("warning", f"lost the session: {event.reason}; connecting again")
        return [*cut, told, a.DetachTurn(), *self._connect_anew(now)]

    def _attempt_failed(self, event: e.Lost, now: float) -> Actions:
        wait = self._patience.next_wait(event.retry_after_s)
        if event.fatal or now + wait > self._patient_until:
            return self._give_up(event.reason, now)
        self.state = State.RETRYING
        self._timers["retry"] = now + wait
        return [a.Tell("warning", f"{event.reason}; next attempt in {wait:.1f} s")]

    def _troubled(self, event: e.Troubled, _now: float) -> Actions:
        return [a.Tell("warning", event.text)]

    def _give_up(self, reason: str, now: float) -> Actions:
        return [*self._abandon(now), a.Tell("error", reason)]

    # --- the turn

    def _speech_started(self, event: e.SpeechStarted, now: float) -> Actions:
        if self.state in (State.AWAITING, State.SPEAKING):
            return self._talked_over(event, now)
        assert self._turn
        self._turn.speech = True
        self._timers.pop("silence", None)
        return []

    def _talked_over(self, event: e.SpeechStarted, now: float) -> Actions:
        """The user goes on before the reply sounds, or, where the echo is cancelled, speaks over it."""
        if self._rules.mode != "open_mic" or event.source != self._ear or not self._up:
            return []
        if self.state is State.SPEAKING and self._rules.half_duplex:
            return []
        cut = self._interrupt(now)
        if self._ear == "server":  # its uplink is open all along
            self._turn = self._turn or Turn(began=now, hands_free=True)
            self._turn.speech = True
            self._listen(now)
            return cut
        return [*cut, *self._open_turn(now, self._rules.preroll_ms, now, hands_free=True)]

    @property
    def _ear(self) -> e.Source:
        return "server" if self._rules.turn_end == "server" and self._rules.mode == "open_mic" else "local"

    def _speech_ended(self, event: e.SpeechEnded, now: float) -> Actions:
        turn = self._turn
        assert turn
        if not turn.hands_free or turn.ended or event.source != self._ear or not turn.speech:
            return []
        if self._ear == "local":
            return self._end_turn(now, now)
        if self.state is State.LISTENING:
            self._await(now)
        return []

    def _end_turn(self, at: float, now: float) -> Actions:
        assert self._turn
        self._turn.ended = True
        self._timers.pop("turn", None)
        if self.state is State.LISTENING:
            self._await(now)
        return [a.EndTurn(at)]

    def _turn_accepted(self, event: e.TurnAccepted, _now: float) -> Actions:
        self._record.place(event.item_id, "user")
        if self._turn:
            self._turn.item = event.item_id
        return []

    def _user_said(self, event: e.UserSaid, _now: float) -> Actions:
        return self._record.note(event.item_id, "user", event.text)

    # --- the reply

    def _reply_started(self, event: e.ReplyStarted, now: float) -> Actions:
        if self.state is State.LISTENING and self._ear == "local":
            return [a.RefuseReply(self.attempt, event.reply_id)]
        self._replies.admit(event.reply_id)
        self._record.place(event.reply_id, "assistant")
        self._awaits_tools = False
        self._fallen = False
        self._patience.reset()
        if self.state is not State.SPEAKING:
            self._await(now)
        return [a.AdmitReply(event.reply_id)]

    def _reply_text(self, event: e.ReplyText, _now: float) -> Actions:
        self._replies.add_words(event.reply_id, event.text, whole=event.whole)
        return []

    def _reply_sounded(self, event: e.ReplySounded, _now: float) -> Actions:
        if event.reply_id not in self._replies:
            return []
        self._replies.mark_sounding(event.reply_id)
        self.state = State.SPEAKING
        if self._rules.half_duplex or self._ear == "local":
            self._turn = None
            return [a.CloseTurn()]
        return []

    def _reply_ended(self, event: e.ReplyEnded, now: float) -> Actions:
        told: Actions = [a.Tell("warning", event.trouble)] if event.trouble else []
        if event.tool_calls:
            told += [a.RefuseTool(self.attempt, call.call_id, call.name) for call in event.tool_calls]
            told.append(a.RequestReply(self.attempt))
            self._awaits_tools = True
        if event.reply_id not in self._replies:
            return told
        if event.audio:
            self._replies.mark_whole(event.reply_id)
            return [*told, a.FinishReply(event.reply_id)]
        told += self._settle(event.reply_id)
        if self.state is State.AWAITING and not self._replies and not self._awaits_tools:
            told += self._after_reply(now, tail_ms=0)
        return told

    def _withdrawn(self, _event: e.Withdrawn, now: float) -> Actions:
        if not self._replies:
            return []
        cut = self._interrupt(now)
        if self.state is State.AWAITING:  # another reply follows, to what was said over this one
            return cut
        if self._ear == "server" and self._turn and not self._turn.ended:
            self._turn.speech = True
            self._listen(now)
            return cut
        return [*cut, *self._after_reply(now, tail_ms=0)]

    def _reply_heard(self, event: e.ReplyHeard, now: float) -> Actions:
        if event.reply_id not in self._replies:
            return []
        told = self._settle(event.reply_id)
        self._quiet_at = now
        if self._replies.sounding:
            return told
        if self._up and (self._replies or self._awaits_tools):
            self._await(now)
            return told
        return [*told, *self._after_reply(now, tail_ms=self._rules.tail_ms if self._rules.half_duplex else 0)]

    def _after_reply(self, now: float, tail_ms: int) -> Actions:
        """Nobody speaks any more: listen again in an open talk, else stand by."""
        if self._rules.mode == "push_to_talk" or self._writing:
            self._rest(now)
            return []
        if self._up and self._turn and not self._turn.ended:  # the uplink was open all along
            self._turn = Turn(began=now, hands_free=True)
            self._listen(now)
            return []
        return self._open_turn(now, -tail_ms, now, hands_free=True)

    def _settle(self, reply_id: str) -> Actions:
        """Put a reply's words into the memory."""
        return self._record.note(reply_id, "assistant", self._replies.settle(reply_id))

    def _reply_cut(self, event: e.ReplyCut, _now: float) -> Actions:
        words = heard_part(self._replies.cut_words(event.reply_id), event.heard_ms, event.received_ms)
        self._record.heard_ms = event.heard_ms
        return self._record.note(event.reply_id, "assistant", words)

    def _interrupt(self, now: float) -> Actions:
        self._replies.cut_all()
        self._awaits_tools = False
        self._quiet_at = now
        return [a.Interrupt(self.attempt)]

    # --- time

    def _elapsed(self, _event: e.Elapsed, now: float) -> Actions:
        due = {name for name in _TIMERS[self.state] if self._timers.get(name, now + 1) <= now}
        for name in due:
            del self._timers[name]
        if not due:
            return []
        match self.state:
            case State.RETRYING if "retry" in due:
                return self._connect()
            case State.CONNECTING | State.RETRYING:
                return self._end_turn(now, now)
            case State.LISTENING:
                return self._end_turn(now, now) if "turn" in due else self._end_talk(now)
            case State.AWAITING:
                return self._reply_overdue(now)
        return self._abandon(now)

    def _reply_overdue(self, now: float) -> Actions:
        cut = self._interrupt(now)
        self._turn = None
        limit_s = self._rules.reply_timeout_ms / 1000
        told = a.Tell("warning", f"no reply within {limit_s:.0f} s; press and say it again")
        return [*cut, a.CloseTurn(), told, *self._after_reply(now, tail_ms=0)]

    # --- moves

    @property
    def _live(self) -> bool:
        """Whether the current attempt can still report: it is open, or being opened."""
        return self._up or self.state is State.CONNECTING

    def _listen(self, now: float) -> None:
        assert self._turn
        self.state = State.LISTENING
        self._timers["turn"] = self._turn.began + self._rules.longest_turn_ms / 1000
        self._timers.pop("silence", None)
        if self._turn.hands_free and not self._turn.speech:
            self._timers["silence"] = now + self._rules.silence_limit_ms / 1000

    def _await(self, now: float) -> None:
        self.state = State.AWAITING
        self._timers["reply"] = now + self._rules.reply_timeout_ms / 1000

    def _rest(self, now: float) -> None:
        """Nobody talks: stand by with an open session, else idle."""
        self._turn = None
        self.state = State.READY if self._up else State.IDLE
        self._timers["idle"] = now + self._rules.idle_hangup_ms / 1000

    def _end_talk(self, now: float) -> Actions:
        self._rest(now)
        return [a.DiscardTurn()]

    def _abandon(self, now: float) -> Actions:
        """Hang up and idle."""
        discard: Actions = [a.DiscardTurn()] if self._turn else []
        self._up = False
        self._rest(now)
        self._timers.clear()
        return [*discard, a.Hangup(self.attempt)]


_TIMERS: dict[State, tuple[str, ...]] = {
    State.IDLE: (),
    State.CONNECTING: ("turn",),
    State.RETRYING: ("retry", "turn"),
    State.READY: ("idle", "session"),
    State.LISTENING: ("turn", "silence"),
    State.AWAITING: ("reply",),
    State.SPEAKING: (),
}

_HANDLERS: dict[type[e.Event], str] = {
    e.Pressed: "_pressed",
    e.Released: "_released",
    e.Held: "_held",
    e.Woken: "_woken",
    e.MuteSet: "_mute_set",
    e.Forgotten: "_forgotten",
    e.Typed: "_typed",
    e.Elapsed: "_elapsed",
    e.Opened: "_opened",
    e.Restored: "_restored",
    e.Lost: "_lost",
    e.Troubled: "_troubled",
    e.SpeechStarted: "_speech_started",
    e.SpeechEnded: "_speech_ended",
    e.TurnAccepted: "_turn_accepted",
    e.UserSaid: "_user_said",
    e.ReplyStarted: "_reply_started",
    e.ReplyText: "_reply_text",
    e.ReplyEnded: "_reply_ended",
    e.Withdrawn: "_withdrawn",
    e.ReplySounded: "_reply_sounded",
    e.ReplyHeard: "_reply_heard",
    e.ReplyCut: "_reply_cut",
}
