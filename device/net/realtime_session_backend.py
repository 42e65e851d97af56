"""Asks for a grant at a user's own backend for Speko: `POST /api/realtime-session` gives its proxy's socket.

Source: the vendor's guide to its browser client, whose backend answers with six fields and no more.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

from device.core.grant import Auth, Encoding, Grant, GrantRequest, is_loopback
from device.dialects.dialect import printable
from device.errors import BackendError
from device.net.backend import error_line, fresh, post

_PATH = "/api/realtime-session"


class Answer(msgspec.Struct, rename="camel"):
    """The six fields; `transport` is there when the backend passes on what it should not."""

    session_id: str = ""
    ws_url: str = ""
    ws_token: str = ""
    expires_at: str = ""
    input_sample_rate: Any = None
    output_sample_rate: Any = None
    transport: str = ""

    def __repr__(self) -> str:
        """Keep the token out of logs and tracebacks."""
        return f"Answer({self.session_id!r}, …)"


class RealtimeSessionBackend:
    """`url` may have the path already. The proxy restores nothing, so every session is a fresh one."""

    def __init__(self, url: str, *, allow_insecure: bool = False) -> None:
        has_path = urlsplit(url).path.strip("/")
        self._url = url if has_path else url.rstrip("/") + _PATH
        self._allow_insecure = allow_insecure

    def mint(self, _request: GrantRequest, now: float) -> Grant:
        """Get a socket and its token."""
        answer = _read(post(self._url, None))
        if not (answer.ws_url.startswith("wss://") or self._allow_insecure or is_loopback(answer.ws_url)):
            raise BackendError(
                f"the backend leads to {printable(answer.ws_url.partition('?')[0])}, which is not encrypted; "
                "mend the backend, or set backend.allow_insecure = true",
                fatal=True,
            )
        grant = Grant(
            dialect="speko",
            url=answer.ws_url,
            auth=Auth("subprotocol", answer.ws_token),
            provider="speko",
            session_id=answer.session_id or None,
            expires_at=_epoch(answer.expires_at),
            input=_pcm16(answer.input_sample_rate),
            output=_pcm16(answer.output_sample_rate),
        )
        return fresh(grant, now)


def _read(body: Any) -> Answer:
    try:
        answer = msgspec.convert(body, Answer)
    except msgspec.ValidationError as error:
        raise BackendError(
            f"the backend's realtime session makes no sense: {printable(str(error))}"
        ) from None
    if answer.transport == "provider_direct":
        raise BackendError(
            "the backend passes on a provider_direct session, which leads past Speko's proxy; "
            'put a companion in between: backend.kind = "companion"',
            fatal=True,
        )
    if not answer.ws_url.startswith(("wss://", "ws://")) or not answer.ws_token:
        reason = error_line(body) or "no wsUrl with a wsToken in the answer"
        raise BackendError(f"the backend answered without a realtime session: {reason}")
    return answer


def _epoch(text: str) -> float | None:
    """Return an ISO-8601 time in epoch seconds, None for none; a time without a zone is UTC."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        line = f'the backend\'s expiresAt "{printable(text, 60)}" is no time such as 2026-11-21T10:15:00Z'
        raise BackendError(line) from None


def _pcm16(rate: Any) -> Encoding:
    return Encoding("pcm16", 16000) if rate == 16_000 else Encoding()
