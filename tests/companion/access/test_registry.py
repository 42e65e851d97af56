"""Claims, devices and their keys, on a real database; the clock is an argument."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from companion.access.registry import DATABASE, Registry
from companion.errors import ConfigError, RequestError
from companion.wire import EnrolRequest, RotateRequest
from tests.companion.access.signer import Signer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = 1_800_000_000.0
DAY = 86_400.0


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    one = Registry(tmp_path)
    yield one
    one.close()


def wish(signer: Signer, claim: str, now: float = NOW, serial: str = "10000000abcdef01") -> EnrolRequest:
    return msgspec.convert(signer.enrolment(claim, now, serial), EnrolRequest)


def enrol(registry: Registry, name: str = "kitchen", serial: str = "10000000abcdef01") -> tuple[Signer, Any]:
    signer = Signer()
    enrolled, _ = registry.enrol(wish(signer, registry.new_claim(name, NOW), serial=serial), NOW)
    return signer, msgspec.to_builtins(enrolled)


def refused(registry: Registry, request: EnrolRequest, now: float = NOW) -> tuple[int, str]:
    with pytest.raises(RequestError) as caught:
        registry.enrol(request, now)
    assert "\n" not in str(caught.value)
    assert request.claim not in str(caught.value)
    return caught.value.status, caught.value.code


def shut_out(registry: Registry, assertion: str, now: float = NOW) -> str:
    with pytest.raises(RequestError) as caught:
        registry.device(assertion, now)
    assert caught.value.status == 401
    return caught.value.code


def test_a_claim_makes_a_device_that_is_known_by_what_it_signs(registry: Registry) -> None:
    signer, enrolled = enrol(registry)
    assert enrolled["name"] == "kitchen"
    assert enrolled["audience"] == registry.audience
    assert registry.device(signer.assertion(enrolled, NOW), NOW) == "kitchen"
    (device,) = registry.devices()
    assert (device["state"], device["serial"], device["model"], device["seen_at"]) == (
        *("active", "10000000abcdef01", "Raspberry Pi 4"),
        NOW,
    )


def test_a_claim_holds_128_bits_and_only_its_hash_is_on_disk(registry: Registry, tmp_path: Path) -> None:
    claim = registry.new_claim("kitchen", NOW)
    assert len(claim.removeprefix("pressel_claim_")) == 22
    for file in tmp_path.iterdir():
        assert claim.removeprefix("pressel_claim_").encode() not in file.read_bytes()


def test_a_lost_answer_is_no_loss_but_another_key_is_refused(registry: Registry) -> None:
    claim, signer = registry.new_claim("kitchen", NOW), Signer()
    first = registry.enrol(wish(signer, claim), NOW)
    later = NOW + 5 * DAY  # even when the claim has expired since
    assert registry.enrol(wish(signer, claim, later), later) == (first[0], False)
    assert refused(registry, wish(Signer(), claim)) == (409, "claim_used")
    registry.revoke("kitchen", NOW)
    assert refused(registry, wish(signer, claim)) == (409, "claim_used")


def test_a_claim_ends(registry: Registry) -> None:
    claim = registry.new_claim("kitchen", NOW, hours=1)
    late = NOW + 3600
    assert refused(registry, wish(Signer(), claim, late), late) == (401, "claim_expired")
    assert refused(registry, wish(Signer(), "pressel_claim_of_nobody")) == (401, "claim_unknown")


def test_a_claim_for_one_serial_number_is_of_no_use_elsewhere(registry: Registry) -> None:
    claim = registry.new_claim("kitchen", NOW, serial="10000000ABCDEF01")
    assert refused(registry, wish(Signer(), claim, serial="10000000abcdef02")) == (403, "claim_elsewhere")
    assert registry.enrol(wish(Signer(), claim), NOW)[0].name == "kitchen"


def test_a_serial_number_is_one_device(registry: Registry) -> None:
    enrol(registry)
    hall = registry.new_claim("hall", NOW)
    assert refused(registry, wish(Signer(), hall)) == (409, "serial_taken")
    registry.revoke("kitchen", NOW)
    assert registry.enrol(wish(Signer(), hall), NOW)[0].name == "hall"


def test_machines_without_a_serial_number_are_not_mistaken_for_each_other(registry: Registry) -> None:
    enrol(registry, "kitchen", serial="")
    enrol(registry, "hall", serial="")
    assert [one["name"] for one in registry.devices()] == ["hall", "kitchen"]


def test_a_proof_by_another_key_is_refused_and_spends_no_claim(registry: Registry) -> None:
    claim, signer = registry.new_claim("kitchen", NOW), Signer()
    stolen = msgspec.structs.replace(wish(signer, claim), public_key=Signer().public_key)
    assert refused(registry, stolen) == (401, "unauthorized")
    other = msgspec.structs.replace(wish(signer, claim), proof=signer.timed(NOW, claim="0" * 64))
    assert refused(registry, other) == (401, "unauthorized")
    assert refused(registry, msgspec.structs.replace(other, public_key="x")) == (400, "bad_request")
    assert refused(registry, wish(signer, claim, NOW - 7200)) == (401, "untimely")
    assert registry.enrol(wish(signer, claim), NOW)[1]


def test_what_was_shown_once_is_refused_also_after_a_restart(registry: Registry, tmp_path: Path) -> None:
    signer, enrolled = enrol(registry)
    shown = signer.assertion(enrolled, NOW)
    registry.device(shown, NOW)
    assert shut_out(registry, shown) == "replayed"
    registry.close()
    again = Registry(tmp_path)
    assert again.audience == enrolled["audience"]
    assert shut_out(again, shown, NOW + 179) == "replayed"  # the last moment at which it is in time
    assert shut_out(again, shown, NOW + 180) == "untimely"
    again.close()


def test_ids_are_forgotten_once_they_are_of_no_use(registry: Registry, tmp_path: Path) -> None:
    signer, enrolled = enrol(registry)
    for step in range(5):
        registry.device(signer.assertion(enrolled, NOW + step * 1000), NOW + step * 1000)
    with registry._engine.begin() as connection:
        kept = connection.exec_driver_sql("SELECT count(*) FROM assertions").scalar_one()
    assert kept == 1


def test_of_many_at_once_one_is_let_in(registry: Registry) -> None:
    signer, enrolled = enrol(registry)
    shown, outcomes = signer.assertion(enrolled, NOW), list[str]()
    ready = threading.Barrier(8)

    def show() -> None:
        ready.wait(10)
        try:
            outcomes.append(registry.device(shown, NOW))
        except RequestError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=show) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(outcomes) == ["kitchen", *["replayed"] * 7]


def test_of_many_with_the_same_claim_one_is_let_in(tmp_path: Path) -> None:
    two = (Registry(tmp_path), Registry(tmp_path))
    claim, outcomes = two[0].new_claim("kitchen", NOW), list[str]()
    ready = threading.Barrier(8)

    def come(number: int) -> None:
        request = wish(Signer(), claim, serial=f"serial-{number}")
        ready.wait(10)
        try:
            outcomes.append(two[number % 2].enrol(request, NOW)[0].name)
        except RequestError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=come, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(outcomes) == [*["claim_used"] * 7, "kitchen"]
    assert len(two[1].devices()) == 1
    for one in two:
        one.close()


def test_a_revoked_device_is_refused_by_its_next_request_also_from_another_process(
    registry: Registry, tmp_path: Path
) -> None:
    signer, enrolled = enrol(registry)
    command = Registry(tmp_path)
    command.revoke("kitchen", NOW)
    command.close()
    assert shut_out(registry, signer.assertion(enrolled, NOW)) == "revoked"
    assert shut_out(registry, Signer().assertion(enrolled, NOW)) == "unauthorized"  # only who is it is told


def test_a_revoked_device_comes_back_by_a_new_claim_with_a_new_key(registry: Registry) -> None:
    signer, enrolled = enrol(registry)
    registry.revoke("kitchen", NOW)
    fresh, again = enrol(registry)
    assert again["device_id"] == enrolled["device_id"]
    assert registry.device(fresh.assertion(again, NOW), NOW) == "kitchen"
    assert shut_out(registry, signer.assertion(enrolled, NOW)) == "unauthorized"


def test_a_device_is_replaced_only_by_a_claim_that_says_so(registry: Registry) -> None:
    signer, enrolled = enrol(registry)
    with pytest.raises(ConfigError, match=r'"kitchen" is enrolled already; add --replace'):
        registry.new_claim("kitchen", NOW)
    claim = registry.new_claim("kitchen", NOW, replace=True)
    assert registry.device(signer.assertion(enrolled, NOW), NOW) == "kitchen"  # until the claim is used
    registry.enrol(wish(Signer(), claim, serial="10000000abcdef09"), NOW)
    assert shut_out(registry, signer.assertion(enrolled, NOW)) == "unauthorized"


def test_a_name_has_one_open_claim(registry: Registry) -> None:
    first = registry.new_claim("kitchen", NOW)
    with pytest.raises(ConfigError, match=r'"kitchen" has an open claim; add --replace'):
        registry.new_claim("kitchen", NOW)
    second = registry.new_claim("kitchen", NOW, replace=True)
    assert refused(registry, wish(Signer(), first)) == (401, "claim_unknown")
    assert registry.enrol(wish(Signer(), second), NOW)[1]
    assert [one["state"] for one in registry.claims(NOW)] == ["used"]


def test_a_device_changes_its_key_when_it_is_told_to(registry: Registry) -> None:
    old, enrolled = enrol(registry)
    registry.rotate("kitchen")
    assert shut_out(registry, old.assertion(enrolled, NOW)) == "rotate_key"
    assert registry.devices()[0]["state"] == "rotating"
    name = registry.device(old.assertion(enrolled, NOW), NOW, rotating=True)
    new = Signer()
    registry.change_key(name, RotateRequest(new.public_key, new.assertion(enrolled, NOW)), NOW)
    assert registry.device(new.assertion(enrolled, NOW), NOW) == "kitchen"
    assert shut_out(registry, old.assertion(enrolled, NOW)) == "unauthorized"


def test_a_new_key_needs_its_own_proof(registry: Registry) -> None:
    old, enrolled = enrol(registry)
    request = RotateRequest(Signer().public_key, old.assertion(enrolled, NOW))
    with pytest.raises(RequestError, match="not good"):
        registry.change_key("kitchen", request, NOW)
    assert registry.device(old.assertion(enrolled, NOW), NOW) == "kitchen"


def test_a_command_s_mistake_is_one_line(registry: Registry) -> None:
    enrol(registry)
    with pytest.raises(ConfigError, match=r'no device "hall" is enrolled; there are: kitchen'):
        registry.revoke("hall", NOW)
    with pytest.raises(ConfigError, match="1 to 64 letters"):
        registry.new_claim("a b", NOW)
    with pytest.raises(ConfigError, match="serial number"):
        registry.new_claim("hall", NOW, serial="a b")
    registry.revoke("kitchen", NOW)
    with pytest.raises(ConfigError, match='"kitchen" is revoked'):
        registry.rotate("kitchen")


def test_a_database_that_breaks_is_told_without_a_secret(
    registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    claim = registry.new_claim("kitchen", NOW)
    with registry._engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE claims")
    assert (tmp_path / DATABASE).exists()
    assert refused(registry, wish(Signer(), claim)) == (503, "registry_unusable")
    assert "no such table" in caplog.text
    assert claim not in caplog.text
    assert claim not in repr(wish(Signer(), claim))
