"""What is remembered of each conversation, and the resume ladder: live, seeded, fresh."""

from __future__ import annotations

from typing import Literal

import msgspec

from device.core.budget import Spent
from device.core.words import safe

Role = Literal["user", "assistant"]
Rung = Literal["live", "seeded", "fresh"]

_QUICKEST = 25  # characters a second; 15 are usual
_USUAL = 15


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """One side's words; an assistant's turn holds only what was heard."""

    role: Role
    text: str


class Session(msgspec.Struct, frozen=True):
    """One conversation as it is kept on disk. `updated_at`: epoch seconds; `heard_ms`: of the last reply."""

    session_id: str
    provider: str
    turns: tuple[Turn, ...] = ()
    updated_at: float = 0.0
    heard_ms: int = 0


class Book(msgspec.Struct, frozen=True):
    """The state file: one session for each "endpoint/mode"."""

    version: Literal[1] = 1
    sessions: dict[str, Session] = {}
    volume: int | None = None
    spent: Spent = {}


class Memory:
    """The last turns of a conversation, in the order in which they were said.

    A transcript may come long after its turn (OpenAI Realtime transcribes asynchronously), so a turn has a
    place from the start and its words are filled in.
    """

    def __init__(self, turns: tuple[Turn, ...] = (), *, keep: int = 20, max_chars: int = 2000) -> None:
        self._keep = keep
        self._max_chars = max_chars
        self._entries: dict[str, Turn] = {}
        for n, turn in enumerate(turns[-keep:]):
            self.fill(f"restored-{n}", turn.role, turn.text)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns that have words, oldest first, at most `keep` of them."""
        if self._keep <= 0:
            return ()
        return tuple(turn for turn in self._entries.values() if turn.text)[-self._keep :]

    def place(self, key: str, role: Role) -> None:
        """Give a turn its place; its words come later."""
        self._entries.setdefault(key, Turn(role, ""))
        self._prune()

    def fill(self, key: str, role: Role, text: str) -> None:
        """Set a turn's words; blank ones leave it out."""
        self._entries[key] = Turn(role, " ".join(safe(text).split())[: self._max_chars])
        self._prune()

    def _prune(self) -> None:
        while len(self._entries) > 4 * max(self._keep, 1):
            del self._entries[next(iter(self._entries))]

    def has(self, key: str) -> bool:
        """Tell whether the turn's words are known."""
        return key in self._entries and bool(self._entries[key].text)


def said_part(text: str, sound_ms: int) -> str:
    """Return the words of a reply that broke off, of which `sound_ms` of sound had come and were heard.

    How long all of it would have been is not known: the share is a guess by the usual speed of speech.
    """
    end = sound_ms * _USUAL // 1000
    return text if end >= len(text) else _whole_words(text[:end])


def heard_part(text: str, heard_ms: int, received_ms: int) -> str:
    """Return the words of `text` that were heard, by the share of its sound, whole words only.

    `text` is what had come for `received_ms` of sound. Words are not evenly spread in a real voice, so the
    last word is a guess; an ellipsis marks the cut. Where sound comes in real time the words are ahead of it:
    more than a quick tongue can say was not heard.
    """
    if received_ms <= 0 or heard_ms <= 0:
        return ""
    share = len(text) * min(heard_ms, received_ms) // received_ms
    end = min(share, heard_ms * _QUICKEST // 1000)
    if end >= len(text):
        return text
    return _whole_words(text[:end])


def _whole_words(text: str) -> str:
    words = text.rsplit(" ", 1)[0].strip()
    return f"{words}…" if words else ""
