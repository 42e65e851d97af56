"""What every dialect's facts pass before anyone believes them: replies by names of our own, words made safe.

A server may use a name twice, number its replies anew in each session, send words that steer a terminal, or
more of them than anyone said. None of that gets further than this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from device.core import events as e
from device.core.sessions import Turn
from device.core.words import safe
from device.dialects.dialect import ReplyAudio, printable

if TYPE_CHECKING:
    from device.core.events import Event

_MOST_NAMES = 64  # replies whose names are kept in mind
_MOST_CALLS = 8  # of tools, in one reply
_MOST_TURNS = 100  # that a server restores
_LONGEST_NAME = 200
_LONGEST_LINE = 500


@dataclass
class _Name:
    ours: str
    begun: bool = False


class Intake:
    """For one attempt. A reply is called "ATTEMPT.N": no two replies of one process share a name."""

    def __init__(self, attempt: int) -> None:
        self._attempt = attempt
        self._named = 0
        self._names: dict[str, _Name] = {}

    def theirs(self, reply_id: str) -> str:
        """Return what the server calls a reply; "" when that is forgotten."""
        return next((theirs for theirs, name in self._names.items() if name.ours == reply_id), "")

    def sound(self, piece: ReplyAudio) -> ReplyAudio:
        """Return the piece under the reply's name."""
        return replace(piece, reply_id=self._name(piece.reply_id).ours)

    def fact(self, event: Event, now: float) -> Event:
        """Return the fact with names and words in order. `now`: monotonic seconds."""
        match event:
            case e.Opened():
                ends_at = event.ends_at if event.ends_at is None or event.ends_at > now else None
                event = replace(event, session_id=printable(event.session_id, _LONGEST_NAME), ends_at=ends_at)
            case e.Restored():
                turns = (Turn(turn.role, safe(turn.text)) for turn in event.turns[-_MOST_TURNS:])
                event = replace(event, turns=tuple(turns))
            case e.Troubled():
                event = replace(event, text=printable(event.text, _LONGEST_LINE))
            case e.Lost():
                event = replace(event, reason=printable(event.reason, _LONGEST_LINE))
            case e.UserSaid() | e.TurnHeld():
                event = replace(event, text=safe(event.text))
            case e.ReplyStarted():
                event = replace(event, reply_id=self._begin(event.reply_id))
            case e.ReplyText():
                event = replace(event, reply_id=self._name(event.reply_id).ours, text=safe(event.text))
            case e.ReplyEnded():
                event = self._ended(event)
        return event

    def _ended(self, event: e.ReplyEnded) -> e.ReplyEnded:
        calls = (
            e.ToolCall(call.call_id, printable(call.name, 60)) for call in event.tool_calls[:_MOST_CALLS]
        )
        return replace(
            event,
            reply_id=self._name(event.reply_id).ours,
            trouble=printable(event.trouble, _LONGEST_LINE) if event.trouble else event.trouble,
            tool_calls=tuple(calls),
        )

    def _begin(self, theirs: str) -> str:
        """Name a reply that begins; a name that was begun before is now another reply's."""
        if self._names.get(theirs, _Name("")).begun:
            del self._names[theirs]
        name = self._name(theirs)
        name.begun = True
        return name.ours

    def _name(self, theirs: str) -> _Name:
        """Return the reply's name; its sound may come before its beginning."""
        name = self._names.get(theirs)
        if name is None:
            self._named += 1
            name = self._names[theirs] = _Name(f"{self._attempt}.{self._named}")
            if len(self._names) > _MOST_NAMES:
                del self._names[next(iter(self._names))]
        return name
