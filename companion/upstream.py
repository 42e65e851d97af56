"""Asks a provider over HTTP: typed answers; refusals as one line with their status; keys are never shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import msgspec

from companion.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from companion.settings import UpstreamSettings

T = TypeVar("T")

_LONGEST_LINE = 300


class UpstreamFault(msgspec.Struct, frozen=True):
    """`error` of a refusal, where it is an object."""

    message: str = ""


class UpstreamError(msgspec.Struct, frozen=True):
    """The shapes of a refusal: `error` as object or text, or a `message` beside it."""

    error: UpstreamFault | str | None = None
    message: str = ""


class Upstream:
    """One service. `headers` go with every request; what they hold is never logged."""

    def __init__(self, base_url: str, timeout_s: float, headers: dict[str, str] | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s
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
            raise _refusal(answer)
        try:
            return msgspec.json.decode(answer.content, type=shape)
        except msgspec.ValidationError as error:
            reason = f"{_words(answer) or error}"
            text = f"the provider's answer to {path.partition('?')[0]} makes no sense: {reason}"
            raise RequestError(502, "provider_answer", text) from error
        except (msgspec.DecodeError, RecursionError) as error:
            kind = answer.headers.get("Content-Type", "no type")[:60]
            text = f"the provider answered {path.partition('?')[0]} with {kind} where JSON belongs"
            raise RequestError(502, "provider_answer", text) from error


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


def _refusal(answer: httpx.Response) -> RequestError:
    """Pass the status on: a device can act on 429 and 503, and must not try again after 401."""
    line = _words(answer) or answer.reason_phrase or "no reason given"
    wait = answer.headers.get("Retry-After", "")
    return RequestError(
        answer.status_code if answer.status_code >= 400 else 502,
        "provider_refused",
        f"the provider answered {answer.status_code}: {line}",
        retry_after_s=float(wait) if wait.isdigit() else None,
    )


def _words(answer: httpx.Response) -> str:
    """Find the words of an error in the shapes that services use, as one line; "" when there are none."""
    try:
        found = msgspec.json.decode(answer.content, type=UpstreamError)
    except (msgspec.MsgspecError, RecursionError):
        return ""
    text = found.error.message if isinstance(found.error, UpstreamFault) else found.error
    line = "".join(char if char.isprintable() else " " for char in text or found.message)
    return " ".join(line.split())[:_LONGEST_LINE]
