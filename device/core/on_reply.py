"""What follows when a reply begins, sounds, ends, is heard out or is cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.core import actions as a
from device.core.moves import State
from device.core.sessions import heard_part

if TYPE_CHECKING:
    from device.core import events as e
    from device.core.talk import Actions, Talk


def started(talk: Talk, event: e.ReplyStarted, now: float) -> Actions:
    """Let it through, unless the user has the floor."""
    if talk.replies.full or (talk.state is State.LISTENING and talk.ear == "local"):
        return [a.RefuseReply(talk.attempt, event.reply_id)]
    talk.replies.admit(event.reply_id)
    talk.record.place(event.reply_id, "assistant")
    talk.awaits_tools = False
    talk.fallen = False
    talk.patience.reset()
    if talk.state is not State.SPEAKING:
        talk.wait_for_reply(now)
    return [a.AdmitReply(event.reply_id)]


def text(talk: Talk, event: e.ReplyText, _now: float) -> Actions:
    """Words, which run ahead of the sound."""
    talk.replies.add_words(event.reply_id, event.text, whole=event.whole)
    return []


def sounded(talk: Talk, event: e.ReplySounded, _now: float) -> Actions:
    """The first sample went out."""
    if event.reply_id not in talk.replies:
        return []
    talk.replies.mark_sounding(event.reply_id)
    talk.state = State.SPEAKING
    if talk.rules.half_duplex or talk.ear == "local":
        talk.turn = None
        return [a.CloseTurn()]
    return []


def ended(talk: Talk, event: e.ReplyEnded, now: float) -> Actions:
    """All of it has come; tools are refused, and the model is asked to go on without."""
    told: Actions = [a.Tell("warning", event.trouble)] if event.trouble else []
    if event.tool_calls:
        told += [a.RefuseTool(talk.attempt, call.call_id, call.name) for call in event.tool_calls]
        told.append(a.RequestReply(talk.attempt))
        talk.awaits_tools = True
    if event.reply_id not in talk.replies:
        return told
    if event.audio:
        talk.replies.mark_whole(event.reply_id)
        return [*told, a.FinishReply(event.reply_id)]
    told += talk.settle(event.reply_id)
    if talk.state is State.AWAITING and not talk.replies and not talk.awaits_tools:
        told += talk.after_reply(now, tail_ms=0)
    return told


def withdrawn(talk: Talk, _event: e.Withdrawn, now: float) -> Actions:
    """The server heard the user over it."""
    if not talk.replies:
        return []
    cut_off = talk.interrupt(now)
    if talk.state is State.AWAITING:  # another reply follows, to what was said over this one
        return cut_off
    if talk.ear == "server" and talk.turn and not talk.turn.ended and not talk.deaf:
        talk.turn.speech = True
        talk.listen(now)
        return cut_off
    return [*cut_off, *talk.after_reply(now, tail_ms=0)]


def heard(talk: Talk, event: e.ReplyHeard, now: float) -> Actions:
    """The last sample has been heard."""
    if event.reply_id not in talk.replies:
        return []
    told = talk.settle(event.reply_id, event.sound_ms)
    talk.quiet_at = now
    if talk.replies.sounding:
        return told
    if talk.up and (talk.replies or talk.awaits_tools):
        talk.wait_for_reply(now)
        return told
    if talk.broken_off:
        talk.broken_off = False
        told.append(a.Chime("lost"))
    if talk.replies:  # what had not begun to sound when the session went is not waited for
        told += talk.interrupt(now)
    return [*told, *talk.after_reply(now, tail_ms=talk.rules.tail_ms if talk.rules.half_duplex else 0)]


def cut(talk: Talk, event: e.ReplyCut, _now: float) -> Actions:
    """What was heard of a silenced reply is what was said."""
    words = talk.replies.cut_words(event.reply_id)
    if words is None:
        return []
    talk.record.heard_ms = event.heard_ms
    heard_words = heard_part(words, event.heard_ms, event.received_ms)
    return talk.record.note(event.reply_id, "assistant", heard_words)
