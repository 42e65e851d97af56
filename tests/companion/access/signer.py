"""A device's key, and its JWTs put together by hand: RFC 7515 and RFC 8037, without a JWT library."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Signer:
    """Signs what it is given, whether that is right or wrong."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.public_key = b64(self._key.public_key().public_bytes_raw())

    def sign(self, claims: dict[str, Any], header: dict[str, Any] | None = None) -> str:
        parts = (header or {"alg": "EdDSA", "typ": "JWT"}, claims)
        text = ".".join(b64(json.dumps(part).encode()) for part in parts)
        return f"{text}.{b64(self._key.sign(text.encode()))}"

    def timed(self, now: float, **claims: Any) -> str:
        times = {"iat": int(now), "exp": int(now) + 60, "jti": secrets.token_urlsafe(16)}
        return self.sign({**times, **claims})

    def assertion(self, enrolled: Any, now: float, **other: Any) -> str:
        """For what an enrolment answered."""
        own = {"iss": enrolled["device_id"], "sub": enrolled["device_id"], "aud": enrolled["audience"]}
        return self.timed(now, **own, **other)

    def enrolment(self, claim: str, now: float, serial: str = "10000000abcdef01") -> dict[str, str]:
        """The body of POST /v1/enrol."""
        proof = self.timed(now, claim=hashlib.sha256(claim.encode()).hexdigest())
        return {
            "claim": claim,
            "serial": serial,
            "model": "Raspberry Pi 4",
            "public_key": self.public_key,
            "proof": proof,
        }
