"""What is known of the conversation: its session, who said what, how far the last reply was heard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.core import actions as a
from device.core.sessions import Memory

if TYPE_CHECKING:
    from device.core.sessions import Role, Rung, Session, Turn

_MOST_HELD = 200


class Record:
    """The last `keep` turns, from what was `stored` on; changes come with the orders that keep them."""

    def __init__(self, stored: Session | None, keep: int) -> None:
        self.session_id = stored.session_id if stored else None
        self.heard_ms = stored.heard_ms if stored else 0
        self._provider = stored.provider if stored else ""
        self._keep = keep
        self._held: dict[str, None] = {}  # the user's items that the server is known to have
        self._memory = Memory(stored.turns if stored else (), keep=keep)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What was said, oldest first."""
        return self._memory.turns

    def open(self, session_id: str, provider: str, rung: Rung) -> None:
        """A session is open; a fresh one knows nothing of what was said before."""
        self.session_id, self._provider = session_id, provider
        if rung == "fresh":
            self.restore(())

    def restore(self, turns: tuple[Turn, ...]) -> None:
        """Take what the server remembers for what was said."""
        self._memory = Memory(turns, keep=self._keep)

    def place(self, key: str, role: Role) -> None:
        """Give a turn its place; its words come later."""
        self._memory.place(key, role)

    def has(self, key: str) -> bool:
        """Tell whether the turn's words are known."""
        return self._memory.has(key)

    def note_held(self, item_id: str) -> None:
        """Note that the server is known to hold this turn of the user's."""
        self._held[item_id] = None
        if len(self._held) > _MOST_HELD:
            del self._held[next(iter(self._held))]

    def knows_held(self, item_id: str) -> bool:
        """Tell whether it was known that the server holds this turn."""
        return item_id in self._held

    def note(self, key: str, role: Role, text: str) -> list[a.Action]:
        """Set a turn's words: they are shown, unless they are blank, and kept."""
        self._memory.fill(key, role, text)
        quote: list[a.Action] = [a.Quote(role, text)] if text.strip() else []
        return [*quote, self.kept()]

    def kept(self) -> a.Action:
        """Return the order to put it on disk."""
        return a.Remember(self.session_id or "", self._provider, self._memory.turns, self.heard_ms)
