"""What the conversation knows at a moment, and the moves that several of its facts share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from device.core import actions as a
from device.core import events as e
from device.core.moves import State
from device.core.record import Record
from device.core.replies import Replies

if TYPE_CHECKING:
    from device.core.budget import Budget
    from device.core.patience import Patience
    from device.core.rules import Rules
    from device.core.sessions import Session

Actions = list[a.Action]


@dataclass
class Turn:
    """The user's turn in the making: by button, hands free or written, open or ended, and how far it got."""

    began: float
    hands_free: bool
    written: str = ""
    ended: bool = False
    speech: bool = False
    item: str | None = None
    taken: bool = False  # by the server's own ear, and nothing was said since
    sent: bool = False  # a session was given it, whole or in part


class Talk:
    """The facts of one device's talk. Times are monotonic seconds."""

    def __init__(
        self, rules: Rules, patience: Patience, budget: Budget, stored: Session | None = None
    ) -> None:
        self.state = State.IDLE
        self.attempt = 0
        self.muted = False
        self.rules = rules
        self.patience = patience
        self.budget = budget
        self.turn: Turn | None = None
        self.timers: dict[str, float] = {}
        self.up = False  # a session is open
        self.opened_at = 0.0
        self.billed_at = 0.0
        self.failed = 0  # attempts in a row
        self.trouble = "no answer yet"  # why there is no session
        self.not_before = 0.0  # the server has named a time for the next attempt
        self.fallen = False  # a session has gone, and no reply has come since
        self.given_up = False  # there was no session for so long that the user was told
        self.refused = False  # the server wants no more of this talk
        self.broken_off = False  # the session has gone in the middle of a reply
        self.lost_cards: dict[str, str] = {}  # why, by side
        self.restored: list[e.TurnHeld] = []  # what the session that is being opened already has
        self.replies = Replies()
        self.awaits_tools = False
        self.writing = False  # the talk is in writing: the microphone stays shut after a reply
        self.written = 0
        self.hold_ends_talk = False
        self.quiet_at = float("-inf")
        self.record = Record(stored, rules.keep_turns)

    # --- what follows from the facts

    @property
    def live(self) -> bool:
        """Whether the current attempt can still report: it is open, or being opened."""
        return self.up or self.state is State.CONNECTING

    @property
    def ear(self) -> e.Source:
        """Who finds the end of the user's speech."""
        return "server" if self.rules.turn_end == "server" and self.rules.mode == "open_mic" else "local"

    @property
    def deaf(self) -> bool:
        """Whether nobody should be listened to: the microphone is muted, or a side of the card is missing."""
        return self.muted or bool(self.lost_cards)

    @property
    def running(self) -> set[str]:
        """The timers that count now."""
        names = set(_TIMERS[self.state])
        silent = self.state is State.READY or (
            self.state is State.LISTENING
            and self.turn is not None
            and self.turn.hands_free
            and not self.turn.speech
        )
        if silent:  # what can wait for a silence waits for one
            names |= {"session", "limit"}
        unwanted = self.turn is None and not self.given_up
        if unwanted and self.state in (State.CONNECTING, State.RETRYING):  # nobody waits for the session
            names.add("idle")
        return names & self.timers.keys()

    # --- the turn

    def open_turn(self, at: float, lead_ms: int, now: float, *, hands_free: bool) -> Actions:
        """Keep the user's sound from now on; where no session is open, open one."""
        self.turn = Turn(began=at, hands_free=hands_free)
        self.writing = False
        begun: Actions = [a.BeginTurn(at, lead_ms, self._why(hands_free))]
        self.timers["turn"] = at + self.rules.longest_turn_ms / 1000
        if self.up:
            self.listen(now)
            return [*begun, *self.send_turn()]
        return [*begun, *self.want_session(now)]

    def _why(self, hands_free: bool) -> a.Why:
        if self.rules.mode == "open_mic":
            return "open talk"
        return "wake" if hands_free else "button"

    def send_turn(self) -> Actions:
        """Give the session the turn, from its first sample."""
        assert self.turn
        self.turn.sent = True
        return [a.AttachTurn(self.attempt)]

    def end_turn(self, at: float, now: float) -> Actions:
        """The user has finished."""
        assert self.turn
        self.turn.ended = True
        self.timers.pop("turn", None)
        if self.state is State.LISTENING:
            self.wait_for_reply(now)
        return [a.EndTurn(at)]

    def end_talk(self, now: float) -> Actions:
        """There was nothing to be said."""
        self.rest(now)
        return [a.DiscardTurn()]

    def say(self) -> Actions:
        """Hand the written words over; they are the user's turn from here on."""
        assert self.turn
        self.written += 1
        self.turn.item = f"written-{self.written}"
        self.turn.sent = True
        return [
            *self.record.note(self.turn.item, "user", self.turn.written),
            a.Say(self.attempt, self.turn.written),
        ]

    # --- the session

    def connect(self) -> Actions:
        """Begin the next attempt, with more patience after some: each may have met a dead line."""
        self.attempt += 1
        self.restored = []
        self.state = State.CONNECTING
        limit_s = _OPENING_S[min(self.failed, len(_OPENING_S) - 1)]
        return [a.Connect(self.attempt, self.record.session_id, self.record.turns, limit_s)]

    def want_session(self, now: float) -> Actions:
        """Try at once, or as soon as the server allows; what the user says is kept for a while."""
        if self.timers.get("idle", now + 1) <= now:  # nobody talked for so long that this is another talk
            self._stop("talk")
        self.timers["keep"] = now + self.rules.keep_turn_ms / 1000
        if self.state is State.CONNECTING:
            return []
        self.patience.reset()
        if now < self.not_before:
            self.state = State.RETRYING
            self.timers["retry"] = self.not_before
            wait_s = self.not_before - now
            return [a.Tell("warning", f"the server asked for patience; next attempt in {wait_s:.0f} s")]
        return self.connect()

    def lost_turn(self, reason: str) -> Actions:
        """Give the turn up, audibly; connecting goes on without it."""
        self.turn = None
        self.given_up = True
        self._stop("turn", "keep", "talk", "limit", "notice")
        return [a.DiscardTurn(), a.Chime("lost"), a.Tell("error", reason)]

    def count_time(self, now: float) -> Actions:
        """Put the time since the last count on the bill."""
        if not self.up:
            return []
        self.budget.add(seconds=now - self.billed_at)
        self.billed_at = now
        self.timers["spend"] = now + _SPEND_EVERY_S
        return [a.Spend(self.budget.spent)]

    def abandon(self, now: float) -> Actions:
        """Hang up and idle."""
        discard: Actions = [a.DiscardTurn()] if self.turn else []
        spent = self.count_time(now)
        self.up = self.given_up = False
        self.rest(now)
        self.timers.clear()
        return [*discard, a.Hangup(self.attempt), *spent]

    def give_up(self, reason: str, now: float) -> Actions:
        """Hang up for a reason that another attempt does not mend."""
        return [*self.abandon(now), a.Chime("lost"), a.Tell("error", reason)]

    # --- the reply

    def interrupt(self, now: float) -> Actions:
        """Silence what sounds."""
        self.replies.cut_all()
        self.awaits_tools = self.broken_off = False
        self.quiet_at = now
        self._stop("answer")
        return [a.Interrupt(self.attempt)]

    def settle(self, reply_id: str, sound_ms: int | None = None) -> Actions:
        """Put a reply's words into the memory."""
        return self.record.note(reply_id, "assistant", self.replies.settle(reply_id, sound_ms))

    def after_reply(self, now: float, tail_ms: int) -> Actions:
        """Nobody speaks any more: listen again in an open talk, else stand by."""
        self._stop("answer")
        if self.rules.mode == "push_to_talk" or self.writing or self.deaf or self.refused:
            shut: Actions = [a.DiscardTurn()] if self.turn and not self.turn.ended else []
            self.rest(now)
            return shut
        if self.up and self.turn and not self.turn.ended:  # the uplink was open all along
            return self.next_turn(now, self.rules.preroll_ms)
        return self.open_turn(now, -tail_ms, now, hands_free=True)

    def next_turn(self, now: float, lead_ms: int, *, speech: bool = False) -> Actions:
        """The last turn is answered, and the server goes on hearing."""
        self.turn = Turn(began=now, hands_free=True, speech=speech)
        self.listen(now)
        return [a.AdvanceTurn(now, lead_ms)]

    # --- moves

    def listen(self, now: float) -> None:
        """The user's sound goes to the session."""
        assert self.turn
        self.state = State.LISTENING
        self.timers["turn"] = self.turn.began + self.rules.longest_turn_ms / 1000
        self._stop("silence", "answer", "keep")
        if self.turn.hands_free and not self.turn.speech:
            self.timers["silence"] = now + self.rules.silence_limit_ms / 1000

    def wait_for_reply(self, now: float) -> None:
        """The user has finished; each sign of a reply buys time, the whole answer has its own limit."""
        self.state = State.AWAITING
        self.timers["reply"] = now + self.rules.reply_timeout_ms / 1000
        self.timers.setdefault("answer", now + self.rules.longest_reply_ms / 1000)
        self._stop("keep")

    def rest(self, now: float) -> None:
        """Nobody talks: stand by with an open session, else idle."""
        self.turn = None
        self.refused = False
        self.state = State.READY if self.up else State.IDLE
        if not self.up:
            self.timers = {name: at for name, at in self.timers.items() if name == "talk"}  # it may go on
        self.timers["idle"] = now + self.rules.idle_hangup_ms / 1000
        self._stop("turn", "silence", "answer", "keep")

    def _stop(self, *names: str) -> None:
        for name in names:
            self.timers.pop(name, None)


_OPENING_S = (2.0, 2.0, 2.0, 4.0, 8.0, 15.0)  # of each attempt in a row; a dead line costs one of these
_SPEND_EVERY_S = 15.0  # the bill goes to disk this often
_OPEN = ("spend", "notice")
_TIMERS: dict[State, tuple[str, ...]] = {
    State.IDLE: (),
    State.CONNECTING: ("turn", "keep"),
    State.RETRYING: ("retry", "turn", "keep"),
    State.READY: ("idle", *_OPEN),
    State.LISTENING: ("turn", "silence", *_OPEN),
    State.AWAITING: ("reply", "answer", *_OPEN),
    State.SPEAKING: ("answer", *_OPEN),
}
