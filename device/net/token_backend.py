"""Asks for a grant at a plain backend: `POST /token` passes a provider's mint response through.

Source: OpenAI's realtime console and Outspeed's page on resuming sessions, whose backend looks at no status.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, urlencode

from device.core.grant import Auth, Codec, Encoding, Grant, GrantRequest
from device.errors import BackendError
from device.net.backend import error_line, fresh, post

if TYPE_CHECKING:
    from device.core.sessions import Rung

Dialect = Literal["openai", "openai-beta", "outspeed"]

_FAR_FUTURE = 1e12  # epoch seconds
_HEADERS = {"openai-beta": {"OpenAI-Beta": "realtime=v1"}}
# Refusals that have nothing to do with the session to be resumed: it may be there the next time.
_NOT_ABOUT_THE_ID = {None, 401, 403, 429, 502, 503}


class TokenBackend:
    """A plain backend. `session`: what it is asked for, in the provider's shape.

    Outspeed's sessions are resumed by `POST {url}/token?resume_session=ID`; when that brings no secret, a new
    one is asked for, once, and the owner is told.
    """

    def __init__(
        self,
        url: str,
        realtime_url: str,
        model: str,
        session: dict[str, Any],
        dialect: Dialect = "openai",
        *,
        codec: Codec | None = None,
    ) -> None:
        self._url = url.rstrip("/") + "/token"
        self._realtime_url = _with(realtime_url, model=model)
        self._session = session
        self._dialect: Dialect = dialect
        self._sound = Encoding() if codec in (None, "pcm16") else Encoding(codec, 8000)
        own = {"type": "realtime"} if dialect == "openai" else {"model": model}
        self._asked = {**own, **session}

    def mint(self, request: GrantRequest, now: float) -> Grant:
        """Get a secret; where the session runs and how it is set comes from the configuration."""
        rung: Rung = "seeded" if request.turns else "fresh"
        if self._dialect != "outspeed" or request.resume_session is None:
            return self._mint(self._url, now, rung)
        try:
            return self._mint(_with(self._url, resume_session=request.resume_session), now, "live")
        except BackendError as error:
            if error.status in _NOT_ABOUT_THE_ID:
                raise
            notice = f"the conversation could not be resumed: {error}; a new one has begun"
        return self._mint(self._url, now, rung, notice)

    def _mint(self, url: str, now: float, rung: Rung, notice: str = "") -> Grant:
        secret, expires_at, session_id = _mint_response(post(url, self._asked))
        query = self._dialect == "outspeed"
        auth = Auth("query", f"client_secret={quote(secret, safe='')}") if query else Auth("bearer", secret)
        grant = Grant(
            dialect=self._dialect,
            url=self._realtime_url,
            auth=auth,
            headers=_HEADERS.get(self._dialect, {}),
            provider=self._dialect,
            session_id=session_id,
            resume=rung,
            expires_at=expires_at,
            input=self._sound,
            output=self._sound,
            session=self._session,
            notice=notice,
        )
        return fresh(grant, now)


def _with(url: str, **query: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"


def _mint_response(body: Any) -> tuple[str, float | None, str | None]:
    """Read OpenAI's mint response: GA `value`, beta `client_secret.value`; 200 without either is an error."""
    fields = body if isinstance(body, dict) else {}
    nested = fields.get("client_secret")
    holder = nested if isinstance(nested, dict) else fields
    secret, expires_at = holder.get("value"), holder.get("expires_at")
    if not isinstance(secret, str) or not secret:
        reason = error_line(fields) or "no secret in the answer"
        raise BackendError(f"the backend answered 200 without a session secret: {reason}", status=200)
    session = fields.get("session")
    named = session.get("id") if isinstance(session, dict) else fields.get("id")
    return (
        secret,
        float(expires_at) if isinstance(expires_at, int | float) and 0 < expires_at < _FAR_FUTURE else None,
        named if isinstance(named, str) else None,
    )
