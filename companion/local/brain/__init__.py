"""The port of what thinks, and the choice between its implementations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from companion.local.items import Turn
    from companion.settings import LocalSettings


class Brain(Protocol):
    """Holds nothing between calls: all it knows of a conversation is in the turns."""

    def reply(self, turns: Sequence[Turn], instructions: str) -> AsyncGenerator[str]:
        """Yield the reply sentence by sentence; raise BrainError when there is none."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


def make_brain(settings: LocalSettings) -> Brain:
    """Return the brain that the configuration names."""
    if settings.brain == "chat":
        from companion.local.brain.chat import Chat  # noqa: PLC0415 - the other one needs no HTTP client

        return Chat(settings.chat_url, settings.chat_model, settings.chat_key_file)
    from companion.local.brain.rules import Rules  # noqa: PLC0415

    return Rules()
