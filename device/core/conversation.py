"""The conversation: facts and the time in, orders out. The moves it may make are declared in `moves`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from device.core import actions as a
from device.core import events as e
from device.core import on_panel, on_reply, on_session, on_time, on_turn
from device.core.budget import Budget
from device.core.moves import MOVES, State
from device.core.talk import Actions, Talk

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.core.patience import Patience
    from device.core.rules import Rules
    from device.core.sessions import Session
    from device.core.sessions import Turn as Said


class Conversation:
    """One device's talk. Call `handle` for each fact and at `deadline`; carry out the orders in sequence."""

    def __init__(
        self,
        rules: Rules,
        patience: Patience,
        stored: Session | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._talk = Talk(rules, patience, budget or Budget(), stored)

    @property
    def state(self) -> State:
        """What a user sees on the light."""
        return self._talk.state

    @property
    def attempt(self) -> int:
        """The number of the latest connection attempt."""
        return self._talk.attempt

    @property
    def muted(self) -> bool:
        """Whether the owner has switched the microphone off."""
        return self._talk.muted

    @property
    def affordable(self) -> bool:
        """Whether a talk may begin: no limit is reached."""
        return self._talk.budget.refusal() is None

    @property
    def turns(self) -> tuple[Said, ...]:
        """What was said, oldest first."""
        return self._talk.record.turns

    @property
    def deadline(self) -> float | None:
        """When to hand in `Elapsed` next, in monotonic seconds."""
        talk = self._talk
        return min((talk.timers[name] for name in talk.running), default=None)

    def handle(self, event: e.Event, now: float) -> Actions:
        """Take one fact. A fact that comes too late to matter, or from an older attempt, returns []."""
        talk = self._talk
        if isinstance(event, e.Attempted) and (event.attempt != talk.attempt or not talk.live):
            return []
        legal = MOVES[talk.state].get(type(event))
        if legal is None:
            return []
        before = talk.state
        done = _HANDLERS[type(event)](talk, event, now)
        assert talk.state in legal, f"{before} may not become {talk.state} on {event}"
        return done


def _bill(talk: Talk, event: e.Used, now: float) -> Actions:
    told = talk.budget.add(tokens=event.tokens)
    on_session.set_limits(talk, now)
    return [*told, a.Spend(talk.budget.spent)]


def _date(talk: Talk, event: e.Dated, now: float) -> Actions:
    talk.budget.today = event.day
    if talk.up:
        on_session.set_limits(talk, now)
    return []


_HANDLERS: dict[type[e.Event], Callable[[Talk, Any, float], Actions]] = {
    e.Pressed: on_panel.pressed,
    e.Released: on_panel.released,
    e.Held: on_panel.held,
    e.Woken: on_panel.woken,
    e.MuteSet: on_panel.mute_set,
    e.Forgotten: on_panel.forgotten,
    e.Stopped: on_panel.stopped,
    e.Typed: on_panel.typed,
    e.CardLost: on_panel.card_lost,
    e.CardBack: on_panel.card_back,
    e.Elapsed: on_time.elapsed,
    e.ClockSet: on_time.clock_set,
    e.Dated: _date,
    e.Opened: on_session.opened,
    e.Restored: on_session.restored,
    e.Lost: on_session.lost,
    e.Troubled: on_session.troubled,
    e.Used: _bill,
    e.SpeechStarted: on_turn.speech_started,
    e.SpeechEnded: on_turn.speech_ended,
    e.TurnAccepted: on_turn.accepted,
    e.TurnHeld: on_turn.held,
    e.UserSaid: on_turn.said,
    e.ReplyStarted: on_reply.started,
    e.ReplyText: on_reply.text,
    e.ReplyEnded: on_reply.ended,
    e.Withdrawn: on_reply.withdrawn,
    e.ReplySounded: on_reply.sounded,
    e.ReplyHeard: on_reply.heard,
    e.ReplyCut: on_reply.cut,
}
