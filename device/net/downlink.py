"""Replies on their way to the speaker: their sound waits for a verdict, and a refused one is dropped."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Protocol

import msgspec


class Heard(Protocol):
    """How far the reply that sounded was heard."""

    @property
    def reply_id(self) -> str: ...
    @property
    def item_id(self) -> str: ...
    @property
    def ms(self) -> int: ...


class Player(Protocol):
    """The speaker's side."""

    def play(self, reply_id: str, item_id: str, pcm: bytes, rate: int) -> None: ...
    def finish(self, reply_id: str) -> None: ...
    def flush(self) -> Heard | None: ...


class Cut(msgspec.Struct, frozen=True):
    """A silenced reply: which item sounded, how much of it was heard, how much of the reply had come."""

    reply_id: str
    item_id: str
    heard_ms: int
    received_ms: int


_WAITING_LIMIT = 8 << 20  # bytes of sound held for replies nobody decided on
_WAITING_S = 10.0  # that such sound is held
_MOST_REPLIES = 64  # kept in mind


@dataclass
class _Reply:
    """`first_at`: when its first sound came, monotonic seconds."""

    verdict: bool | None = None
    whole: bool = False
    first_at: float | None = None
    received_ms: float = 0.0
    waiting: list[tuple[str, bytes, int]] = field(default_factory=list)
    waiting_bytes: int = 0

    def drop(self) -> None:
        self.verdict = False
        self.waiting, self.waiting_bytes = [], 0


class Downlink:
    """Sound of admitted replies goes to the player; what nobody decided on is held within bounds."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self._lock = threading.Lock()
        self._replies: dict[str, _Reply] = {}

    def audio(self, reply_id: str, item_id: str, pcm: bytes, rate: int) -> None:
        """Take a piece of sound, PCM16 mono at `rate` Hz, in the receiver's thread."""
        with self._lock:
            reply = self._reply(reply_id)
            if reply.verdict is False or reply.whole:
                return
            now = time.monotonic()
            reply.first_at = now if reply.first_at is None else reply.first_at
            reply.received_ms += len(pcm) / 2 / rate * 1000
            if reply.verdict:
                self._player.play(reply_id, item_id, pcm, rate)
            elif self._has_room(reply, len(pcm), now):
                reply.waiting.append((item_id, pcm, rate))
                reply.waiting_bytes += len(pcm)

    def admit(self, reply_id: str) -> None:
        """Let it through, with what has come already."""
        with self._lock:
            reply = self._reply(reply_id)
            for item_id, pcm, rate in reply.waiting:
                self._player.play(reply_id, item_id, pcm, rate)
            reply.drop()
            reply.verdict = True

    def refuse(self, reply_id: str) -> None:
        """Drop what has come and what will."""
        with self._lock:
            self._reply(reply_id).drop()

    def end(self, reply_id: str) -> None:
        """All of it has come; what the server still sends of it is dropped, in the receiver's thread."""
        with self._lock:
            self._reply(reply_id).whole = True

    def finish(self, reply_id: str) -> None:
        """No more sound will come for it."""
        self._player.finish(reply_id)

    def cut(self) -> Cut | None:
        """Silence the speaker; every admitted reply is refused from now on. Says what was heard of which."""
        with self._lock:
            for reply in self._replies.values():
                if reply.verdict:
                    reply.drop()
            heard = self._player.flush()
            if heard is None:
                return None
            received_ms = self._received_ms(heard.reply_id)
            return Cut(heard.reply_id, heard.item_id, min(heard.ms, received_ms), received_ms)

    def first_at(self, reply_id: str) -> float | None:
        """Return when the reply's first sound came, in monotonic seconds; None: none has."""
        with self._lock:
            reply = self._replies.get(reply_id)
            return reply.first_at if reply else None

    def received_ms(self, reply_id: str) -> int:
        """Return how much of the reply's sound has come."""
        with self._lock:
            return self._received_ms(reply_id)

    def _received_ms(self, reply_id: str) -> int:
        reply = self._replies.get(reply_id)
        return int(reply.received_ms) if reply else 0

    def _reply(self, reply_id: str) -> _Reply:
        """Return what is known of a reply; a new one may push out an older one that is not let through."""
        reply = self._replies.get(reply_id)
        if reply is None:
            if len(self._replies) >= _MOST_REPLIES:
                others = (name for name, other in self._replies.items() if not other.verdict)
                del self._replies[next(others, next(iter(self._replies)))]
            reply = self._replies[reply_id] = _Reply()
        return reply

    def _has_room(self, reply: _Reply, size: int, now: float) -> bool:
        """Make room for sound that waits: what has waited too long goes, then the oldest replies'."""
        for other in self._replies.values():
            stale = now - (other.first_at or now) > _WAITING_S
            crowded = other is not reply and self._waiting_bytes() + size > _WAITING_LIMIT
            if other.waiting and (stale or crowded):
                other.drop()
        return reply.verdict is None and self._waiting_bytes() + size <= _WAITING_LIMIT

    def _waiting_bytes(self) -> int:
        return sum(reply.waiting_bytes for reply in self._replies.values())
