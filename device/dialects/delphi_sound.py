"""Delphi's audio messages put together: one response's base64 pieces, in order, once each.

Source: the vendor's client SDK 0.1.3 (SessionClient.ts): the SDK joins the texts of all pieces and decodes
the whole; pieces that are base64 by themselves decode to the same sound, without waiting for the end.
"""

from __future__ import annotations

import binascii
from contextlib import suppress
from dataclasses import dataclass, field

from device.errors import ProtocolError

DEFAULT_MIME = "audio/mpeg"
_MOST_HELD = 500  # pieces that overtook, and the characters of them: beyond it the missing one is given up
_MOST_HELD_CHARS = 8 << 20


@dataclass
class Response:
    """One playable piece of a reply. `cut`: the socket was lost since it began, so pieces may overtake."""

    reply_id: str
    final: bool
    mime: str = DEFAULT_MIME
    cut: bool = False
    ended: bool = False
    _next: int | None = None
    _held: dict[int, str] = field(default_factory=dict)
    _rest: str = ""  # of base64 text: less than four characters

    @property
    def whole(self) -> bool:
        """Whether the end has come and nothing is missed; pieces that overtook wait only after a cut."""
        return self.ended and not (self.cut and self._held)

    def add(self, index: int | None, text: str) -> bytes:
        """Take a piece; returns the sound that is ready. Raises ProtocolError."""
        if index is None:
            return self._decoded(text)
        if self._next is None:
            self._next = 0 if self.cut else index
        if index >= self._next:
            self._held[index] = text
            if len(self._held) > _MOST_HELD or sum(map(len, self._held.values())) > _MOST_HELD_CHARS:
                self._next = min(self._held)
        sound = b""
        while self._next in self._held:
            text = self._held.pop(self._next)
            self._next += 1
            sound += self._decoded(text)
        return sound

    def finish(self) -> bytes:
        """Return what is left, in order, with its gaps; what is no base64 is left out."""
        held, self._held = self._held, {}
        sound = b""
        for text in (*(held[index] for index in sorted(held)), "==="):
            with suppress(ProtocolError):
                sound += self._decoded(text)
        return sound

    def _decoded(self, text: str) -> bytes:
        text = self._rest + text
        whole = len(text) - len(text) % 4
        self._rest = text[whole:]
        return _base64(text[:whole])


def _base64(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True) if text else b""
    except ValueError as error:
        raise ProtocolError(
            f"the provider sent a piece of sound that is no base64 ({error}); dropped"
        ) from None
