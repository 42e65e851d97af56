"""Asks for a grant over HTTP: the port, Pressel's companion, and what all backends share of HTTP."""

from __future__ import annotations

from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec
import requests
import urllib3

from device.core.grant import Grant, GrantRequest, is_loopback
from device.dialects.dialect import printable
from device.errors import BackendError

_TIMEOUTS_S = (5.0, 15.0)  # to connect, to answer
_LONGEST_ANSWER = 1 << 20
_NEVER_AGAIN = {400, 401, 403, 404, 405, 422}


class Backend(Protocol):
    """Where grants come from."""

    def mint(self, request: GrantRequest, now: float) -> Grant:
        """Get a grant that is good at `now` (epoch seconds). Raises BackendError, one line."""


class CompanionBackend:
    """Pressel's own companion: `POST {url}/v1/sessions`."""

    def __init__(self, url: str, token: str, *, allow_insecure: bool = False) -> None:
        self._allow_insecure = allow_insecure
        self._url = url.rstrip("/") + "/v1/sessions"
        self._token = token

    def mint(self, request: GrantRequest, now: float) -> Grant:
        """Get a grant from the companion."""
        wish = msgspec.to_builtins(request)
        if request.codec is None:
            del wish["codec"]
        body = post(self._url, wish, {"Authorization": f"Bearer {self._token}"})
        try:
            grant = msgspec.convert(body, Grant)
        except msgspec.ValidationError as error:
            raise BackendError(f"the companion's grant makes no sense: {printable(str(error))}") from None
        if not (grant.url.startswith("wss://") or self._allow_insecure or is_loopback(grant.url)):
            raise BackendError(
                f"the companion's grant leads to {grant.url.partition('?')[0]}, which is not encrypted; "
                "mend the companion's public URL, or set backend.allow_insecure = true",
                fatal=True,
            )
        return fresh(grant, now)


def fresh(grant: Grant, now: float) -> Grant:
    """Return a grant that is still good. Raises BackendError when it has expired already."""
    if grant.expires_at is not None and grant.expires_at <= now:
        late_s = now - grant.expires_at
        raise BackendError(
            f"the backend gave a grant that expired {late_s:.0f} s ago; is the clock right here and there?"
        )
    return grant


def post(url: str, body: Any, headers: dict[str, str] | None = None) -> Any:
    """POST a JSON body (None: an empty one) and return the JSON answer. Raises BackendError."""
    return _ask("POST", url, body, headers or {}, _TIMEOUTS_S)


def get(url: str, timeout_s: float = 15.0) -> Any:
    """Return the JSON answer of a GET. Raises BackendError."""
    return _ask("GET", url, None, {}, (min(5.0, timeout_s), timeout_s))


def _ask(method: str, url: str, body: Any, headers: dict[str, str], timeouts_s: tuple[float, float]) -> Any:
    where = urlsplit(url).netloc
    try:
        with requests.request(
            method, url, json=body, headers=headers, timeout=timeouts_s, stream=True
        ) as answer:
            text = answer.raw.read(_LONGEST_ANSWER + 1, decode_content=True)
            return _read_answer(where, answer, text)
    except requests.exceptions.SSLError as error:
        raise BackendError(f"TLS to {where} failed: {printable(str(error))}; is the clock right?") from None
    except requests.exceptions.Timeout:
        raise BackendError(f"the backend at {where} did not answer in time") from None
    except urllib3.exceptions.ReadTimeoutError:
        raise BackendError(f"the backend at {where} did not answer in time") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise BackendError(f"the backend at {where} cannot be reached: {_root_cause(error)}") from None


def _read_answer(where: str, answer: requests.Response, text: bytes) -> Any:
    if len(text) > _LONGEST_ANSWER:
        raise BackendError(f"the backend at {where} answered with more than {_LONGEST_ANSWER} bytes")
    try:
        body = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        body = None
    if answer.status_code >= 300:
        raise _refusal(where, answer, body)
    if body is None:
        kind = answer.headers.get("Content-Type", "no type")
        raise BackendError(f"the backend at {where} answered with {printable(kind, 60)} where JSON belongs")
    return body


def _refusal(where: str, answer: requests.Response, body: Any) -> BackendError:
    status = answer.status_code
    reason = error_line(body) or answer.reason or "no reason given"
    own = isinstance(body, dict) and isinstance(body.get("error"), dict) and body["error"].get("code")
    mend = "; check the device token" if own == "unauthorized" else ""
    return BackendError(
        f"the backend at {where} answered {status}: {reason}{mend}",
        fatal=status in _NEVER_AGAIN,
        retry_after_s=_retry_after(answer.headers.get("Retry-After")),
        status=status,
    )


def _retry_after(value: str | None) -> float | None:
    """Read Retry-After in seconds; the form with a date needs two right clocks and is not trusted."""
    return float(value) if value is not None and value.strip().isdecimal() else None


def error_line(body: Any) -> str | None:
    """Return the words of an error in the shapes that backends use, as one line; None when there are none."""
    if not isinstance(body, dict):
        return None
    error = body.get("error", body.get("message"))
    if isinstance(error, dict):
        error = error.get("message")
    return printable(error) if isinstance(error, str) and error else None


def _root_cause(error: BaseException) -> str:
    while error.__context__ is not None or error.__cause__ is not None:
        error = error.__cause__ or error.__context__ or error
    return printable(str(error) or type(error).__name__)
