"""What a device says to the companion about itself: a claim for a name, an assertion, a new key.

An assertion is a JWT (RFC 7519) that the device signs for one request (RFC 7523, section 3): who it is, for
whom it is meant, from when until when, and an id that is never used again.
"""

from __future__ import annotations

import secrets
from typing import Any, Protocol

import msgspec

from device.core.grant import is_loopback
from device.dialects.dialect import printable
from device.errors import BackendError
from device.net.backend import get, post

_LIVES_S = 60
_JTI_BYTES = 16


class Signer(Protocol):
    """A private key."""

    @property
    def public(self) -> str: ...
    def sign(self, claims: dict[str, Any]) -> str: ...


class Enrolled(msgspec.Struct, frozen=True):
    """Who the device is from now on. `audience`: whom its assertions are meant for."""

    device_id: str
    name: str
    audience: str


def assertion(key: Signer, device_id: str, audience: str, now: float) -> str:
    """Return the value of Authorization for one request at `now` (epoch seconds)."""
    return f"Bearer {_signed(key, now, iss=device_id, sub=device_id, aud=audience)}"


def enrol(
    url: str,
    claim: str,
    digest: str,
    key: Signer,
    *,
    serial: str,
    model: str,
    now: float,
    allow_insecure: bool = False,
) -> Enrolled:
    """Exchange a claim for a name; asked again with the same key, the answer is the same.

    `digest`: the claim's SHA-256 in hex. Raises BackendError.
    """
    if not (url.startswith("https://") or allow_insecure or is_loopback(url)):
        text = f"the claim leads to {printable(url)}, which is not encrypted; set public_url at the companion"
        raise BackendError(f"{text}, or backend.allow_insecure = true here", fatal=True)
    body = {
        "claim": claim,
        "serial": serial,
        "model": model,
        "public_key": key.public,
        "proof": _signed(key, now, claim=digest),
    }
    return _enrolled(post(f"{url.rstrip('/')}/v1/enrol", body))


def rotate(url: str, bearer: str, known: Enrolled, key: Signer, now: float) -> None:
    """Give the companion a new key; `bearer`: an assertion by the old one. Raises BackendError."""
    own = {"iss": known.device_id, "sub": known.device_id, "aud": known.audience}
    body = {"public_key": key.public, "proof": _signed(key, now, **own)}
    _enrolled(post(f"{url.rstrip('/')}/v1/rotate", body, {"Authorization": bearer}))


def is_known(url: str, bearer: str) -> bool:
    """Tell whether the companion takes an assertion; BackendError when it cannot be asked."""
    try:
        get(f"{url.rstrip('/')}/v1/me", headers={"Authorization": bearer})
    except BackendError as error:
        if error.code == "unauthorized":
            return False
        if error.code != "rotate_key":
            raise
    return True


def _signed(key: Signer, now: float, **claims: str) -> str:
    times = {"iat": int(now), "exp": int(now) + _LIVES_S}
    return key.sign({**claims, **times, "jti": secrets.token_urlsafe(_JTI_BYTES)})


def _enrolled(body: Any) -> Enrolled:
    try:
        return msgspec.convert(body, Enrolled)
    except msgspec.ValidationError as error:
        raise BackendError(f"the companion's answer makes no sense: {printable(str(error))}") from None
