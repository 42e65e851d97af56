"""Asks a provider over HTTP: typed answers; refusals as one line with their status; keys are never shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import httpx
import msgspec
from msgspec import Meta

from companion.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from companion.settings import UpstreamSettings

T = TypeVar("T")
Secret = Annotated[str, Meta(min_length=1)]
Epoch = Annotated[float, Meta(ge=-(2**53), le=2**53)]  # seconds; some services send fractions

_LONGEST_LINE = 300
_MOST_DIGITS = 6  # of a Retry-After


class UpstreamFault(msgspec.Struct, frozen=True):
    """`error` of a refusal, where it is an object."""

    message: str | None = None
    code: Any = None


class UpstreamError(msgspec.Struct, frozen=True):
    """The shapes of a refusal: `error` as object or text, or a `message` beside it."""

    error: UpstreamFault | str | None = None
    message: str | None = None


class Upstream:
    """One service. `headers` go with every request; what they hold is never logged.

    `mends`: what the owner can do about a refusal, as "; do this", by the service's own error code.
    """

    def __init__(
        self,
        base_url: str,
        timeout_s: float,
        headers: dict[str, str] | None = None,
        *,
        mends: dict[str, str] | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s
        # The last word alone: of "Bearer KEY" a service may echo the key without the rest.
        words = {value.split()[-1] for value in (headers or {}).values() if value.strip()}
        self._hidden = sorted(words, key=len, reverse=True)
        self._mends = mends or {}
        self._http = httpx.AsyncClient(base_url=self._base_url, headers=headers, timeout=timeout_s)

    async def post(
        self,
        path: str,
        body: Any,
        *,
        answer: type[T],
        params: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> T:
        """POST a body as JSON and return the typed answer. Raises RequestError."""
        content = msgspec.json.encode(body)
        sent = {"Content-Type": "application/json", **(headers or {})}
        return await self._ask("POST", path, answer, content=content, params=params, headers=sent)

    async def get(self, path: str, *, answer: type[T], params: dict[str, str] | None = None) -> T:
        """GET and return the typed answer. Raises RequestError."""
        return await self._ask("GET", path, answer, params=params)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _ask(self, method: str, path: str, shape: type[T], **request: Any) -> T:
        try:
            answer = await self._http.request(method, path, **request)
        except httpx.TimeoutException as error:
            text = f"the provider gave no answer within {self._timeout_s:g} s"
            raise RequestError(503, "provider_timeout", text, retry_after_s=2) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            text = f"the provider at {self._base_url} cannot be reached: {type(error).__name__}"
            raise RequestError(502, "provider_unreachable", text) from error
        if not answer.is_success:
            raise self._refusal(answer)
        try:
            return msgspec.json.decode(answer.content, type=shape)
        except msgspec.ValidationError as error:
            reason = self._line(_words(answer) or str(error))
            text = f"the provider's answer to {path.partition('?')[0]} makes no sense: {reason}"
            raise RequestError(502, "provider_answer", text) from error
        except (msgspec.DecodeError, RecursionError) as error:
            kind = self._line(answer.headers.get("Content-Type", "no type"))[:60]
            text = f"the provider answered {path.partition('?')[0]} with {kind} where JSON belongs"
            raise RequestError(502, "provider_answer", text) from error

    def _refusal(self, answer: httpx.Response) -> RequestError:
        """Pass the status on: a device can act on 429 and 503, and must not try again after 401."""
        line = self._line(_words(answer) or answer.reason_phrase or "no reason given")
        mend = self._mends.get(str(_fault(answer).code), "")
        wait = answer.headers.get("Retry-After", "")
        return RequestError(
            answer.status_code if answer.status_code >= 400 else 502,
            "provider_refused",
            f"the provider answered {answer.status_code}: {line}{mend}",
            retry_after_s=float(wait) if wait.isdecimal() and len(wait) <= _MOST_DIGITS else None,
        )

    def _line(self, text: str) -> str:
        """Return a service's words as one line, cut, without what the headers hold."""
        for hidden in self._hidden:
            text = text.replace(hidden, "***")
        line = "".join(char if char.isprintable() else " " for char in text)
        return " ".join(line.split())[:_LONGEST_LINE]


def epoch(at: float | None) -> int | None:
    """Return a service's time in whole seconds; None where it sends none, or 0 for none."""
    return max(0, int(at or 0)) or None


def read_key(provider: str, settings: UpstreamSettings) -> str:
    """Return the service's key from where the settings say. Raises ConfigError, without the key in it."""
    if settings.key_env:
        key, where = os.environ.get(settings.key_env, ""), f"the environment variable {settings.key_env}"
    else:
        where = settings.key_file
        try:
            key = Path(where).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"providers.{provider}: cannot read key_file {where}: {type(error).__name__}"
            ) from error
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(f"providers.{provider}: {where} holds no usable key")
    return key


def socket_url(base_url: str, path: str) -> str:
    """Return the WebSocket URL of a path at an HTTP base URL."""
    scheme, _, rest = base_url.rstrip("/").partition("://")
    return f"{'wss' if scheme == 'https' else 'ws'}://{rest}{path}"


def _fault(answer: httpx.Response) -> UpstreamFault:
    """Find an error in the shapes that services use; an empty one when there is none."""
    try:
        found = msgspec.json.decode(answer.content, type=UpstreamError)
    except (msgspec.MsgspecError, RecursionError):
        return UpstreamFault()
    if isinstance(found.error, UpstreamFault):
        return UpstreamFault(found.error.message or found.message, found.error.code)
    return UpstreamFault(found.error or found.message)


def _words(answer: httpx.Response) -> str:
    return (_fault(answer).message or "").strip()
