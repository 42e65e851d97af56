"""Asks for a grant at a plain backend: `POST /token` passes a provider's mint response through."""

from __future__ import annotations

from typing import Any

from device.core.grant import Auth, Grant, GrantRequest
from device.errors import BackendError
from device.net.backend import error_line, fresh, post


class TokenBackend:
    """A plain backend: `POST {url}/token` answers with OpenAI's mint response, GA or beta, passed through."""

    def __init__(self, url: str, realtime_url: str, model: str, session: dict[str, Any]) -> None:
        self._url = url.rstrip("/") + "/token"
        self._realtime_url = f"{realtime_url}?model={model}"
        self._session = session

    def mint(self, request: GrantRequest, now: float) -> Grant:
        """Get a secret; where the session runs and how it is set comes from the configuration."""
        body = post(self._url, {"type": "realtime", **self._session})
        secret, expires_at, session_id = _mint_response(body)
        return fresh(
            Grant(
                dialect="openai",
                url=self._realtime_url,
                auth=Auth("bearer", secret),
                provider="openai",
                session_id=session_id,
                resume="seeded" if request.turns else "fresh",
                expires_at=expires_at,
                session=self._session,
            ),
            now,
        )


def _mint_response(body: Any) -> tuple[str, float | None, str | None]:
    """Read OpenAI's mint response: GA `value`, beta `client_secret.value`; 200 without either is an error."""
    fields = body if isinstance(body, dict) else {}
    nested = fields.get("client_secret")
    holder = nested if isinstance(nested, dict) else fields
    secret, expires_at = holder.get("value"), holder.get("expires_at")
    if not isinstance(secret, str) or not secret:
        reason = error_line(fields) or "no secret in the answer"
        raise BackendError(f"the backend answered 200 without a session secret: {reason}")
    session = fields.get("session")
    named = session.get("id") if isinstance(session, dict) else fields.get("id")
    return (
        secret,
        float(expires_at) if isinstance(expires_at, int | float) and expires_at > 0 else None,
        named if isinstance(named, str) else None,
    )
