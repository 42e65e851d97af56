"""Walks every road of the conversation's table of moves, and no other."""

from __future__ import annotations

import copy
from collections import deque

import pytest

from device.core import events as e
from device.core.budget import Amount, Budget, Limits
from device.core.conversation import Conversation
from device.core.moves import MOVES, State
from device.core.patience import Patience
from device.core.rules import Rules
from device.core.sessions import Session, Turn

Road = tuple[State, type[e.Event], State]

RULES = [
    Rules(mode="push_to_talk", longest_talk_ms=0, longest_turn_ms=30_000),
    Rules(mode="open_mic", turn_end="server", longest_talk_ms=0),
    Rules(mode="open_mic", turn_end="client", longest_talk_ms=0),
    Rules(mode="open_mic", turn_end="server", half_duplex=False, longest_talk_ms=0),
    Rules(mode="open_mic", turn_end="client", half_duplex=False, longest_talk_ms=0),
]
NEARLY_SPENT = Budget(Limits(day_tokens=100), {"2026-11-21": Amount(0.0, 50)}, "2026-11-21")
CARDS = {e.CardLost, e.CardBack}
BILLS = {e.Used, e.Dated}
# What multiplies the situations and opens no road: each case leaves something out, or the walk takes an hour.
DETAILS = {
    e.Typed,
    e.MuteSet,
    e.Held,
    e.Woken,
    e.Withdrawn,
    e.Restored,
    e.UserSaid,
    e.TurnAccepted,
    e.TurnHeld,
    e.ReplyCut,
    e.ClockSet,
}
CASES = [
    *((rules, Budget(), CARDS | BILLS) for rules in RULES[:3]),
    *((rules, Budget(), CARDS | BILLS | DETAILS - {e.Withdrawn}) for rules in RULES[3:]),
    *((rules, Budget(), DETAILS | BILLS) for rules in RULES[:2]),
    *((rules, NEARLY_SPENT, DETAILS - {e.Typed} | CARDS) for rules in RULES[:2]),
]
STORED = Session("sess_old", "local", (Turn("user", "hello"),))


SIDES: tuple[e.Side, e.Side] = ("microphone", "speaker")


def _card(side: e.Side) -> tuple[e.Event, e.Event]:
    return e.CardLost(side, "unplugged"), e.CardBack(side)


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
        (e.Stopped(), soon),
        (e.Typed("hello"), soon),
        (e.Elapsed(), now),
        *((kind, soon) for side in SIDES for kind in _card(side)),
        (e.Dated("2026-11-21"), soon),
        (e.ClockSet(), soon),
        (e.Used(n, 60), soon),
        (e.Opened(n, "sess_1", "local", "live", soon + 15), soon),
        (e.Opened(n, "sess_1", "local", "seeded"), soon),
        (e.Opened(n, "sess_1", "local", "fresh"), soon),
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
        (e.TurnHeld(n, "item_1"), soon),
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


def situation(conversation: Conversation) -> object:
    """What of a conversation decides where it can go."""
    talk = conversation._talk
    turn = talk.turn
    return (
        talk.state,
        talk.muted,
        talk.up,
        talk.hold_ends_talk,
        talk.awaits_tools,
        talk.writing,
        talk.fallen,
        talk.given_up,
        talk.broken_off,
        talk.not_before > 1000,
        tuple(sorted(talk.lost_cards)),
        bool(talk.budget.refusal()),
        turn and (turn.hands_free, turn.written, turn.ended, turn.speech, (turn.item or "")[:7]),
        tuple(sorted((key, r.sounding, r.whole) for key, r in talk.replies._open.items())),
        tuple(sorted(talk.running)),
        talk.record.has("item_1"),
    )


def fork(conversation: Conversation) -> Conversation:
    """Copy what a fact can change; deepcopy takes ten times as long."""
    twin = copy.copy(conversation)
    talk = twin._talk = copy.copy(conversation._talk)
    for name in ("turn", "patience", "timers", "lost_cards", "budget", "record", "replies"):
        setattr(talk, name, copy.copy(getattr(talk, name)))
    for name in ("spend", "notice"):  # they open no road and come before all others
        talk.timers.pop(name, None)
    talk.record._memory = copy.copy(talk.record._memory)
    talk.record._memory._entries = dict(talk.record._memory._entries)
    talk.replies._open = {key: copy.copy(reply) for key, reply in talk.replies._open.items()}
    talk.replies._cut = dict(talk.replies._cut)
    return twin


def walk(rules: Rules, budget: Budget, without: set[type[e.Event]]) -> set[Road]:
    """Search breadth first through every situation; handle() itself asserts that no other road is taken."""
    first = Conversation(rules, Patience(lambda: 0.5), STORED, copy.copy(budget))
    seen = {situation(first)}
    todo = deque([(first, 100.0)])
    roads: set[Road] = set()
    while todo:
        talk, now = todo.popleft()
        for event, at in events_for(talk, now):
            if type(event) in without:
                continue
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
    walked = set().union(*(walk(*case) for case in CASES))
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
