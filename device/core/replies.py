"""The replies that were let through and have not been heard out: their words, and how far each one got."""

from __future__ import annotations

from dataclasses import dataclass

from device.core.sessions import said_part

_MOST_OPEN = 8  # at once
_MOST_WORDS = 20_000  # characters of one reply


@dataclass
class _Reply:
    words: str = ""
    sounding: bool = False
    whole: bool = False
    broken: bool = False


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
    def full(self) -> bool:
        """Whether so many are open that no server means well with another."""
        return len(self._open) >= _MOST_OPEN

    @property
    def sounding(self) -> bool:
        """Whether any of them has reached the speaker."""
        return any(reply.sounding for reply in self._open.values())

    @property
    def unfinished(self) -> list[str]:
        """Those of which more sound may come."""
        return [reply_id for reply_id, reply in self._open.items() if not reply.whole]

    def break_off(self) -> list[str]:
        """No more will come for those that are not whole; returns them."""
        for reply_id in self.unfinished:
            self._open[reply_id].broken = True
        return self.unfinished

    def admit(self, reply_id: str) -> None:
        """Take one more."""
        self._open[reply_id] = _Reply()

    def add_words(self, reply_id: str, text: str, *, whole: bool = False) -> None:
        """Append words to an admitted reply, or replace them; of others nothing is kept."""
        if reply_id in self._open:
            words = text if whole else self._open[reply_id].words + text
            self._open[reply_id].words = words[:_MOST_WORDS]

    def mark_sounding(self, reply_id: str) -> None:
        """Its first sample went out."""
        self._open[reply_id].sounding = True

    def mark_whole(self, reply_id: str) -> None:
        """All of its sound has come."""
        self._open[reply_id].whole = True

    def settle(self, reply_id: str, sound_ms: int | None = None) -> str:
        """Take it out, heard to the end; returns its words, of one that broke off what its sound can hold."""
        reply = self._open.pop(reply_id)
        return said_part(reply.words, sound_ms) if reply.broken and sound_ms is not None else reply.words

    def cut_all(self) -> None:
        """Silence them all."""
        self._cut = {reply_id: reply.words for reply_id, reply in self._open.items()}
        self._open.clear()

    def cut_words(self, reply_id: str) -> str | None:
        """Return, once, the words that had come for a cut reply; None when it is not known."""
        return self._cut.pop(reply_id, None)
