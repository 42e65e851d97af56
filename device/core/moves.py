"""The states of the conversation and the one table of legal moves between them."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from device.core import events as e

if TYPE_CHECKING:
    from collections.abc import Mapping


class State(Enum):
    """What a user sees on the light."""

    IDLE = "idle"
    """No session; nobody talks."""
    CONNECTING = "connecting"
    """A session is being minted and opened; what the user says is kept."""
    RETRYING = "retrying"
    """The last attempt failed and the next one is due; what the user says is kept."""
    READY = "ready"
    """A session is open; nobody talks."""
    LISTENING = "listening"
    """The user's audio goes to the session."""
    AWAITING = "awaiting"
    """The user has finished; no sound of the reply yet."""
    SPEAKING = "speaking"
    """A reply sounds."""


_S = State
Moves = dict[type[e.Event], frozenset[State]]


def _row(moves: Mapping[type[e.Event], State | tuple[State, ...]]) -> Moves:
    return {kind: frozenset(to) if isinstance(to, tuple) else frozenset({to}) for kind, to in moves.items()}


def _notes(state: State) -> dict[type[e.Event], State]:
    """Facts of an open session that are noted and move nothing."""
    words = (e.TurnAccepted, e.TurnHeld, e.UserSaid, e.ReplyText, e.ReplyCut)
    return dict.fromkeys((*words, e.Troubled, e.Restored, e.Used), state)


def _always(state: State) -> dict[type[e.Event], State]:
    """Facts that are noted whatever happens."""
    return {**dict.fromkeys((e.Dated, e.CardLost, e.CardBack), state), e.Stopped: State.IDLE}


MOVES: dict[State, Moves] = {
    _S.IDLE: _row(
        {
            **_always(_S.IDLE),
            e.Pressed: (_S.IDLE, _S.CONNECTING, _S.RETRYING),
            e.Woken: (_S.IDLE, _S.CONNECTING, _S.RETRYING),
            e.Typed: (_S.IDLE, _S.CONNECTING, _S.RETRYING),
            e.MuteSet: _S.IDLE,
            e.Forgotten: _S.IDLE,
            e.ReplyCut: _S.IDLE,
        }
    ),
    _S.CONNECTING: _row(
        {
            **_always(_S.CONNECTING),
            e.SpeechStarted: _S.CONNECTING,
            e.SpeechEnded: _S.CONNECTING,
            e.Released: (_S.CONNECTING, _S.IDLE),
            e.Held: (_S.CONNECTING, _S.IDLE),
            e.MuteSet: (_S.CONNECTING, _S.IDLE),
            e.Forgotten: _S.IDLE,
            e.Opened: (_S.LISTENING, _S.AWAITING, _S.READY),
            e.Lost: (_S.RETRYING, _S.IDLE),
            e.Pressed: (_S.CONNECTING, _S.IDLE),
            e.Woken: _S.CONNECTING,
            e.Typed: _S.CONNECTING,
            e.Troubled: _S.CONNECTING,
            e.TurnHeld: _S.CONNECTING,
            e.Elapsed: (_S.CONNECTING, _S.IDLE),
            e.ReplyCut: _S.CONNECTING,
        }
    ),
    _S.RETRYING: _row(
        {
            **_always(_S.RETRYING),
            e.SpeechStarted: _S.RETRYING,
            e.SpeechEnded: _S.RETRYING,
            e.Released: (_S.RETRYING, _S.IDLE),
            e.Held: (_S.RETRYING, _S.IDLE),
            e.MuteSet: (_S.RETRYING, _S.IDLE),
            e.Forgotten: _S.IDLE,
            e.Pressed: (_S.RETRYING, _S.CONNECTING),
            e.Woken: (_S.RETRYING, _S.CONNECTING),
            e.Typed: (_S.RETRYING, _S.CONNECTING),
            e.ClockSet: (_S.RETRYING, _S.CONNECTING),
            e.Elapsed: (_S.RETRYING, _S.CONNECTING, _S.IDLE),
            e.ReplyCut: _S.RETRYING,
        }
    ),
    _S.READY: _row(
        {
            **_notes(_S.READY),
            **_always(_S.READY),
            e.Pressed: (_S.READY, _S.LISTENING),
            e.Woken: (_S.READY, _S.LISTENING),
            e.Typed: (_S.READY, _S.AWAITING),
            e.MuteSet: _S.READY,
            e.Forgotten: _S.IDLE,
            e.ReplyStarted: _S.AWAITING,
            e.ReplyEnded: _S.READY,
            e.Lost: _S.IDLE,
            e.Elapsed: (_S.READY, _S.IDLE, _S.CONNECTING),
        }
    ),
    _S.LISTENING: _row(
        {
            **_notes(_S.LISTENING),
            **_always(_S.LISTENING),
            e.CardLost: (_S.LISTENING, _S.READY),
            e.Pressed: (_S.LISTENING, _S.READY),
            e.Released: (_S.LISTENING, _S.AWAITING, _S.READY),
            e.Held: (_S.LISTENING, _S.READY),
            e.Typed: (_S.LISTENING, _S.AWAITING),
            e.SpeechStarted: _S.LISTENING,
            e.SpeechEnded: (_S.LISTENING, _S.AWAITING),
            e.ReplyStarted: (_S.LISTENING, _S.AWAITING),
            e.ReplyEnded: _S.LISTENING,
            e.Lost: (_S.CONNECTING, _S.RETRYING, _S.IDLE),
            e.MuteSet: (_S.LISTENING, _S.READY),
            e.Forgotten: _S.IDLE,
            e.Elapsed: (_S.LISTENING, _S.READY, _S.AWAITING, _S.CONNECTING, _S.IDLE),
        }
    ),
    _S.AWAITING: _row(
        {
            **_notes(_S.AWAITING),
            **_always(_S.AWAITING),
            e.Pressed: (_S.AWAITING, _S.LISTENING),
            e.Woken: (_S.AWAITING, _S.LISTENING),
            e.Typed: _S.AWAITING,
            e.Withdrawn: _S.AWAITING,
            e.SpeechStarted: (_S.AWAITING, _S.LISTENING),
            e.ReplyStarted: _S.AWAITING,
            e.ReplySounded: (_S.AWAITING, _S.SPEAKING),
            e.ReplyEnded: (_S.AWAITING, _S.READY, _S.LISTENING),
            e.Lost: (_S.CONNECTING, _S.RETRYING, _S.IDLE),
            e.MuteSet: _S.AWAITING,
            e.Forgotten: _S.IDLE,
            e.Elapsed: (_S.AWAITING, _S.READY, _S.LISTENING),
        }
    ),
    _S.SPEAKING: _row(
        {
            **_notes(_S.SPEAKING),
            **_always(_S.SPEAKING),
            e.Pressed: (_S.SPEAKING, _S.LISTENING, _S.CONNECTING, _S.RETRYING),
            e.Woken: (_S.SPEAKING, _S.LISTENING, _S.CONNECTING, _S.RETRYING),
            e.Typed: (_S.SPEAKING, _S.AWAITING, _S.CONNECTING, _S.RETRYING),
            e.Withdrawn: (_S.SPEAKING, _S.READY, _S.LISTENING),
            e.SpeechStarted: (_S.SPEAKING, _S.LISTENING),
            e.ReplyStarted: _S.SPEAKING,
            e.ReplySounded: _S.SPEAKING,
            e.ReplyEnded: _S.SPEAKING,
            e.ReplyHeard: (
                *(_S.SPEAKING, _S.AWAITING, _S.READY, _S.LISTENING),
                *(_S.IDLE, _S.CONNECTING, _S.RETRYING),
            ),
            e.Lost: _S.SPEAKING,
            e.MuteSet: _S.SPEAKING,
            e.Forgotten: _S.IDLE,
            e.Elapsed: (_S.SPEAKING, _S.READY, _S.LISTENING, _S.IDLE, _S.CONNECTING, _S.RETRYING),
        }
    ),
}
