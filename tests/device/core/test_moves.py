"""Walks every road of the conversation's table of moves, and no other."""

from __future__ import annotations

import copy
from collections import deque

import pytest

from device.core import events as e
from device.core.conversation import _TIMERS, Conversation
from device.core.moves import MOVES, State
from device.core.patience import Patience
from device.core.rules import Rules
from device.core.sessions import Session, Turn

Road = tuple[State, type[e.Event], State]

RULES = [
    Rules(mode="push_to_talk"),
    Rules(mode="open_mic", turn_end="server"),
    Rules(mode="open_mic", turn_end="client"),
    Rules(mode="open_mic", turn_end="server", half_duplex=False),
    Rules(mode="open_mic", turn_end="client", half_duplex=False),
]
STORED = Session("sess_old", "local", (Turn("user", "hello"),))


def events_for(talk: Conversation, now: float) -> list[tuple[e.Event, float]]:
    """Everything that may happen, soon or when the deadline comes."""
    n = talk.attempt
    soon = now + 0.01
    late = now + 1.0
    facts: list[tuple[e.Event, float]] = [
        (e.Pressed(soon), soon),
        (e.Released(soon), soon),
        (e.Released(late), late),
        (e.Held(), late),
        (e.Woken(soon), soon),
        (e.MuteSet(on=True), soon),
        (e.MuteSet(on=False), soon),
        (e.Forgotten(), soon),
        (e.Typed("hello"), soon),
        (e.Elapsed(), now),
        *((e.Opened(n, "sess_1", "local", rung, soon + 600), soon) for rung in ("live", "seeded", "fresh")),
        (e.Lost(n, "gone"), soon),
        (e.Lost(n, "gone", fatal=True), soon),
        (e.Lost(n, "busy", retry_after_s=1e6), soon),
        (e.Lost(n - 1, "an old socket"), soon),
        (e.Troubled(n, "hm"), soon),
        (e.Restored(n, (Turn("user", "hello"),)), soon),
        (e.Withdrawn(n), soon),
        *(
            (kind(source), soon)
            for kind in (e.SpeechStarted, e.SpeechEnded)
            for source in ("local", "server")
        ),
        (e.TurnAccepted(n, "item_1"), soon),
        (e.UserSaid(n, "item_1", "what time is it"), soon),
    ]
    for reply in ("r1", "r2"):
        facts += [
            (e.ReplyStarted(n, reply), soon),
            (e.ReplyText(n, reply, "It is noon."), soon),
            (e.ReplyEnded(n, reply, audio=True), soon),
            (e.ReplyEnded(n, reply, audio=False, trouble="failed"), soon),
            (e.ReplyEnded(n, reply, audio=False, tool_calls=(e.ToolCall("c", "f"),)), soon),
            (e.ReplySounded(reply), soon),
            (e.ReplyHeard(reply), soon),
            (e.ReplyCut(reply, 500, 1000), soon),
        ]
    if talk.deadline is not None:
        facts.append((e.Elapsed(), talk.deadline))
    return facts


def situation(talk: Conversation) -> object:
    """What of a conversation decides where it can go."""
    turn = talk._turn
    return (
        talk.state,
        talk.muted,
        talk._up,
        talk._hold_ends_talk,
        talk._awaits_tools,
        talk._writing,
        talk._fallen,
        turn and (turn.hands_free, turn.written, turn.ended, turn.speech, (turn.item or "")[:7]),
        tuple(sorted((key, r.sounding, r.whole) for key, r in talk._replies._open.items())),
        tuple(sorted(set(talk._timers) & set(_TIMERS[talk.state]))),
        talk._record.has("item_1"),
    )


def fork(talk: Conversation) -> Conversation:
    """Copy what a fact can change; deepcopy takes ten times as long."""
    twin = copy.copy(talk)
    for name in ("_turn", "_patience", "_timers"):
        setattr(twin, name, copy.copy(getattr(talk, name)))
    twin._record = copy.copy(talk._record)
    twin._record._memory = copy.copy(talk._record._memory)
    twin._record._memory._entries = dict(talk._record._memory._entries)
    twin._replies = copy.copy(talk._replies)
    twin._replies._open = {key: copy.copy(reply) for key, reply in talk._replies._open.items()}
    twin._replies._cut = dict(talk._replies._cut)
    return twin


def walk(rules: Rules) -> set[Road]:
    """Search breadth first through every situation; handle() itself asserts that no other road is taken."""
    first = Conversation(rules, Patience(lambda: 0.5), STORED)
    seen = {situation(first)}
    todo = deque([(first, 100.0)])
    roads: set[Road] = set()
    while todo:
        talk, now = todo.popleft()
        for event, at in events_for(talk, now):
            after = fork(talk)
            before = after.state
            after.handle(event, at)
            if type(event) in MOVES[before] and not (
                isinstance(event, e.Attempted) and event.attempt != talk.attempt
            ):
                roads.add((before, type(event), after.state))
            key = situation(after)
            if key not in seen:
                seen.add(key)
                todo.append((after, at))
    assert len(seen) > 50
    return roads


def test_every_declared_road_is_walked() -> None:
    walked = set().union(*(walk(rules) for rules in RULES))
    declared = {
        (state, kind, to) for state, moves in MOVES.items() for kind, tos in moves.items() for to in tos
    }
    missing = {f"{a.name} --{k.__name__}--> {b.name}" for a, k, b in declared - walked}
    assert not missing
    assert walked == declared


def test_an_undeclared_road_is_a_bug_that_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MOVES[State.IDLE], e.Pressed, frozenset({State.IDLE}))
    talk = Conversation(Rules(), Patience(lambda: 0.5))
    with pytest.raises(AssertionError, match="may not become"):
        talk.handle(e.Pressed(1.0), 1.0)
