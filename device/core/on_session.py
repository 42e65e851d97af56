"""What follows when a session opens, changes, fails or goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.core import actions as a
from device.core.moves import State

if TYPE_CHECKING:
    from device.core import events as e
    from device.core.talk import Actions, Talk, Turn

_YOUNG_S = 10.0  # a session that lasts longer was a good one
_LONGEST_WAIT_S = 3600.0  # whatever time a server names
_SOON_S = 1.0


def opened(talk: Talk, event: e.Opened, now: float) -> Actions:
    """Send the turn that waits, or what the server does not know of it yet."""
    talk.record.open(event.session_id, event.provider, event.rung)
    talk.up, talk.trouble = True, "no answer yet"
    talk.failed = 0
    talk.opened_at = talk.billed_at = now
    talk.count_time(now)
    _plan_rotation(talk, event.ends_at, now)
    set_limits(talk, now)
    told: Actions = [
        a.Tell("info", f"session {event.session_id} is open ({event.rung})"),
        talk.record.kept(),
    ]
    turn = talk.turn
    known = turn is not None and (turn.ended or turn.taken) and _known_to_server(talk, event.rung, turn)
    told += _learn(talk)
    if talk.turn is None:
        return [*told, *_back(talk, now)]
    talk.given_up = False
    if known:
        talk.turn.ended = True
        talk.wait_for_reply(now)
        return [*told, a.CloseTurn(), a.RequestReply(talk.attempt)]
    if not talk.turn.ended:
        talk.turn.taken = False
        talk.listen(now)
        return [*told, *talk.send_turn()]
    talk.wait_for_reply(now)
    if talk.turn.written:
        return [*told, *talk.say()]
    return [*told, *talk.send_turn()]


def _back(talk: Talk, now: float) -> Actions:
    """Nobody waits for the session any more: stand by, audibly where the loss was."""
    idle = talk.timers.get("idle", now)
    talk.rest(now)
    was_given_up, talk.given_up = talk.given_up, False
    if was_given_up:
        return [a.Chime("back"), a.Tell("info", "connected again; press and say it again")]
    talk.timers["idle"] = idle  # a rotation puts the hang-up off no further
    return []


def _plan_rotation(talk: Talk, ends_at: float | None, now: float) -> None:
    """A session that is about to end is left in a silence before; one of some seconds is not worth it."""
    talk.timers.pop("session", None)
    if ends_at is not None and ends_at - now > _YOUNG_S:
        margin_s = min(talk.rules.renew_margin_ms / 1000, (ends_at - now) / 2)
        talk.timers["session"] = ends_at - margin_s


def set_limits(talk: Talk, now: float) -> None:
    """Set the timers of what may still be spent; the longest talk counts from its first session."""
    left_s = talk.budget.left_s
    longest_ms = talk.rules.longest_talk_ms
    if longest_ms:
        talk.timers.setdefault("talk", now + longest_ms / 1000)
    ends = [talk.timers["talk"]] if longest_ms else []
    if left_s is not None:
        ends.append(talk.billed_at + left_s)
    if not ends:
        return
    end = min(ends)
    if end != talk.timers.get("limit"):
        talk.timers["limit"] = end
        talk.timers["notice"] = max(now, end - talk.rules.notice_s)


def _known_to_server(talk: Talk, rung: str, turn: Turn) -> bool:
    """Say nothing twice: a restored session has what was accepted, a seeded one what was transcribed."""
    if rung == "live" and talk.restored:
        return _is_restored(talk, turn)
    if turn.item is None:
        return False
    return rung == "live" or (rung == "seeded" and talk.record.has(turn.item))


def _is_restored(talk: Talk, turn: Turn) -> bool:
    """A turn is there by its name; one that was sent and never confirmed, as a last one that is new to us."""
    last = talk.restored[-1]
    if turn.item in {one.item_id for one in talk.restored}:
        return True
    if not turn.sent or talk.record.knows_held(last.item_id):
        return False
    turn.item = last.item_id
    return True


def _learn(talk: Talk) -> Actions:
    """Note what the session has, and the words of a turn whose transcript was lost with the last one."""
    told: Actions = []
    for one in talk.restored:
        talk.record.note_held(one.item_id)
        if talk.turn and one.item_id == talk.turn.item and one.text and not talk.record.has(one.item_id):
            told += talk.record.note(one.item_id, "user", one.text)
    return told


def restored(talk: Talk, event: e.Restored, _now: float) -> Actions:
    """Take the server's memory for what was said."""
    talk.record.restore(event.turns)
    told = a.Tell("info", f"the server remembers {len(event.turns)} turns of the conversation")
    return [told, talk.record.kept()]


def lost(talk: Talk, event: e.Lost, now: float) -> Actions:
    """Connect again for whoever still talks; what the user says is kept meanwhile."""
    talk.timers.pop("session", None)
    spent = talk.count_time(now)
    talk.up = False
    talk.trouble = event.reason
    told: Actions = [a.Hangup(talk.attempt), *spent]
    match talk.state:
        case State.CONNECTING:
            talk.failed += 1
            return [*told, *_attempt_failed(talk, event, now)]
        case State.SPEAKING:  # what has come is heard out, the rest is not pretended
            finish = [a.FinishReply(reply_id) for reply_id in talk.replies.break_off()]
            talk.broken_off = bool(finish) or talk.awaits_tools
            talk.awaits_tools, talk.refused = False, event.fatal
            told += [a.DetachTurn()] if talk.turn else []
            _obey(talk, event, now)
            return [*told, _told(event, "lost the session while speaking"), *finish]
        case State.READY:
            talk.rest(now)
            _obey(talk, event, now)
            return [*told, _told(event, "the session has ended")]
    return [*told, *_lost_in_talk(talk, event, now)]


def _told(event: e.Lost, what: str) -> a.Action:
    return a.Tell("error" if event.fatal else "warning", f"{what}: {event.reason}")


def _obey(talk: Talk, event: e.Lost, now: float) -> None:
    """Take note of a time that the server has named."""
    if event.retry_after_s is not None:
        talk.not_before = now + min(event.retry_after_s, _LONGEST_WAIT_S)


def _lost_in_talk(talk: Talk, event: e.Lost, now: float) -> Actions:
    cut = talk.interrupt(now) if talk.replies else []
    talk.timers.pop("answer", None)
    if event.fatal or talk.turn is None:
        return [*cut, *talk.give_up(event.reason, now)]
    falls = talk.fallen and now - talk.opened_at < _YOUNG_S  # it opens and falls: wait between the tries
    if falls or event.retry_after_s is not None:
        talk.timers["keep"] = now + talk.rules.keep_turn_ms / 1000
        return [*cut, a.DetachTurn(), *_attempt_failed(talk, event, now)]
    talk.fallen = True
    told = a.Tell("warning", f"lost the session: {event.reason}; connecting again")
    return [*cut, told, a.DetachTurn(), *talk.want_session(now)]


def _attempt_failed(talk: Talk, event: e.Lost, now: float) -> Actions:
    if event.fatal:
        return talk.give_up(event.reason, now)
    _obey(talk, event, now)
    named_s = None if event.retry_after_s is None else talk.not_before - now
    wait_s = talk.patience.next_wait(named_s)
    if talk.turn and named_s is None:  # while words are kept there is another chance for them
        wait_s = min(wait_s, max(_SOON_S, (talk.timers["keep"] - now) / 2))
    talk.state = State.RETRYING
    talk.timers["retry"] = now + wait_s
    return [a.Tell("warning", f"{event.reason}; next attempt in {wait_s:.1f} s")]


def troubled(_talk: Talk, event: e.Troubled, _now: float) -> Actions:
    """Tell it; the session goes on."""
    return [a.Tell("warning", event.text)]
