"""Replies on their way to the speaker: their sound waits for a verdict, and a refused one is dropped."""

from __future__ import annotations

import threading
import time
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


class Downlink:
    """Sound of admitted replies goes to the player."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self._lock = threading.Lock()
        self._verdicts: dict[str, bool] = {}
        self._waiting: dict[str, list[tuple[str, bytes, int]]] = {}
        self._waiting_bytes = 0
        self._received_ms: dict[str, float] = {}
        self.first_at: dict[str, float] = {}  # when each reply's first sound came, monotonic seconds

    def audio(self, reply_id: str, item_id: str, pcm: bytes, rate: int) -> None:
        """Take a piece of sound, PCM16 mono at `rate` Hz, in the receiver's thread."""
        with self._lock:
            verdict = self._verdicts.get(reply_id)
            if verdict is False:
                return
            self.first_at.setdefault(reply_id, time.monotonic())
            self._received_ms[reply_id] = self._received_ms.get(reply_id, 0.0) + len(pcm) / 2 / rate * 1000
            if verdict:
                self._player.play(reply_id, item_id, pcm, rate)
            elif self._waiting_bytes < _WAITING_LIMIT:
                self._waiting.setdefault(reply_id, []).append((item_id, pcm, rate))
                self._waiting_bytes += len(pcm)

    def admit(self, reply_id: str) -> None:
        """Let it through, with what has come already."""
        with self._lock:
            self._verdicts[reply_id] = True
            for item_id, pcm, rate in self._take_waiting(reply_id):
                self._player.play(reply_id, item_id, pcm, rate)

    def refuse(self, reply_id: str) -> None:
        """Drop what has come and what will."""
        with self._lock:
            self._verdicts[reply_id] = False
            self._take_waiting(reply_id)

    def finish(self, reply_id: str) -> None:
        """No more sound will come for it."""
        self._player.finish(reply_id)

    def cut(self) -> Cut | None:
        """Silence the speaker; every admitted reply is refused from now on. Says what was heard of which."""
        with self._lock:
            for reply_id in self._verdicts:
                self._verdicts[reply_id] = False
            heard = self._player.flush()
            if heard is None:
                return None
            received_ms = int(self._received_ms.get(heard.reply_id, 0.0))
            return Cut(heard.reply_id, heard.item_id, min(heard.ms, received_ms), received_ms)

    def _take_waiting(self, reply_id: str) -> list[tuple[str, bytes, int]]:
        pieces = self._waiting.pop(reply_id, [])
        self._waiting_bytes -= sum(len(pcm) for _, pcm, _ in pieces)
        return pieces
