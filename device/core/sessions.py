"""What is remembered of each conversation, and the resume ladder: live, seeded, fresh."""

from __future__ import annotations

from typing import Literal

import msgspec

Role = Literal["user", "assistant"]
Rung = Literal["live", "seeded", "fresh"]


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
