"""What follows when a time has come that the conversation set itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.core import actions as a
from device.core.moves import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.core import events as e
    from device.core.talk import Actions, Talk


def elapsed(talk: Talk, _event: e.Elapsed, now: float) -> Actions:
    """Do what is most due, the first in the order of `_DUE`; the rest comes with the next deadline."""
    due = {name for name in talk.running if talk.timers[name] <= now}
    for name, then in _DUE.items():
        if name in due:
            del talk.timers[name]
            return then(talk, now)
    return []


def clock_set(talk: Talk, _event: e.ClockSet, now: float) -> Actions:
    """Try again at once, unless a server named a time: it may have failed for the dates of a certificate."""
    if now < talk.not_before:
        return []
    talk.patience.reset()
    return [a.Tell("info", "the clock was set; trying again at once"), *talk.connect()]


def _spend(talk: Talk, now: float) -> Actions:
    return talk.count_time(now)


def _notice(talk: Talk, now: float) -> Actions:
    left_s = talk.timers["limit"] - now
    if left_s <= 0:
        return []
    return [a.Chime("notice"), a.Tell("warning", f"this talk may go on for {left_s:.0f} s more")]


def _keep(talk: Talk, _now: float) -> Actions:
    kept_s = talk.rules.keep_turn_ms / 1000
    reason = f"no session within {kept_s:g} s ({talk.trouble}); what was said is not kept, trying goes on"
    return talk.lost_turn(reason)


def _retry(talk: Talk, _now: float) -> Actions:
    return talk.connect()


def _turn(talk: Talk, now: float) -> Actions:
    limit_s = talk.rules.longest_turn_ms / 1000
    return [*talk.end_turn(now, now), a.Tell("info", f"the turn is over after {limit_s:.0f} s")]


def _silence(talk: Talk, now: float) -> Actions:
    return talk.end_talk(now)


def _reply(talk: Talk, now: float) -> Actions:
    limit_s = talk.rules.reply_timeout_ms / 1000
    return _end_reply(talk, now, f"no reply within {limit_s:.0f} s; press and say it again")


def _answer(talk: Talk, now: float) -> Actions:
    limit_s = talk.rules.longest_reply_ms / 1000
    return _end_reply(talk, now, f"the reply did not end within {limit_s:.0f} s and was cut off")


def _end_reply(talk: Talk, now: float, reason: str) -> Actions:
    cut = talk.interrupt(now)
    talk.turn = None
    talk.timers.pop("answer", None)
    return [*cut, a.CloseTurn(), a.Tell("warning", reason), *talk.after_reply(now, tail_ms=0)]


def _limit(talk: Talk, now: float) -> Actions:
    spent = talk.count_time(now)
    reason = talk.budget.refusal() or "the talk has reached its longest time; press to begin another"
    return [*spent, *talk.abandon(now), a.Chime("refused"), a.Tell("warning", reason)]


def _idle(talk: Talk, now: float) -> Actions:
    return talk.abandon(now)


def _session(talk: Talk, now: float) -> Actions:
    """The session is about to end, and nobody speaks: change to the next one, with all that was said."""
    listening = talk.state is State.LISTENING
    left: Actions = [*talk.count_time(now), a.Hangup(talk.attempt)]
    told = a.Tell("info", "the session is about to end; changing to the next one")
    talk.up = False
    talk.patience.reset()
    if not listening:
        return [told, *left, *talk.connect()]
    return [told, a.DiscardTurn(), *left, *talk.open_turn(now, talk.rules.preroll_ms, now, hands_free=True)]


_DUE: dict[str, Callable[[Talk, float], Actions]] = {
    "spend": _spend,
    "keep": _keep,
    "retry": _retry,
    "turn": _turn,
    "limit": _limit,
    "notice": _notice,
    "idle": _idle,
    "session": _session,
    "silence": _silence,
    "answer": _answer,
    "reply": _reply,
}
