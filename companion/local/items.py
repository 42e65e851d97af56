"""The conversation: its items in order, and how many of a reply's words were heard."""

from __future__ import annotations

import secrets
from typing import Any, Literal

import msgspec

from companion.local.events import WireError

Role = Literal["system", "user", "assistant"]


def new_id(kind: str) -> str:
    """Return a fresh id such as "item_4f…"."""
    return f"{kind}_{secrets.token_hex(12)}"


class Turn(msgspec.Struct, frozen=True):
    """What a brain is given of an item."""

    role: Role
    text: str


class Mark(msgspec.Struct, frozen=True):
    """A sentence of a reply and where its sound ends, in ms from the reply's beginning."""

    end_ms: int
    text: str


class Item(msgspec.Struct, kw_only=True):
    """A message. `marks`: its sentences, if this server spoke it; `audio_ms`: the sound that was sent."""

    id: str
    role: Role
    kind: Literal["input_text", "output_text", "input_audio", "output_audio"]
    text: str = ""
    status: Literal["in_progress", "completed", "incomplete"] = "completed"
    audio_ms: float = 0.0
    marks: list[Mark] = []

    def json(self) -> dict[str, Any]:
        """Return the item as the protocol shows it, without sound."""
        named = "text" if self.kind.endswith("_text") else "transcript"
        words: str | None = self.text
        if self.kind == "input_audio" and not self.text:
            words = None
        content = [] if self.status == "in_progress" else [{"type": self.kind, named: words}]
        return {
            "id": self.id,
            "object": "realtime.item",
            "type": "message",
            "status": self.status,
            "role": self.role,
            "content": content,
        }

    def cut(self, heard_ms: float) -> None:
        """Keep the words heard in the first `heard_ms`; within a sentence by its share of the sound."""
        kept: list[Mark] = []
        begin = 0
        for mark in self.marks:
            if mark.end_ms <= heard_ms:
                kept.append(mark)
                begin = mark.end_ms
                continue
            words = _share(mark.text, (heard_ms - begin) / (mark.end_ms - begin))
            kept += [Mark(int(heard_ms), words)] if words else []
            break
        self.marks = kept
        self.audio_ms = heard_ms
        self.text = " ".join(mark.text for mark in kept)


def _share(text: str, part: float) -> str:
    """Return the whole words within the first `part` of the text."""
    end = int(len(text) * part)
    return text[:end].rpartition(" ")[0] if end < len(text) else text


class Conversation:
    """The items, oldest first."""

    def __init__(self, items: list[Item] | None = None) -> None:
        self.items = list(items or [])

    @property
    def last_id(self) -> str | None:
        """The id of the newest item."""
        return self.items[-1].id if self.items else None

    def turns(self) -> list[Turn]:
        """Return what has words, for the brain."""
        return [Turn(item.role, item.text) for item in self.items if item.text]

    def find(self, item_id: str, code: str) -> Item:
        """Return the item, or raise WireError with `code`."""
        for item in self.items:
            if item.id == item_id:
                return item
        raise WireError(code, f"There is no item with the id '{item_id}'.", "item_id")

    def insert(self, item: Item, after: str | None) -> str | None:
        """Put the item after another ("root": first, None: last) and return the id of the one before it."""
        if any(known.id == item.id for known in self.items):
            raise WireError(
                "item_create_duplicate_id", f"There is an item with the id '{item.id}'.", "item.id"
            )
        place = self._place(after)
        self.items.insert(place, item)
        return self.items[place - 1].id if place else None

    def remove(self, item_id: str, code: str) -> None:
        """Take the item out, or raise WireError with `code`."""
        self.items.remove(self.find(item_id, code))

    def _place(self, after: str | None) -> int:
        if after is None:
            return len(self.items)
        if after == "root":
            return 0
        for place, item in enumerate(self.items):
            if item.id == after:
                return place + 1
        text = f"There is no item with the id '{after}' to follow."
        raise WireError("item_create_invalid_previous_item_id", text, "previous_item_id")
