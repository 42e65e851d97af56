"""What holds of the conversation whatever happens, in whatever order, however late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from device.core import actions as a
from device.core import events as e
from device.core.budget import Budget, Limits
from device.core.conversation import Conversation
from device.core.moves import State
from device.core.patience import Patience
from device.core.rules import Rules
from device.core.sessions import Session, Turn

if TYPE_CHECKING:
    from collections.abc import Callable

_S = State
_WHICH = st.integers(0, 2)  # of the replies, the newest first
_STORED = Session("sess_old", "local", (Turn("user", "hello"),))
_MODES = st.sampled_from(
    [
        ("push_to_talk", "client", True),
        ("open_mic", "server", True),
        ("open_mic", "client", True),
        ("open_mic", "server", False),
        ("open_mic", "client", False),
    ]
)
_DEAF = {"muted", "microphone"}  # a reply waits for its speaker, a turn does not wait for its microphone
_TICK_S = 0.001
_MOST_AT_ONCE = 15  # timers there are: no more can be due at one moment
_SERVER: dict[str, Callable[[int, str], e.Event]] = {
    "restored": lambda n, _: e.Restored(n, (Turn("user", "hello"),)),
    "troubled": lambda n, _: e.Troubled(n, "hm"),
    "used": lambda n, _: e.Used(n, 400),
    "held": lambda n, _: e.TurnHeld(n, "item"),
    "accepted": lambda n, _: e.TurnAccepted(n, "item"),
    "said": lambda n, _: e.UserSaid(n, "item", "what time is it"),
    "withdrawn": lambda n, _: e.Withdrawn(n),
    "text": lambda n, reply: e.ReplyText(n, reply, "It is noon."),
    "tools": lambda n, reply: e.ReplyEnded(n, reply, False, None, (e.ToolCall("c", "f"),)),
    "empty": lambda n, reply: e.ReplyEnded(n, reply, audio=False, trouble="failed"),
}


class Gates:
    """The uplink, the downlink and the attempt, as the orders leave them; an order that cannot be fails."""

    def __init__(self) -> None:
        self.attempt: int | None = None  # asked for, and not hung up
        self.open = False
        self.turn: dict[str, Any] | None = None
        self.admitted: dict[str, int] = {}
        self.cut: list[str] = []  # what the player may still report of

    def carry_out(self, order: a.Action) -> None:
        getattr(self, f"_{type(order).__name__}", lambda _order: None)(order)

    def _Connect(self, order: a.Connect) -> None:  # noqa: N802 # the order's name
        assert self.attempt is None, f"attempt {self.attempt} was never ended"
        self.attempt = order.attempt

    def _Hangup(self, order: a.Hangup) -> None:  # noqa: N802 # the same
        assert self.attempt in (None, order.attempt)
        self.attempt, self.open = None, False

    def _BeginTurn(self, _order: a.BeginTurn) -> None:  # noqa: N802 # the same
        self.turn = {"attached": None, "ended": False}

    def _AttachTurn(self, order: a.AttachTurn) -> None:  # noqa: N802 # the same
        assert self.turn is not None, "there is no turn to send"
        self._to_open(order.attempt)
        self.turn["attached"] = order.attempt

    def _DetachTurn(self, _order: a.DetachTurn) -> None:  # noqa: N802 # the same
        if self.turn:
            self.turn["attached"] = None

    def _EndTurn(self, _order: a.EndTurn) -> None:  # noqa: N802 # the same
        assert self.turn is not None, "there is no turn to end"
        assert not self.turn["ended"], "the turn was ended before"
        self.turn["ended"] = True

    def _ReopenTurn(self, _order: a.ReopenTurn) -> None:  # noqa: N802 # the same
        assert self.turn is not None, "there is no turn to reopen"
        self.turn["ended"] = False

    def _CloseTurn(self, _order: a.CloseTurn) -> None:  # noqa: N802 # the same
        self.turn = None

    def _DiscardTurn(self, _order: a.DiscardTurn) -> None:  # noqa: N802 # the same
        self.turn = None

    def _Say(self, order: a.Say) -> None:  # noqa: N802 # the same
        self._to_open(order.attempt)

    def _RequestReply(self, order: a.RequestReply) -> None:  # noqa: N802 # the same
        self._to_open(order.attempt)

    def _AdmitReply(self, order: a.AdmitReply) -> None:  # noqa: N802 # the same
        assert self.open, "a reply of a dead attempt was let through"
        assert self.attempt is not None
        self.admitted[order.reply_id] = self.attempt
        assert len(set(self.admitted.values())) == 1, "replies of two attempts are let through"

    def _RefuseReply(self, order: a.RefuseReply) -> None:  # noqa: N802 # the same
        self._to_open(order.attempt)

    def _FinishReply(self, order: a.FinishReply) -> None:  # noqa: N802 # the same
        assert order.reply_id in self.admitted

    def _Interrupt(self, _order: a.Interrupt) -> None:  # noqa: N802 # the same
        self.cut += self.admitted
        self.admitted.clear()

    def _to_open(self, attempt: int) -> None:
        assert self.open, "the order needs an open session"
        assert self.attempt == attempt, "the order is for a dead attempt"


class Anything(RuleBasedStateMachine):
    """A device on which anything happens. Its own parts are honest; the server and the user need not be."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.gates = Gates()
        self.sounding: list[str] = []  # of the admitted, those that have reached the speaker
        self.replies: list[str] = []  # of this session, as the server began them
        self.has_audio: set[str] = set()
        self.ended: set[str] = set()
        self.wants_since: float | None = None  # a turn waits for a session
        self.answer_since: float | None = None  # a reply is awaited or sounds
        self.deaf: set[str] = set()

    @initialize(
        mode=_MODES,
        stored=st.sampled_from([None, _STORED]),
        limits=st.sampled_from([Limits(), Limits(), Limits(day_minutes=1), Limits(day_tokens=1000)]),
        longest_talk_ms=st.sampled_from([0, 90_000]),
        draw=st.sampled_from([0.0, 0.5, 0.999]),
    )
    def begin(
        self,
        mode: tuple[Any, Any, bool],
        stored: Session | None,
        limits: Limits,
        longest_talk_ms: int,
        draw: float,
    ) -> None:
        kind, turn_end, half_duplex = mode
        self.rules_ = Rules(
            mode=kind, turn_end=turn_end, half_duplex=half_duplex, longest_talk_ms=longest_talk_ms
        )
        budget = Budget(limits, today="2026-11-21")
        self.talk = Conversation(self.rules_, Patience(lambda: draw), stored, budget)

    def tell(self, event: e.Event) -> list[a.Action]:
        """Hand in a fact, check what comes of it, and carry it out."""
        before = self.talk.state
        old = isinstance(event, e.Attempted) and event.attempt != self.gates.attempt
        orders = self.talk.handle(event, self.now)
        if old:
            assert (orders, self.talk.state) == ([], before), "an old attempt moved something"
        if isinstance(event, e.Opened) and not old:
            self.gates.open = True
        for order in orders:
            self.gates.carry_out(order)
            self._may_listen(order)
        self._note_waits(event, before)
        return orders

    def _may_listen(self, order: a.Action) -> None:
        if isinstance(order, a.BeginTurn):
            assert not self.deaf & _DEAF, f"a turn begins although {self.deaf}"

    def _note_waits(self, event: e.Event, before: State) -> None:
        state = self.talk.state
        waits = state in (_S.CONNECTING, _S.RETRYING) and self.talk._talk.turn is not None
        wished = isinstance(event, e.Pressed | e.Woken | e.Typed) or before is _S.SPEAKING
        if not waits:
            self.wants_since = None
        elif self.wants_since is None or wished or isinstance(event, e.Lost):
            self.wants_since = self.now
        answers = state in (_S.AWAITING, _S.SPEAKING)
        if not answers:
            self.answer_since = None
        elif self.answer_since is None or wished or isinstance(event, e.SpeechStarted | e.Withdrawn):
            self.answer_since = self.now

    # --- the user

    @rule()
    def press(self) -> None:
        before = self.talk.state
        orders = self.tell(e.Pressed(self.now))
        kinds = {type(order) for order in orders}
        hears = self.gates.turn is not None and not self.gates.turn["ended"]
        stops = self.rules_.mode == "open_mic" and before in (_S.LISTENING, _S.CONNECTING)
        assert hears or stops or kinds & {a.Tell, a.Chime} or self.talk._talk.turn, (
            "a press without an answer"
        )

    @rule()
    def release(self) -> None:
        self.tell(e.Released(self.now))

    @rule()
    def wake(self) -> None:
        self.tell(e.Woken(self.now))

    @rule()
    def hold(self) -> None:
        self.tell(e.Held())

    @rule()
    def write(self) -> None:
        self.tell(e.Typed("hello"))

    @rule(on=st.sampled_from([False, False, True]))
    def mute(self, on: bool) -> None:
        (self.deaf.add if on else self.deaf.discard)("muted")
        self.tell(e.MuteSet(on))

    @rule(sure=st.integers(0, 4))
    def forget(self, sure: int) -> None:
        if sure == 0:
            self.tell(e.Forgotten())

    @rule(source=st.sampled_from(["local", "server"]), began=st.booleans())
    def speak(self, source: e.Source, began: bool) -> None:
        self.tell(e.SpeechStarted(source) if began else e.SpeechEnded(source))

    # --- the card and the clock

    @rule(side=st.sampled_from(["microphone", "speaker"]), sure=st.integers(0, 4))
    def pull_out(self, side: e.Side, sure: int) -> None:
        if sure == 0:
            self.deaf.add(side)
            self.tell(e.CardLost(side, "unplugged"))

    @rule(side=st.sampled_from(["microphone", "speaker"]))
    def plug_in(self, side: e.Side) -> None:
        self.deaf.discard(side)
        self.tell(e.CardBack(side))

    @rule(day=st.sampled_from(["2026-11-20", "2026-11-21", "2026-11-22"]))
    def date(self, day: str) -> None:
        self.tell(e.Dated(day))

    @rule(wait_s=st.floats(0.001, 400.0))
    def time_passes(self, wait_s: float) -> None:
        """The main loop hands in every deadline on the way."""
        end = self.now + wait_s
        while (at := self.talk.deadline) is not None and at <= end:
            self.now = max(self.now, at)
            self._elapse()
        self.now = end

    @rule(late_s=st.floats(0.001, 100.0))
    def time_passes_unnoticed(self, late_s: float) -> None:
        """The main loop was held up: every deadline comes late, and what waited cannot be blamed for it."""
        self.now += late_s
        self.wants_since = self.wants_since and self.wants_since + late_s
        self.answer_since = self.answer_since and self.answer_since + late_s
        self._elapse()

    def _elapse(self) -> None:
        for _ in range(_MOST_AT_ONCE):
            at = self.talk.deadline
            if at is None or at > self.now:
                return
            self.tell(e.Elapsed())
        assert (self.talk.deadline or self.now + 1) > self.now, "a deadline that does not move: a busy loop"

    # --- the session

    @precondition(lambda self: self.gates.attempt is not None and not self.gates.open)
    @rule(
        rung=st.sampled_from(["live", "seeded", "fresh"]),
        life_s=st.sampled_from([None, -5.0, 5.0, 30.0, 3600.0]),
    )
    def open(self, rung: Any, life_s: float | None) -> None:
        assert self.gates.attempt is not None
        self.replies.clear()
        ends_at = None if life_s is None else self.now + life_s
        self.tell(e.Opened(self.gates.attempt, "sess_1", "local", rung, ends_at))

    @precondition(lambda self: self.gates.attempt is not None)
    @rule(
        fatal=st.sampled_from([False, False, False, True]),
        retry_after_s=st.sampled_from([None, None, 0.0, 5.0, 1e6]),
    )
    def lose(self, fatal: bool, retry_after_s: float | None) -> None:
        assert self.gates.attempt is not None
        self.tell(e.Lost(self.gates.attempt, "gone", fatal, retry_after_s))

    @precondition(lambda self: self.gates.open)
    @rule(what=st.sampled_from(sorted(_SERVER)), which=_WHICH)
    def hear_from_server(self, what: str, which: int) -> None:
        self._from_server(_SERVER[what](self.gates.attempt or 0, self._reply(which)))

    @precondition(lambda self: self.gates.open)
    @rule(audio=st.sampled_from([True, True, False]))
    def reply_starts(self, audio: bool) -> None:
        name = f"r{len(self.replies)}-{self.gates.attempt}"
        self.replies.append(name)
        if audio:
            self.has_audio.add(name)
        self._from_server(e.ReplyStarted(self.gates.attempt or 0, name))

    @precondition(lambda self: self.gates.open)
    @rule(which=_WHICH)
    def reply_ends(self, which: int) -> None:
        name = self._reply(which)
        if name not in self.ended:
            self._from_server(e.ReplyEnded(self.gates.attempt or 0, name, audio=name in self.has_audio))

    @rule(rung=st.sampled_from(["live", "seeded", "fresh"]))
    def hold_a_talk(self, rung: Any) -> None:
        """What should happen does, up to the sound of the reply."""
        self.press()
        if self.gates.attempt is not None and not self.gates.open:
            self.open(rung, None)
        self.now += 1.0
        self.tell(e.SpeechStarted("server" if self.rules_.turn_end == "server" else "local"))
        self.release()
        self.tell(e.SpeechEnded("server" if self.rules_.turn_end == "server" else "local"))
        if self.gates.open and self.talk.state is _S.AWAITING:
            self.reply_starts(audio=True)
            self.sound()

    def _reply(self, which: int) -> str:
        return self.replies[-1 - which] if which < len(self.replies) else "unknown"

    def _from_server(self, event: e.Event) -> None:
        self.tell(event)
        if isinstance(event, e.ReplyEnded):
            self.ended.add(event.reply_id)
            if not event.audio:
                self.has_audio.discard(event.reply_id)
                self.gates.admitted.pop(event.reply_id, None)

    @rule(
        what=st.sampled_from([*sorted(_SERVER), "opened", "lost", "started"]),
        back=st.integers(0, 3),
    )
    def hear_from_the_dead(self, what: str, back: int) -> None:
        """An older attempt, or one that was hung up, has something to say yet."""
        number = self.talk.attempt - back
        if number == self.gates.attempt:
            return
        more: dict[str, e.Event] = {
            "opened": e.Opened(number, "sess_x", "local", "live"),
            "lost": e.Lost(number, "gone", fatal=True),
            "started": e.ReplyStarted(number, "r0"),
        }
        self.tell(more.get(what) or _SERVER[what](number, "r0"))

    # --- the player, which reports in its own thread

    @rule()
    def sound(self) -> None:
        """One reply after the other; the next begins when the one before has been heard."""
        if any(reply in self.gates.admitted for reply in self.sounding):
            return
        for reply in self.gates.admitted:
            if reply in self.has_audio:
                self.sounding.append(reply)
                self.tell(e.ReplySounded(reply))
                return

    @rule()
    def hear_out(self) -> None:
        for reply in self.sounding:
            whole = reply in self.ended or self.gates.admitted.get(reply) != self.gates.attempt
            if reply in self.gates.admitted and whole:
                self.sounding.remove(reply)
                self.has_audio.discard(reply)
                self.gates.admitted.pop(reply)
                self.tell(e.ReplyHeard(reply))
                return

    @precondition(lambda self: self.gates.cut)
    @rule(what=st.sampled_from(["cut", "sounded", "heard"]))
    def report_of_what_was_cut(self, what: str) -> None:
        """The player's report was on its way when the reply was silenced."""
        reply = self.gates.cut.pop(0)
        self.has_audio.discard(reply)
        if reply in self.sounding:
            self.sounding.remove(reply)
        late: dict[str, e.Event] = {
            "cut": e.ReplyCut(reply, 500, 1000),
            "sounded": e.ReplySounded(reply),
            "heard": e.ReplyHeard(reply),
        }
        self.tell(late[what])

    # --- what always holds

    @invariant()
    def the_turn_is_sent_to_nobody_but_the_open_session(self) -> None:
        turn = self.gates.turn
        if turn and turn["attached"] is not None:
            assert self.gates.open
            assert turn["attached"] == self.gates.attempt

    @invariant()
    def nothing_of_a_dead_attempt_sounds_but_what_is_heard_out(self) -> None:
        if not hasattr(self, "talk") or self.talk.state in (_S.AWAITING, _S.SPEAKING):
            return
        assert not self.gates.admitted, f"{self.gates.admitted} may sound while {self.talk.state}"

    @invariant()
    def the_light_tells_the_truth(self) -> None:
        if not hasattr(self, "talk"):
            return
        state = self.talk.state
        assert self.gates.open == (
            state in (_S.READY, _S.LISTENING, _S.AWAITING) or (state is _S.SPEAKING and self.gates.open)
        )
        assert (self.gates.attempt is not None and not self.gates.open) == (state is _S.CONNECTING)
        if state is _S.LISTENING:
            assert self.gates.turn, "nobody listens"
            assert self.gates.turn["attached"] == self.gates.attempt
            assert not self.deaf & _DEAF
        if state in (_S.IDLE, _S.READY):
            assert self.gates.turn is None or self.gates.turn["ended"], f"{state}, and the microphone is open"

    @invariant()
    def somebody_will_ask_again(self) -> None:
        if hasattr(self, "talk") and self.talk.state not in (_S.IDLE, _S.CONNECTING):
            assert self.talk.deadline is not None, f"{self.talk.state} for ever"

    @invariant()
    def nobody_waits_longer_than_promised(self) -> None:
        if not hasattr(self, "talk") or (self.talk.deadline or self.now + 1) <= self.now:
            return
        if self.wants_since is not None:
            waited_s = self.now - self.wants_since
            assert waited_s <= self.rules_.keep_turn_ms / 1000 + _TICK_S, "no session, and no word of it"
        if self.answer_since is not None:
            waited_s = self.now - self.answer_since
            assert waited_s <= self.rules_.longest_reply_ms / 1000 + _TICK_S, "a reply without an end"


TestAnything = Anything.TestCase
TestAnything.settings = settings(
    max_examples=600,
    stateful_step_count=60,
    derandomize=True,  # the same on every machine; more is found with other settings
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
