"""What goes over the wire, read by hand: base64, JSON and the signature, with no JWT library."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from device.errors import BackendError
from device.net.enrolment import Enrolled, assertion, enrol, is_known, rotate
from device.system.identity import Identity
from tests.servers import Answer, http_server

if TYPE_CHECKING:
    from pathlib import Path

    from device.system.identity import Key

NOW = 1_800_000_000.7
WHO = Enrolled("dev_1", "kitchen", "pressel-companion-1")
OK: Answer = (
    201,
    json.dumps({"device_id": "dev_1", "name": "kitchen", "audience": "a", "more": 1}).encode(),
    {},
)


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return Identity(tmp_path).next_key()


def raw(text: str) -> bytes:
    assert "=" not in text
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def told(token: str, public_key: str) -> dict[str, Any]:
    """Verify a JWT as RFC 7515, 5.2 says, and return its claims."""
    head, body, signature = token.split(".")
    assert json.loads(raw(head))["alg"] == "EdDSA"
    public = raw(public_key)
    assert len(public) == 32
    Ed25519PublicKey.from_public_bytes(public).verify(raw(signature), f"{head}.{body}".encode("ascii"))
    claims: dict[str, Any] = json.loads(raw(body))
    return claims


def error(code: str) -> Answer:
    return (401, json.dumps({"error": {"code": code, "message": "no"}}).encode(), {})


def test_an_assertion_says_who_for_whom_when_and_which(key: Key) -> None:
    seen = set[str]()
    for _ in range(50):
        kind, _, token = assertion(key, "dev_1", "aud", NOW).partition(" ")
        claims = told(token, key.public)
        assert kind == "Bearer"
        assert set(claims) == {"iss", "sub", "aud", "iat", "exp", "jti"}
        assert (claims["iss"], claims["sub"], claims["aud"]) == ("dev_1", "dev_1", "aud")
        assert claims["iat"] <= NOW < claims["exp"] <= claims["iat"] + 60
        assert len(raw(claims["jti"])) == 16
        seen.add(claims["jti"])
    assert len(seen) == 50


def test_a_claim_is_exchanged_with_a_proof_of_the_key(key: Key) -> None:
    digest = hashlib.sha256(b"the claim").hexdigest()
    with http_server(OK) as server:
        url = f"{server.url}/"
        made = enrol(url, "the claim", digest, key, serial="s", model="m", now=NOW)
    assert made == Enrolled("dev_1", "kitchen", "a")
    path, headers, body = server.asked[0]
    sent = json.loads(body)
    assert path == "/v1/enrol"
    assert "Authorization" not in headers
    assert set(sent) == {"claim", "serial", "model", "public_key", "proof"}
    assert (sent["claim"], sent["serial"], sent["model"]) == ("the claim", "s", "m")
    claims = told(sent["proof"], sent["public_key"])
    assert set(claims) == {"claim", "iat", "exp", "jti"}
    assert claims["claim"] == digest


def test_a_new_key_is_given_with_the_old_one_s_word_and_its_own(key: Key, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    new = Identity(tmp_path / "new").next_key()
    with http_server(OK) as server:
        rotate(server.url, assertion(key, "dev_1", "aud", NOW), WHO, new, NOW)
    path, headers, body = server.asked[0]
    sent = json.loads(body)
    assert path == "/v1/rotate"
    assert set(sent) == {"public_key", "proof"}
    assert told(headers["Authorization"].removeprefix("Bearer "), key.public)["sub"] == "dev_1"
    assert told(sent["proof"], sent["public_key"])["sub"] == "dev_1"
    assert sent["public_key"] == new.public != key.public


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"device_id": 5, "name": "n", "audience": "a"}'])
def test_an_answer_that_makes_no_sense_is_one_line(key: Key, body: bytes) -> None:
    with (
        http_server((200, body, {})) as server,
        pytest.raises(BackendError, match="makes no sense") as caught,
    ):
        enrol(server.url, "the claim", "0" * 64, key, serial="", model="", now=NOW)
    assert "the claim" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "leaves"), [("http://companion.example", False), ("ws://x", False), ("http://127.0.0.1:1", True)]
)
def test_a_claim_leaves_by_an_encrypted_line_alone(key: Key, url: str, *, leaves: bool) -> None:
    with pytest.raises(BackendError) as caught:
        enrol(url, "c", "0" * 64, key, serial="", model="", now=NOW)
    assert ("not encrypted" in str(caught.value)) is not leaves


@pytest.mark.parametrize(("code", "known"), [("unauthorized", False), ("rotate_key", True)])
def test_who_is_known_is_told_by_the_companion(code: str, *, known: bool) -> None:
    with http_server(error(code)) as server:
        assert is_known(server.url, "Bearer x") is known
    assert server.asked[0][0] == "/v1/me"
    with http_server((200, b"{}", {})) as server:
        assert is_known(server.url, "Bearer x")
    with http_server(error("revoked")) as server, pytest.raises(BackendError, match="401: no"):
        is_known(server.url, "Bearer x")
