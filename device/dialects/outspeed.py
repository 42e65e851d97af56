"""Outspeed: OpenAI's beta shape, sessions that the service restores itself, and words it is told to say.

Source: docs.outspeed.com (resume-session: context.restored), outspeed-ai/voice-devtools, OutspeedSwift.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from device.core import events as e
from device.core.sessions import Turn
from device.dialects.openai_beta import OpenAIBetaDialect
from device.dialects.plain import send

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device.core.grant import Grant
    from device.dialects import openai_wire as wire
    from device.dialects.dialect import Decoded

_WELCOME = "welcome_back"
_LONGEST_ID = 200


class _Item(msgspec.Struct):
    """`content`: words, as the service's page shows it, or parts that hold them, as its kin send it."""

    id: Any = None
    role: str = ""
    content: Any = None


class _Restored(msgspec.Struct):
    """context.restored."""

    items: list[_Item]


class OutspeedDialect(OpenAIBetaDialect):
    """The grant's "live" is the service's promise: it is believed when `context.restored` has come.

    The page does not say whether that comes before `session.updated` or later. Until then nothing is claimed
    and nothing seeded; what comes later still replaces what the device remembers.

    `session` of the grant may hold `welcome_back`: what the service is told to say in a restored session.
    """

    shape_mend = "; check Outspeed's key and the endpoint's transport at the backend"

    def __init__(self, attempt: int, grant: Grant, turns: Sequence[Turn], clock_offset_s: float) -> None:
        self._promised = grant.resume == "live"
        unproved = msgspec.structs.replace(grant, resume="fresh") if self._promised else grant
        super().__init__(attempt, unproved, turns, clock_offset_s)
        self._restored: tuple[Turn, ...] = ()

    # --- what the device says

    def settings(self) -> dict[str, Any]:
        """Return the session object of session.update."""
        return {name: value for name, value in self._grant.session.items() if name != _WELCOME}

    def speak(self, text: str) -> list[Decoded]:
        """Have the service say these words as they are."""
        return [send("outspeed.custom.speak", text=text)]

    # --- what the server says

    def reader(self, kind: str) -> tuple[type[Any], str] | None:
        """Add the service's own event."""
        return (_Restored, "_context") if kind == "context.restored" else super().reader(kind)

    def _updated(self, message: wire.SessionEvent) -> list[Decoded]:
        if self._opened:
            return []
        seeds: list[Decoded] = []
        told: list[Decoded] = []
        if self._restored:
            self._rung = "live"
        elif self._promised:
            told = [e.Troubled(self._attempt, "the provider took the session up without its context")]
            self._rung = "seeded" if self._turns else "fresh"
            seeds = [send("conversation.item.create", item=self._seed(turn)) for turn in self._turns]
        return [*seeds, *super()._updated(message), *told, *self._tell()]

    def _context(self, message: _Restored) -> list[Decoded]:
        turns = [
            Turn("user" if item.role == "user" else "assistant", words)
            for item in message.items
            if item.role in ("user", "assistant") and (words := _words(item.content))
        ]
        self._restored = tuple(turns)
        held: list[Decoded] = [
            e.TurnHeld(self._attempt, item.id)
            for item in message.items
            if item.role == "user" and isinstance(item.id, str) and 0 < len(item.id) <= _LONGEST_ID
        ]
        return [*held, *(self._tell() if self._opened else [])]

    def _tell(self) -> list[Decoded]:
        if not self._restored:
            return []
        welcome = self._grant.session.get(_WELCOME)
        spoken = self.speak(welcome) if isinstance(welcome, str) and welcome else []
        return [e.Restored(self._attempt, self._restored), *spoken]


def _words(content: Any) -> str:
    """Return the words of an item: its text, or the texts and transcripts of its parts; "" for none."""
    parts = content if isinstance(content, list) else [content]
    return " ".join(filter(None, map(_part_words, parts)))


def _part_words(part: Any) -> str:
    words = part.get("text") or part.get("transcript") if isinstance(part, dict) else part
    return words.strip() if isinstance(words, str) else ""
