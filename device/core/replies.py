"""The replies that were let through and have not been heard out: their words, and how far each one got."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class _Reply:
    words: str = ""
    sounding: bool = False
    whole: bool = False


class Replies:
    """Bookkeeping of admitted replies; a cut one keeps its words until it is known how much was heard."""

    def __init__(self) -> None:
        self._open: dict[str, _Reply] = {}
        self._cut: dict[str, str] = {}

    def __contains__(self, reply_id: str) -> bool:
        return reply_id in self._open

    def __bool__(self) -> bool:
        return bool(self._open)

    @property
    def sounding(self) -> bool:
        """Whether any of them has reached the speaker."""
        return any(reply.sounding for reply in self._open.values())

    @property
    def unfinished(self) -> list[str]:
        """Those of which more sound may come."""
        return [reply_id for reply_id, reply in self._open.items() if not reply.whole]

    def admit(self, reply_id: str) -> None:
        """Take one more."""
        self._open[reply_id] = _Reply()

    def add_words(self, reply_id: str, text: str, *, whole: bool = False) -> None:
        """Append words to an admitted reply, or replace them; of others nothing is kept."""
        if reply_id in self._open:
            self._open[reply_id].words = text if whole else self._open[reply_id].words + text

    def mark_sounding(self, reply_id: str) -> None:
        """Its first sample went out."""
        self._open[reply_id].sounding = True

    def mark_whole(self, reply_id: str) -> None:
        """All of its sound has come."""
        self._open[reply_id].whole = True

    def settle(self, reply_id: str) -> str:
        """Take it out, heard to the end; returns its words."""
        return self._open.pop(reply_id).words

    def cut_all(self) -> None:
        """Silence them all."""
        self._cut = {reply_id: reply.words for reply_id, reply in self._open.items()}
        self._open.clear()

    def cut_words(self, reply_id: str) -> str:
        """Return, once, the words that had come for a cut reply."""
        return self._cut.pop(reply_id, "")
