"""From a claim to an identity and on to a new key, against a real companion, with the power cut anywhere."""

from __future__ import annotations

import io
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from companion.access.registry import Registry
from device.config import BackendConfig
from device.core.grant import GrantRequest
from device.enrol import Enrolment, enrol_here
from device.errors import BackendError, ConfigError
from device.net.backend import CompanionBackend
from device.net.enrolment import Enrolled, assertion, rotate
from device.system.identity import Claim, Identity
from tests.companion.talk import Running, running
from tests.device.system.test_store import CutDisk, FullDisk, PowerCut
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REQUEST = GrantRequest("default", "push_to_talk", "client", None, 0)


class Office(Running):
    """A companion, and the registry that its commands would open."""

    def __init__(self, one: Running) -> None:
        super().__init__(one.url, one.folder, one.token)
        self.registry = Registry(one.folder / "state")

    def claim(self, name: str = "hall", **more: Any) -> Claim:
        for device in self.registry.devices():  # all of them say that they are this machine
            self.registry.revoke(device["name"], time.time())
        return Claim(self.url, self.registry.new_claim(name, time.time(), replace=True, **more))


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    head = "enrols_per_minute = 6000\nmints_per_minute = 6000"
    with running(tmp_path_factory.mktemp("companion"), head=head) as one:
        made = Office(one)
        yield made
        made.registry.close()


class Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.trouble, self.recovered = list[str](), list[str]()

    def enrolment(self, folder: Path, url: str) -> Enrolment:
        return Enrolment(
            Identity(folder), url, on_trouble=self.trouble.append, on_recovered=self.recovered.append
        )


def mint(office: Office, enrolment: Enrolment) -> str:
    return CompanionBackend(office.url, enrolment).mint(REQUEST, time.time()).provider


def settled(office: Office, folder: Path) -> Enrolment:
    """A device that is enrolled."""
    Identity(folder).put_claim(office.claim())
    enrolment = Enrolment(Identity(folder), office.url)
    assert mint(office, enrolment) == "local"
    return enrolment


def public_key(folder: Path) -> str:
    known = Identity(folder).known()
    assert known
    return known[1].public


def test_a_claim_that_lies_there_is_used_once_and_destroyed(office: Office, tmp_path: Path) -> None:
    enrolment = settled(office, tmp_path)
    assert {one.name for one in tmp_path.iterdir()} == {"identity.key", "identity.json"}
    shown = enrolment.shown()
    assert shown
    assert shown["name"] == "hall"
    first, second = enrolment.header(), enrolment.header()
    assert first != second
    assert mint(office, Enrolment(Identity(tmp_path), office.url)) == "local"  # after a restart


def test_a_token_is_shown_while_there_is_nothing_better(office: Office, tmp_path: Path) -> None:
    enrolment = Enrolment(Identity(tmp_path), office.url, office.token)
    assert enrolment.header() == f"Bearer {office.token}"
    assert enrolment.shown() is None
    assert mint(office, enrolment) == "local"
    Identity(tmp_path).put_claim(office.claim())
    assert enrolment.header().startswith("Bearer eyJ")
    assert mint(office, enrolment) == "local"


def test_a_token_is_shown_again_when_a_claim_is_refused_or_a_key_is_broken(
    office: Office, tmp_path: Path
) -> None:
    enrolment = Enrolment(Identity(tmp_path), office.url, office.token)
    Identity(tmp_path).put_claim(Claim(office.url, "pressel_claim_wrong"))
    with pytest.raises(BackendError, match="claim is not known here"):
        enrolment.header()
    assert enrolment.header() == f"Bearer {office.token}"
    Identity(tmp_path).put_claim(office.claim())
    assert enrolment.header() != f"Bearer {office.token}"
    (tmp_path / "identity.key").write_text("broken")
    with pytest.raises(BackendError, match="not enrolled"):
        enrolment.header()
    assert enrolment.header() == f"Bearer {office.token}"


def test_the_power_may_be_cut_at_any_moment_of_enrolling(office: Office, tmp_path: Path) -> None:
    for calls in range(60):
        folder = tmp_path / str(calls)
        claim = office.claim()
        folder.mkdir()
        Identity(folder).put_claim(claim)
        try:
            Enrolment(Identity(folder, CutDisk(calls)), office.url).header()
            done = True
        except PowerCut:
            done = False
        after = Enrolment(Identity(folder), office.url)
        assert mint(office, after) == "local"
        assert not list(folder.glob("claim.json*")), calls
        assert not list(folder.glob("*.bad-*")), calls
        if done:
            break
    assert done
    assert calls > 10


def test_the_power_may_be_cut_at_any_moment_of_changing_the_key(office: Office, tmp_path: Path) -> None:
    for calls in range(30):
        folder = tmp_path / str(calls)
        folder.mkdir()
        settled_one = settled(office, folder)
        before = public_key(folder)
        office.registry.rotate("hall")
        try:
            done = Enrolment(Identity(folder, CutDisk(calls)), office.url).renew("rotate_key")
        except PowerCut:
            done = False
        assert mint(office, settled_one) == "local", calls
        assert public_key(folder) != before
        assert not Identity(folder).has_next_key()
        assert next(one for one in office.registry.devices() if one["name"] == "hall")["state"] == "active"
        if done:
            break
    assert done
    assert calls > 4


def test_a_key_whose_confirmation_was_lost_is_found_out(office: Office, tmp_path: Path) -> None:
    enrolment = settled(office, tmp_path)
    known = Identity(tmp_path).known()
    assert known
    card, old = known
    new = Identity(tmp_path).next_key()
    who = Enrolled(card.device_id, card.name, card.audience)
    bearer = assertion(old, card.device_id, card.audience, time.time())
    rotate(office.url, bearer, who, new, time.time())  # it came through, and nobody here knows
    assert mint(office, enrolment) == "local"
    assert public_key(tmp_path) == new.public


def test_a_next_key_that_the_companion_never_saw_is_not_taken(office: Office, tmp_path: Path) -> None:
    enrolment = settled(office, tmp_path)
    Identity(tmp_path).next_key()
    before = public_key(tmp_path)
    assert not enrolment.renew("unauthorized")
    assert public_key(tmp_path) == before
    assert mint(office, enrolment) == "local"


def test_a_revoked_device_says_so_and_comes_back_with_a_new_claim(office: Office, tmp_path: Path) -> None:
    enrolment = settled(office, tmp_path)
    before = public_key(tmp_path)
    office.registry.revoke("hall", time.time())
    with pytest.raises(BackendError, match=r'"hall".* was revoked.*claims new hall') as caught:
        mint(office, enrolment)
    assert (caught.value.fatal, caught.value.code) == (True, "revoked")
    Identity(tmp_path).put_claim(office.claim())
    assert mint(office, enrolment) == "local"
    assert public_key(tmp_path) != before


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda office: Claim(office.url, "pressel_claim_of_nobody"), "claim_unknown"),
        (lambda office: office.claim(serial="of-another-board"), "claim_elsewhere"),
        (lambda office: office.claim(hours=1e-9), "claim_expired"),
    ],
)
def test_a_claim_that_is_refused_lies_aside_and_is_not_shown_again(
    office: Office, tmp_path: Path, make: Any, code: str
) -> None:
    claim, told = make(office), Told()
    Identity(tmp_path).put_claim(claim)
    enrolment = told.enrolment(tmp_path, office.url)
    with pytest.raises(BackendError, match=r"kept as claim\.json\.refused") as caught:
        mint(office, enrolment)
    assert (caught.value.fatal, caught.value.code) == (True, code)
    assert claim.claim not in str(caught.value)
    with pytest.raises(BackendError, match="not enrolled; pressel-companion claims new NAME") as caught:
        mint(office, enrolment)
    assert caught.value.fatal
    assert len(told.trouble) == 2
    assert json.loads((tmp_path / "claim.json.refused").read_text())["claim"] == claim.claim
    Identity(tmp_path).put_claim(office.claim())
    assert mint(office, enrolment) == "local"
    assert told.recovered == ['this device is enrolled as "hall"']


def test_a_claim_that_was_used_elsewhere_is_refused_and_an_identity_goes_on(
    office: Office, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    claim = office.claim()
    (tmp_path / "first").mkdir()
    Identity(tmp_path / "first").put_claim(claim)
    first = Enrolment(Identity(tmp_path / "first"), office.url)
    assert mint(office, first) == "local"
    (tmp_path / "second").mkdir()
    Identity(tmp_path / "second").put_claim(claim)
    with pytest.raises(BackendError, match="was used already") as caught:
        mint(office, Enrolment(Identity(tmp_path / "second"), office.url))
    assert caught.value.code == "claim_used"
    Identity(tmp_path / "first").put_claim(Claim(office.url, "pressel_claim_wrong"))
    assert mint(office, first) == "local"
    assert 'this device is still "hall"' in caplog.text


def test_a_clock_that_is_wrong_is_told_and_tried_again(office: Office, tmp_path: Path) -> None:
    Identity(tmp_path).put_claim(office.claim())
    slow = Enrolment(Identity(tmp_path), office.url, now=lambda: time.time() - 86_400)
    with pytest.raises(BackendError, match="the clock here is") as caught:
        mint(office, slow)
    assert (caught.value.untimely, caught.value.fatal) == (True, False)
    assert mint(office, Enrolment(Identity(tmp_path), office.url)) == "local"  # the claim was not spent
    with pytest.raises(BackendError, match=r"86\d{3} s apart; the clock here is") as caught:
        mint(office, slow)
    assert (caught.value.untimely, caught.value.fatal) == (True, False)


def test_a_device_without_a_network_enrols_in_the_background_once_there_is_one(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.enrol._FIRST_PAUSE_S", 0.05)
    claim, told = office.claim(), Told()
    nowhere = "http://127.0.0.1:1"
    Identity(tmp_path).put_claim(Claim(nowhere, claim.claim))
    enrolment = told.enrolment(tmp_path, office.url)
    enrolment.start()
    until(lambda: told.trouble)
    assert "cannot be reached" in told.trouble[0]
    Identity(tmp_path).put_claim(claim)
    until(lambda: told.recovered, 10)
    assert len(told.trouble) == 1
    assert mint(office, enrolment) == "local"
    enrolment.close()


def test_a_full_card_is_told_and_the_claim_is_not_lost(office: Office, tmp_path: Path) -> None:
    Identity(tmp_path).put_claim(office.claim())
    with pytest.raises(BackendError, match="No space left") as caught:
        Enrolment(Identity(tmp_path, FullDisk()), office.url).header()
    assert not caught.value.fatal
    assert mint(office, Enrolment(Identity(tmp_path), office.url)) == "local"


def test_a_broken_key_is_told_with_the_mend(office: Office, tmp_path: Path) -> None:
    enrolment = settled(office, tmp_path)
    (tmp_path / "identity.key").write_text("broken")
    with pytest.raises(BackendError, match="not enrolled; pressel-companion claims new"):
        mint(office, enrolment)
    assert (tmp_path / "identity.key.bad-1").read_text() == "broken"


def test_a_claim_does_not_leave_by_an_open_line(tmp_path: Path) -> None:
    Identity(tmp_path).put_claim(Claim("http://companion.example", "pressel_claim_1"))
    with pytest.raises(BackendError, match="is not encrypted; set public_url") as caught:
        Enrolment(Identity(tmp_path), "https://companion.example").header()
    assert caught.value.fatal


def test_by_hand_from_a_file_or_from_a_pipe(office: Office, tmp_path: Path) -> None:
    backend, state = BackendConfig(url=office.url), tmp_path / "state"
    file = tmp_path / "hall.claim"
    claim = office.claim()
    file.write_text(json.dumps({"url": claim.url, "claim": claim.claim}))
    assert enrol_here(backend, state, str(file), io.StringIO()).name == "hall"
    assert not file.exists()
    assert enrol_here(backend, state, None, io.StringIO()).name == "hall"
    piped = io.StringIO(f"{office.claim('cellar').claim}\n")
    assert enrol_here(backend, state, "-", piped).name == "cellar"
    with pytest.raises(BackendError, match='not taken; this device is still "cellar"'):
        enrol_here(backend, state, "-", io.StringIO("pressel_claim_wrong"))


@pytest.mark.parametrize(
    ("backend", "file", "says"),
    [
        (BackendConfig(kind="unmute"), None, 'backend.kind is "unmute"'),
        (BackendConfig(url="https://c"), "none.claim", r"none\.claim cannot be read: No such file"),
        (BackendConfig(url="https://c"), "-", "the claim file - is none"),
    ],
)
def test_a_mistake_by_hand_is_one_line(
    tmp_path: Path, backend: BackendConfig, file: str | None, says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        enrol_here(backend, tmp_path, file, io.StringIO("two words"))
    assert "two words" not in str(caught.value)
