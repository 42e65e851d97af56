"""Enrolment over HTTP: who is let in, by what, and what each refusal says."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from companion.access.door import Door
from companion.access.registry import Registry
from companion.access.tokens import Tokens
from tests.companion.access.signer import Signer
from tests.companion.talk import Running, running, session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PRIVATE = """
[endpoints.default]
provider = "local"
[endpoints.private]
provider = "local"
devices = ["hall"]
"""


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, _PRIVATE) as companion:
        yield companion


def registry(one: Running) -> Registry:
    """What a command would open, beside the server."""
    return Registry(one.folder / "state")


def claim(one: Running, name: str = "hall") -> str:
    opened = registry(one)
    made = opened.new_claim(name, time.time(), replace=True)
    opened.close()
    return made


def enrol(one: Running, made: str, signer: Signer) -> httpx.Response:
    return httpx.post(f"{one.url}/v1/enrol", json=signer.enrolment(made, time.time()))


def me(one: Running, bearer: str) -> httpx.Response:
    return httpx.get(f"{one.url}/v1/me", headers={"Authorization": f"Bearer {bearer}"})


def refusal(answer: httpx.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert "\n" not in error["message"]
    return answer.status_code, error["code"]


def test_from_a_claim_to_a_grant(one: Running) -> None:
    signer, made = Signer(), claim(one)
    answer = enrol(one, made, signer)
    assert answer.status_code == 201
    enrolled: dict[str, Any] = answer.json()
    assert set(enrolled) == {"device_id", "name", "audience"}
    again = enrol(one, made, signer)
    assert (again.status_code, again.json()) == (200, enrolled)
    told = me(one, signer.assertion(enrolled, time.time()))
    assert told.json() == {"device": "hall", "endpoints": ["default", "private"]}
    granted = one.post({"endpoint": "private"}, token=signer.assertion(enrolled, time.time()))
    assert granted.json()["provider"] == "local"


def test_a_plain_token_is_let_in_as_before(one: Running) -> None:
    assert me(one, one.token).json() == {"device": "kitchen", "endpoints": ["default"]}


def test_nothing_that_travels_can_be_sent_again(one: Running) -> None:
    signer = Signer()
    enrolled = enrol(one, claim(one), signer).json()
    captured = signer.assertion(enrolled, time.time())
    assert one.post({}, token=captured).status_code == 200
    for replay in (one.post({}, token=captured), me(one, captured)):
        assert refusal(replay) == (401, "replayed")
        assert replay.headers["WWW-Authenticate"] == "Bearer"


def test_revocation_counts_at_the_next_request(one: Running) -> None:
    signer = Signer()
    enrolled = enrol(one, claim(one), signer).json()
    assert me(one, signer.assertion(enrolled, time.time())).status_code == 200
    opened = registry(one)
    opened.revoke("hall", time.time())
    opened.close()
    answer = one.post({}, token=signer.assertion(enrolled, time.time()))
    assert refusal(answer) == (401, "revoked")
    assert "pressel-companion claims new hall" in answer.json()["error"]["message"]


def test_the_secret_of_a_session_is_void_with_its_device(one: Running) -> None:
    signer = Signer()
    enrolled = enrol(one, claim(one), signer).json()
    ahead = one.post({}, token=signer.assertion(enrolled, time.time())).json()
    others = one.grant()
    opened = registry(one)
    opened.revoke("hall", time.time())
    opened.close()
    Tokens(one.folder / "tokens.json").new("porch")
    with pytest.raises(InvalidStatus) as caught, session(ahead):
        pass
    assert caught.value.response.status_code == 401
    with session(others) as client:
        assert client.seen
    Tokens(one.folder / "tokens.json").revoke("kitchen")
    with pytest.raises(InvalidStatus), session(others):
        pass


def test_a_clock_that_is_wrong_is_told_the_time(one: Running) -> None:
    signer = Signer()
    enrolled = enrol(one, claim(one), signer).json()
    answer = me(one, signer.assertion(enrolled, time.time() - 3600))
    assert refusal(answer) == (401, "untimely")
    assert abs(answer.json()["error"]["time"] - time.time()) < 30


def test_a_key_is_changed_by_the_device_that_has_the_old_one(one: Running) -> None:
    old, new = Signer(), Signer()
    enrolled = enrol(one, claim(one), old).json()
    opened = registry(one)
    opened.rotate("hall")
    opened.close()
    assert refusal(me(one, old.assertion(enrolled, time.time()))) == (401, "rotate_key")
    body = {"public_key": new.public_key, "proof": new.assertion(enrolled, time.time())}
    url = f"{one.url}/v1/rotate"
    stranger = {"Authorization": f"Bearer {new.assertion(enrolled, time.time())}"}
    assert refusal(httpx.post(url, json=body, headers=stranger)) == (401, "unauthorized")
    headers = {"Authorization": f"Bearer {old.assertion(enrolled, time.time())}"}
    assert httpx.post(url, json=body, headers=headers).json() == enrolled
    assert me(one, new.assertion(enrolled, time.time())).json()["device"] == "hall"
    assert refusal(me(one, old.assertion(enrolled, time.time()))) == (401, "unauthorized")


def test_a_plain_token_has_no_key_to_change(one: Running) -> None:
    body = {"public_key": Signer().public_key, "proof": "x.y.z"}
    answer = httpx.post(f"{one.url}/v1/rotate", json=body, headers={"Authorization": f"Bearer {one.token}"})
    assert refusal(answer) == (401, "unauthorized")


def test_what_goes_into_the_log_is_one_plain_line(one: Running) -> None:
    for key in ("serial", "model"):
        for text in ("x\n", "a\nERROR forged: a line of the log", "\x1b[2J", "ü", "x" * 129):
            body = {**Signer().enrolment("pressel_claim_x", time.time()), key: text}
            answer = httpx.post(f"{one.url}/v1/enrol", json=body)
            assert refusal(answer) == (400, "bad_request")
            assert f'"{key}"' in answer.json()["error"]["message"]


def test_a_bad_body_is_400(one: Running) -> None:
    more = b'{"claim":"x","serial":"","model":"","public_key":"y","proof":"z","more":1}'
    for body in (b"{", b"[]", b"{}", more):
        assert refusal(httpx.post(f"{one.url}/v1/enrol", content=body)) == (400, "bad_request")


def test_guessing_is_slowed_down_and_the_log_holds_no_claim(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with running(tmp_path, head="enrols_per_minute = 3") as companion:
        made, signer = claim(companion), Signer()
        assert enrol(companion, made, signer).status_code == 201
        for _ in range(2):
            assert refusal(enrol(companion, "pressel_claim_guessed", Signer())) == (401, "claim_unknown")
        answer = enrol(companion, "pressel_claim_guessed", Signer())
        assert refusal(answer) == (429, "too_many_requests")
        assert 1 <= int(answer.headers["Retry-After"]) <= 20
        proof = signer.assertion({"device_id": "d", "audience": "a"}, time.time())
        assert refusal(me(companion, proof)) == (401, "unauthorized")
    assert "hall: enrolled" in caplog.text
    for secret in (made, "guessed", proof.rpartition(".")[2]):
        assert secret not in caplog.text


def test_addresses_are_not_remembered_without_end(tmp_path: Path) -> None:
    door = Door(Tokens(tmp_path / "tokens.json"), Registry(tmp_path), 5)
    for number in range(5000):
        door._permit(f"192.0.2.{number}")
    assert len(door._buckets) <= 1024
    door.close()


def test_a_companion_without_devices_is_empty_until_it_has_made_a_claim(tmp_path: Path) -> None:
    opened = Registry(tmp_path / "state")
    door = Door(Tokens(tmp_path / "tokens.json"), opened, 30)
    assert door.is_empty()
    opened.new_claim("hall", time.time())
    assert not door.is_empty()
    door.close()
