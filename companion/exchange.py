"""Reads a request's body and writes an answer or a refusal, the same for every route."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from starlette.responses import Response

from companion.errors import RequestError
from companion.strict import fault

if TYPE_CHECKING:
    from starlette.requests import Request

T = TypeVar("T")

MAX_BODY_BYTES = 16_384
_OF_THE_BEARER = {"unauthorized", "revoked", "replayed", "untimely", "rotate_key"}


async def read(request: Request, kind: type[T]) -> T:
    """Return the body as `kind`. Raises RequestError 400, which names the key that is wrong."""
    body = await _body(request)
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        found = fault(error)
        text = f'"{found.path}": {found.text}' if found.path else found.text
        raise RequestError(400, "bad_request", text) from error
    except msgspec.DecodeError as error:
        raise RequestError(400, "bad_request", f"the request is not JSON: {error}") from error


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a value as JSON."""
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


def refusal(error: RequestError) -> Response:
    """Return {"error": {"code", "message"}}, with `time` where a clock is the reason."""
    wait = error.retry_after_s
    headers = {}
    if wait is not None and math.isfinite(wait):
        headers["Retry-After"] = str(max(1, math.ceil(wait)))
    if error.status == 401 and error.code in _OF_THE_BEARER:
        headers["WWW-Authenticate"] = "Bearer"
    told: dict[str, Any] = {"code": error.code, "message": str(error)}
    if error.time is not None:
        told["time"] = round(error.time, 3)
    return answer({"error": told}, error.status, headers)


async def _body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise RequestError(400, "body_too_large", f"the request is larger than {MAX_BODY_BYTES} bytes")
    return body
