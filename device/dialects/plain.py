"""What dialects have in common: the answers of a protocol that has no such thing, and JSON frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from device.core import events as e
from device.dialects.dialect import Decoded, Send, printable
from device.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device.core.grant import Grant
    from device.core.sessions import Turn

T = TypeVar("T")

_MOST_TOKENS = 10_000_000  # that one reply can cost
_MENDS = {
    3000: "; check the provider's key at the backend",
    4000: "; the server wants another protocol: check the endpoint's provider",
}


class PlainDialect:
    """Every order is answered with nothing; a protocol overrides what it knows.

    `turns` could seed a session that was not restored; `clock_offset_s` turns epoch into monotonic seconds.
    """

    continuous = False
    ping_s: float | None = None

    def __init__(self, attempt: int, grant: Grant, turns: Sequence[Turn], clock_offset_s: float) -> None:
        self._attempt = attempt
        self._grant = grant
        self._turns = grant.history or tuple(turns)
        self._offset = clock_offset_s
        self._refused = 0
        self.input = grant.input
        self.output = grant.output

    def opening(self) -> list[Decoded]:
        """The server speaks first."""
        return []

    def reopened(self) -> list[Decoded]:
        """Nothing is to be said."""
        return []

    def redial(self, _code: int | None) -> float | None:
        """A secret opens one socket: a new attempt mints a new one."""
        return None

    def mint_again(self, _code: int | None) -> bool:
        """A secret that was just minted is as good as the next one."""
        return False

    def mend(self, code: int | None) -> str:
        """Name the setting that a close code speaks of."""
        return _MENDS.get(code or 0, "")

    def ping(self) -> list[Decoded]:
        """WebSocket's own pings do."""
        return []

    def end_turn(self) -> list[Decoded]:
        """The server finds the end of a turn."""
        return []

    def say(self, _text: str) -> list[Decoded]:
        """Refuse: no text goes up."""
        return self._no_reply(f"{self._grant.provider or self._grant.dialect} takes no written words")

    def request_reply(self) -> list[Decoded]:
        """The server replies when it wants to."""
        return []

    def discard_turn(self) -> list[Decoded]:
        """The server drops nothing."""
        return []

    def refuse_reply(self, _reply_id: str) -> list[Decoded]:
        """The device drops the sound; the server cannot be told."""
        return []

    def interrupt(self, _item_id: str | None, _heard_ms: int) -> list[Decoded]:
        """The device falls silent; the server cannot be told."""
        return []

    def refuse_tool(self, _call_id: str) -> list[Decoded]:
        """There are no tools."""
        return []

    def closing(self) -> list[Decoded]:
        """The close of the socket says it."""
        return []

    def _read(self, text: str, kind: str, reader: tuple[type[Any], str] | None) -> list[Decoded]:
        """Decode a message of the kind and hand it to the reader's method; no reader: it is passed over."""
        if reader is None:
            return []
        shape, method = reader
        found: list[Decoded] = getattr(self, method)(read(text, shape, kind))
        return found

    def _ends_at(self, told: Any = None) -> float | None:
        """Return when the session ends, monotonic: `told` by the server in epoch seconds, or by the grant."""
        ends_at = told if _is_number(told) and told > 0 else self._grant.session_ends_at
        return ends_at + self._offset if ends_at else None

    def _used(self, *counts: Any) -> list[Decoded]:
        """Tell the tokens that a reply cost; counts that cannot be are told of, and cost nothing."""
        told = [count for count in counts if count is not None]
        for count in told:
            if not _is_number(count) or not 0 <= count <= _MOST_TOKENS:
                line = (
                    f"the provider counts {printable(repr(count)[:60], 40)} tokens for a reply; passed over"
                )
                return [e.Troubled(self._attempt, line)]
        tokens = int(sum(told))
        return [e.Used(self._attempt, tokens)] if tokens else []

    def _no_reply(self, why: str = "") -> list[Decoded]:
        """Tell the conversation, after the reason if there is one, that no reply will come."""
        self._refused += 1
        name = f"none-{self._refused}"
        told: list[Decoded] = [e.Troubled(self._attempt, why)] if why else []
        return [*told, e.ReplyStarted(self._attempt, name), e.ReplyEnded(self._attempt, name, audio=False)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def encode(fields: dict[str, Any]) -> str:
    """Return a JSON text frame; bytes become base64."""
    return msgspec.json.encode(fields).decode()


def send(kind: str, **fields: Any) -> Send:
    """Return the message {"type": kind, …} as a frame to be sent."""
    return Send(encode({"type": kind, **fields}))


def words_of(field: Any) -> str:
    """Return what should be text: a number as it is written, "" for null and for what has no words."""
    return str(field) if isinstance(field, str | int | float) else ""


def text_only(frame: str | bytes) -> str:
    """Return a text frame; raises ProtocolError for binary."""
    if isinstance(frame, bytes):
        raise ProtocolError(
            f"the provider sent {len(frame)} bytes of binary where JSON text belongs; dropped"
        )
    return frame


def read(frame: str, shape: type[T], kind: str) -> T:
    """Decode a message of the given kind; base64 becomes bytes. Raises ProtocolError, one line."""
    try:
        return msgspec.json.decode(frame, type=shape)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        line = printable(str(error), 300)
        raise ProtocolError(f"the provider sent a bad {printable(kind)}: {line}; dropped") from None
