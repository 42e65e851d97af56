"""What counts as signed, against JWTs put together by hand."""

from __future__ import annotations

import hmac
import time
from typing import TYPE_CHECKING, Any

import pytest

from companion.access.assertions import issuer, public_key, verified
from companion.errors import RequestError
from tests.companion.access.signer import Signer, b64

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_800_000_000.0
WHO = {"iss": "dev_1", "sub": "dev_1", "aud": "here"}
JTI = "0123456789abcdef"


def good(**other: Any) -> dict[str, Any]:
    return {**WHO, "iat": int(NOW), "exp": int(NOW) + 60, "jti": JTI, **other}


def test_what_was_signed_is_read() -> None:
    signer = Signer()
    told = verified(signer.sign(good()), signer.public_key, NOW, **WHO)
    assert (told.jti, told.expires_at, told.claims["sub"]) == (JTI, NOW + 60, "dev_1")
    assert issuer(signer.sign(good())) == "dev_1"


def _none(_: Signer) -> str:
    return f"{Signer().sign(good(), {'alg': 'none'}).rpartition('.')[0]}."


def _hmac_of_the_public_key(signer: Signer) -> str:
    text = signer.sign(good(), {"alg": "HS256", "typ": "JWT"}).rpartition(".")[0]
    return f"{text}.{b64(hmac.digest(signer.public_key.encode(), text.encode(), 'sha256'))}"


@pytest.mark.parametrize(
    "make",
    [
        lambda _: Signer().sign(good()),  # another's key
        _none,
        _hmac_of_the_public_key,
        lambda signer: signer.sign(good()) + "A",
        lambda signer: signer.sign(good())[:-4],
        lambda signer: signer.sign(good(), {"alg": "EdDSA", "crit": ["x"], "x": 1}),
        lambda _: "..",
        lambda _: "a.b.c",
        lambda signer: signer.sign({key: value for key, value in good().items() if key != "jti"}),
        lambda signer: signer.sign({key: value for key, value in good().items() if key != "aud"}),
        lambda signer: signer.sign(good(aud="elsewhere")),
        lambda signer: signer.sign(good(aud=["here", "elsewhere"])),
        lambda signer: signer.sign(good(iss="dev_2")),
        lambda signer: signer.sign(good(sub="dev_2")),
        lambda signer: signer.sign(good(jti="short")),
        lambda signer: signer.sign(good(jti="x" * 65)),
        lambda signer: signer.sign(good(jti=5)),
        lambda signer: signer.sign(good(exp=int(NOW) + 61)),  # lives too long
        lambda signer: signer.sign(good(exp=int(NOW))),
        lambda signer: signer.sign(good(exp="soon")),
        lambda signer: signer.sign(good(iat=True)),
        lambda signer: signer.sign(good(iat=None)),
        lambda signer: signer.sign(good(exp=10**400)),
    ],
)
def test_what_is_not_good_is_refused_in_one_line(make: Callable[[Signer], str]) -> None:
    signer = Signer()
    with pytest.raises(RequestError) as caught:
        verified(make(signer), signer.public_key, NOW, **WHO)
    assert (caught.value.status, caught.value.code) == (401, "unauthorized")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("late_s", "says"), [(-119, None), (179, None), (-121, "121 s apart"), (180, "180 s apart")]
)
def test_clocks_may_be_two_minutes_apart_and_more_is_told(late_s: float, says: str | None) -> None:
    signer = Signer()
    if says is None:
        verified(signer.sign(good()), signer.public_key, NOW + late_s, **WHO)
        return
    with pytest.raises(RequestError, match=says) as caught:
        verified(signer.sign(good()), signer.public_key, NOW + late_s, **WHO)
    assert (caught.value.code, caught.value.time) == ("untimely", NOW + late_s)


def test_the_machine_s_own_clock_is_not_looked_at() -> None:
    signer, then = Signer(), time.time() - 10 * 365 * 86_400
    token = signer.timed(then, **WHO)
    assert verified(token, signer.public_key, then, **WHO).claims["aud"] == "here"


@pytest.mark.parametrize("text", ["", "x", "A" * 42, "A" * 44, "A" * 42 + "B", "ü" * 43, "A" * 42 + "="])
def test_a_key_is_32_bytes_in_their_one_spelling(text: str) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        public_key(text)


@pytest.mark.parametrize(
    "token", ["", "..", "a.b.c", "\x00.\x00.\x00", f"e30.{b64(b'{}')}.", f"e30.{b64(b'[]')}.AA"]
)
def test_a_text_that_is_no_jwt_has_no_issuer(token: str) -> None:
    assert issuer(token) is None
