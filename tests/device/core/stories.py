"""How stories are told to the conversation, in the tests of its rooms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.core import actions as a
from device.core import events as e
from device.core.conversation import Conversation
from device.core.moves import State
from device.core.patience import Patience
from device.core.rules import Rules
from device.core.sessions import Session, Turn

if TYPE_CHECKING:
    from device.core.budget import Budget

STORED = Session("sess_old", "local", (Turn("user", "hello"),))


def talk(stored: Session | None = None, budget: Budget | None = None, **rules: object) -> Conversation:
    made = Rules(**rules)  # type: ignore[arg-type] # plain keywords
    return Conversation(made, Patience(lambda: 0.5, first_s=1.0), stored, budget)


def opened(
    c: Conversation, rung: str = "fresh", now: float = 1.0, ends_at: float | None = None
) -> list[a.Action]:
    return c.handle(e.Opened(c.attempt, "sess_1", "local", rung, ends_at), now)  # type: ignore[arg-type] # a rung


def kinds(actions: list[a.Action]) -> list[str]:
    """Name the orders; the bill is looked at elsewhere."""
    return [type(action).__name__ for action in actions if not isinstance(action, a.Spend)]


def pass_time(c: Conversation, until: float) -> list[a.Action]:
    """Keep every deadline up to a time."""
    told: list[a.Action] = []
    while c.deadline is not None and c.deadline <= until:
        told += c.handle(e.Elapsed(), c.deadline)
    return told


def to_speaking(c: Conversation) -> None:
    """One turn by the button, up to the sound of reply r1."""
    c.handle(e.Pressed(0.0), 0.0)
    opened(c)
    c.handle(e.SpeechStarted("local"), 1.5)
    c.handle(e.Released(2.0), 2.0)
    c.handle(e.TurnAccepted(c.attempt, "u1"), 2.1)
    c.handle(e.ReplyStarted(c.attempt, "r1"), 2.2)
    c.handle(e.ReplyText(c.attempt, "r1", "once upon a time there was"), 2.2)
    c.handle(e.ReplySounded("r1"), 2.3)
    assert c.state is State.SPEAKING
