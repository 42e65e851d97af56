"""What follows when someone uses the device: the button, the wake line, the owner's commands, the cards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.core import actions as a
from device.core.moves import State
from device.core.record import Record
from device.core.replies import Replies
from device.core.talk import Actions, Talk, Turn

if TYPE_CHECKING:
    from device.core import events as e

_UNCONNECTED = (State.CONNECTING, State.RETRYING)


def pressed(talk: Talk, event: e.Pressed, now: float) -> Actions:
    """Start a turn, go on with one, or end an open talk."""
    hands_free = talk.rules.mode == "open_mic"
    match talk.state:
        case State.LISTENING if hands_free:
            return talk.end_talk(now)
        case State.LISTENING:  # the button takes over a turn that the wake line began
            assert talk.turn
            talk.turn.hands_free = False
            talk.timers.pop("silence", None)
            return []
        case State.CONNECTING if talk.turn and hands_free and not talk.writing:
            return _called_off(talk, now)
        case State.CONNECTING | State.RETRYING if talk.turn:
            return [*_reopen(talk), *talk.want_session(now)]
    return _begin(talk, event.at, now, hands_free=hands_free)


def woken(talk: Talk, event: e.Woken, now: float) -> Actions:
    """Start a turn that ends by voice."""
    if talk.state in _UNCONNECTED and talk.turn:
        again = _reopen(talk)
        talk.turn.hands_free = talk.turn.hands_free or bool(again)  # there is nobody to release it
        return [*again, *talk.want_session(now)]
    return _begin(talk, event.at, now, hands_free=True)


def _called_off(talk: Talk, now: float) -> Actions:
    """End an open talk that has no session yet; words that nobody has heard are not lost in silence."""
    spoken = talk.turn is not None and talk.turn.speech
    reason = a.Tell("warning", "the talk has ended before a session was open; what was said is not kept")
    return [*talk.abandon(now), *([a.Chime("lost"), reason] if spoken else [])]


def _begin(talk: Talk, at: float, now: float, *, hands_free: bool) -> Actions:
    """Start a turn from wherever nobody listens yet; a reply that sounds is interrupted."""
    refused = _refusal(talk)
    if refused:
        return refused
    talk.hold_ends_talk = talk.state in (State.AWAITING, State.SPEAKING)
    cut = talk.interrupt(now) if talk.hold_ends_talk else []
    since_quiet_ms = (at - talk.quiet_at) * 1000 - (talk.rules.tail_ms if talk.rules.half_duplex else 0)
    lead_ms = int(max(0.0, min(talk.rules.preroll_ms, since_quiet_ms)))
    return [*cut, *talk.open_turn(at, lead_ms, now, hands_free=hands_free)]


def _refusal(talk: Talk) -> Actions:
    if talk.muted:
        return [a.Tell("warning", "the microphone is muted; `pressel ctl unmute` switches it on")]
    for side, reason in talk.lost_cards.items():
        return [a.Chime("refused"), a.Tell("error", f"the {side} is missing: {reason}")]
    return _too_dear(talk)


def _too_dear(talk: Talk) -> Actions:
    reason = talk.budget.refusal()
    return [a.Chime("refused"), a.Tell("error", reason)] if reason else []


def _reopen(talk: Talk) -> Actions:
    assert talk.turn
    if talk.turn.written:
        return []
    was_ended, talk.turn.ended = talk.turn.ended, False
    talk.timers["turn"] = talk.turn.began + talk.rules.longest_turn_ms / 1000
    return [a.ReopenTurn()] if was_ended else []


def released(talk: Talk, event: e.Released, now: float) -> Actions:
    """End the turn that the button holds open."""
    turn = talk.turn
    if turn is None or turn.hands_free or turn.ended:
        return []
    short = (event.at - turn.began) * 1000 < talk.rules.shortest_press_ms
    if short and not turn.speech:
        return talk.end_talk(now) if talk.state is State.LISTENING else talk.abandon(now)
    return talk.end_turn(event.at, now)


def held(talk: Talk, _event: e.Held, now: float) -> Actions:
    """A long press that began over a reply ends an open talk."""
    if talk.rules.mode == "push_to_talk" or not talk.hold_ends_talk:
        return []  # there a long press is a long turn, or the start of the talk
    return talk.end_talk(now) if talk.state is State.LISTENING else talk.abandon(now)


def typed(talk: Talk, event: e.Typed, now: float) -> Actions:
    """Take words in place of speech."""
    if talk.state in _UNCONNECTED and talk.turn:
        return [a.Tell("warning", "no session is open yet; write it again when one is")]
    refused = _too_dear(talk)
    if refused:
        return refused
    given_up: Actions = []
    match talk.state:
        case State.LISTENING:
            given_up = [a.DiscardTurn()]
        case State.AWAITING | State.SPEAKING:
            given_up = [*talk.interrupt(now), a.CloseTurn()]
        case _:
            talk.writing = True
    talk.turn = Turn(began=now, hands_free=False, written=event.text, ended=True)
    talk.timers.pop("turn", None)
    if not talk.up:
        return [*given_up, *talk.want_session(now)]
    talk.wait_for_reply(now)
    return [*given_up, *talk.say()]


def mute_set(talk: Talk, event: e.MuteSet, now: float) -> Actions:
    """Switch the microphone; a turn that is open ends."""
    talk.muted = event.on
    if event.on and talk.state is State.LISTENING:
        return talk.end_talk(now)
    if event.on and talk.state in _UNCONNECTED:
        return talk.abandon(now)
    return []


def forgotten(talk: Talk, _event: e.Forgotten, now: float) -> Actions:
    """Drop the conversation, the session with it."""
    gone = stopped(talk, _event, now)
    talk.record = Record(None, talk.rules.keep_turns)
    talk.replies = Replies()  # what is still told of them is not kept
    return [a.Forget(), *gone, a.Tell("info", "the conversation is forgotten")]


def stopped(talk: Talk, _event: e.Event, now: float) -> Actions:
    """Silence what sounds and hang up; how much was heard is still told."""
    cut = talk.interrupt(now) if talk.state in (State.AWAITING, State.SPEAKING) else []
    return [*cut, *talk.abandon(now)] if talk.state is not State.IDLE else []


def card_lost(talk: Talk, event: e.CardLost, now: float) -> Actions:
    """Without a microphone there is no turn; a reply waits for its speaker."""
    talk.lost_cards[event.side] = event.reason
    told: Actions = [a.Tell("error", f"the {event.side} is missing: {event.reason}")]
    if event.side == "speaker" or not talk.turn or talk.turn.ended:
        return told
    if talk.state is State.LISTENING:
        return [*talk.end_talk(now), a.Chime("lost"), *told]
    if talk.state in _UNCONNECTED:
        return talk.lost_turn(f"the {event.side} is missing: {event.reason}")
    return told


def card_back(talk: Talk, event: e.CardBack, _now: float) -> Actions:
    """The card works again."""
    talk.lost_cards.pop(event.side, None)
    back: Actions = [] if talk.lost_cards else [a.Chime("back")]
    return [*back, a.Tell("info", f"the {event.side} is back")]
