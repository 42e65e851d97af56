"""Reads what a device has signed: a JWT (RFC 7519), EdDSA (RFC 8037), as a bearer assertion (RFC 7523)."""

from __future__ import annotations

import base64
import re
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from companion.errors import RequestError

LEEWAY_S = 120  # how far the clocks may be apart
LONGEST_S = 60  # from iat to exp
_KEY = re.compile(r"[\w-]{43}", re.ASCII)
_JTI = re.compile(r"[\x21-\x7e]{16,64}")
_TIMES_AND_ID = ["iat", "exp", "jti"]
_FAR_FUTURE = 1e12


class Assertion(msgspec.Struct, frozen=True):
    """What was signed; `jti`: its id; `expires_at`: epoch seconds."""

    claims: dict[str, Any]
    jti: str
    expires_at: float


def issuer(token: str) -> str | None:
    """Return who says to have signed it, unproven; None when it is no JWT."""
    try:
        found = jwt.decode(token, options={"verify_signature": False}).get("iss")
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        return None
    return found if isinstance(found, str) else None


def public_key(text: str) -> Ed25519PublicKey:
    """Read 32 bytes of base64url without padding. Raises ValueError."""
    raw = base64.urlsafe_b64decode(f"{text}=") if _KEY.fullmatch(text) else b""
    if base64.urlsafe_b64encode(raw).decode().rstrip("=") != text or not raw:
        raise ValueError("it is not 32 bytes of base64url")
    return Ed25519PublicKey.from_public_bytes(raw)


def verified(token: str, key: str, now: float, **expected: str) -> Assertion:
    """Return what was signed with `key`, in time, and with the `expected` claims.

    Raises RequestError 401: "untimely" when only the clock is against it, else "unauthorized".
    """
    try:
        claims = jwt.decode(
            token,
            public_key(key),
            algorithms=["EdDSA"],
            options={
                "require": [*_TIMES_AND_ID, *expected],
                "verify_exp": False,  # the times are checked below, by a clock that is an argument
                "verify_iat": False,
                "verify_nbf": False,
                "verify_aud": False,  # as is what was expected
            },
        )
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise unauthorized(f"the assertion is not good: {type(error).__name__}") from None
    for name, value in expected.items():
        if claims[name] != value:
            raise unauthorized(f'the assertion is not good: "{name}" is another')
    issued, expires, jti = (claims[name] for name in _TIMES_AND_ID)
    if not (_is_time(issued) and _is_time(expires) and isinstance(jti, str) and _JTI.fullmatch(jti)):
        raise unauthorized("the assertion is not good: iat and exp are times, jti has 16 to 64 characters")
    _check_times(issued, expires, now)
    return Assertion(claims, jti, float(expires))


def unauthorized(text: str) -> RequestError:
    """Return the refusal for who cannot be told apart from anybody."""
    return RequestError(401, "unauthorized", text)


def _check_times(issued: float, expires: float, now: float) -> None:
    if not issued < expires <= issued + LONGEST_S:
        raise unauthorized(f"the assertion is not good: it must live {LONGEST_S} s at the most")
    if issued - LEEWAY_S <= now < expires + LEEWAY_S:
        return
    text = f"the clocks of the device and the companion are {abs(now - issued):.0f} s apart"
    raise RequestError(401, "untimely", text, time=now)


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _FAR_FUTURE
