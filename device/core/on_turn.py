"""What follows when the user is heard to speak, and when the server has taken what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.core.moves import State

if TYPE_CHECKING:
    from device.core import events as e
    from device.core.talk import Actions, Talk

_LATE_MS = 1000  # a server tells of speech that late at most
_MOST_RESTORED = 100  # turns


def speech_started(talk: Talk, event: e.SpeechStarted, now: float) -> Actions:
    """The turn holds speech; over a reply it may be a new turn."""
    if talk.state in (State.AWAITING, State.SPEAKING):
        return _talked_over(talk, event, now)
    if talk.turn:
        talk.turn.speech, talk.turn.taken = True, False
        talk.timers.pop("silence", None)
    return []


def _talked_over(talk: Talk, event: e.SpeechStarted, now: float) -> Actions:
    """The user goes on before the reply sounds, or, where the echo is cancelled, speaks over it."""
    if talk.rules.mode != "open_mic" or event.source != talk.ear or not talk.up or talk.deaf:
        return []
    if talk.state is State.SPEAKING and talk.rules.half_duplex:
        return []
    answered = talk.replies.sounding
    cut = talk.interrupt(now)
    if talk.ear == "server" and talk.turn and not talk.turn.ended:  # its uplink is open all along
        if answered:
            return [*cut, *talk.next_turn(now, talk.rules.preroll_ms + _LATE_MS, speech=True)]
        talk.turn.speech, talk.turn.taken = True, False
        talk.listen(now)
        return cut
    return [*cut, *talk.open_turn(now, talk.rules.preroll_ms, now, hands_free=True)]


def speech_ended(talk: Talk, event: e.SpeechEnded, now: float) -> Actions:
    """A hands-free turn is over."""
    turn = talk.turn
    if turn is None or not turn.hands_free or turn.ended or event.source != talk.ear or not turn.speech:
        return []
    if talk.ear == "local":
        return talk.end_turn(now, now)
    if talk.state is State.LISTENING:
        talk.wait_for_reply(now)
    return []


def accepted(talk: Talk, event: e.TurnAccepted, _now: float) -> Actions:
    """The server has the turn."""
    talk.record.place(event.item_id, "user")
    talk.record.note_held(event.item_id)
    if talk.turn:
        talk.turn.item = event.item_id
        talk.turn.taken = talk.ear == "server"
    return []


def held(talk: Talk, event: e.TurnHeld, _now: float) -> Actions:
    """The server names what it has; before the session is open, that is what it has restored."""
    if talk.up:
        talk.record.note_held(event.item_id)
    else:
        talk.restored = [*talk.restored, event][-_MOST_RESTORED:]
    return []


def said(talk: Talk, event: e.UserSaid, _now: float) -> Actions:
    """The words of a turn, whenever they come."""
    return talk.record.note(event.item_id, "user", event.text)
