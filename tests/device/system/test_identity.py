"""The identity on disk: whose it is, what survives a power cut, what a broken file does."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import stat
from typing import TYPE_CHECKING

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from device.errors import StateError
from device.system.identity import (
    Card,
    Claim,
    Identity,
    destroy,
    model_name,
    read_claim,
    serial_number,
)
from tests.device.system.test_store import CutDisk, FullDisk, PowerCut

if TYPE_CHECKING:
    from pathlib import Path

CLAIM = Claim("https://companion.example", "pressel_claim_0123456789")
OLD = Card("dev_1", "kitchen", "aud", "https://companion.example", "0" * 64)
NEW = Card("dev_2", "hall", "aud", "https://companion.example", CLAIM.digest)


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def enrolled(folder: Path, card: Card = OLD) -> str:
    """Make an identity; returns its public key."""
    identity = Identity(folder)
    public = identity.next_key().public
    identity.enrolled(card)
    return public


def test_what_it_signs_is_a_jwt_that_another_library_verifies(tmp_path: Path) -> None:
    key = Identity(tmp_path).next_key()
    head, body, signature = key.sign({"iss": "dev_1", "n": 1}).split(".")
    assert json.loads(raw(head)) == {"alg": "EdDSA", "typ": "JWT"}
    assert json.loads(raw(body)) == {"iss": "dev_1", "n": 1}
    assert "=" not in head + body + signature
    public = Ed25519PublicKey.from_public_bytes(raw(key.public))
    public.verify(raw(signature), f"{head}.{body}".encode())
    with pytest.raises(InvalidSignature):
        public.verify(raw(signature), f"{head}.{body}x".encode())


def test_every_file_is_for_the_owner_alone(tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    identity.put_claim(CLAIM)
    enrolled(tmp_path)
    identity.put_claim(CLAIM)
    identity.next_key()
    files = {one.name: stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()}
    assert set(files) == {"identity.key", "identity.json", "identity.key.new", "claim.json"}
    assert set(files.values()) == {0o600}
    assert b"BEGIN PRIVATE KEY" in (tmp_path / "identity.key").read_bytes()


def test_it_is_the_same_after_a_restart_and_no_secret_is_shown(tmp_path: Path) -> None:
    assert not Identity(tmp_path).begun()
    assert Identity(tmp_path).known() is None
    public = enrolled(tmp_path)
    known = Identity(tmp_path).known()
    assert known
    assert (known[0], known[1].public) == (OLD, public)
    assert Identity(tmp_path).card() == OLD
    assert Identity(tmp_path).begun()
    assert "0123456789" not in repr(CLAIM)
    assert "PRIVATE" not in repr(known[1])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for others")
def test_what_root_writes_belongs_to_the_folder_s_owner(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    Identity(tmp_path).put_claim(CLAIM)
    enrolled(tmp_path)
    assert {one.stat().st_uid for one in tmp_path.iterdir()} == {65534}


def test_the_next_key_is_one_key_until_it_is_taken(tmp_path: Path) -> None:
    old = enrolled(tmp_path)
    new = Identity(tmp_path).next_key().public
    assert Identity(tmp_path).next_key().public == new != old
    known = Identity(tmp_path).known()
    assert known
    assert known[1].public == old
    Identity(tmp_path).take_key()
    known = Identity(tmp_path).known()
    assert known
    assert known[1].public == new
    assert not Identity(tmp_path).has_next_key()


def test_a_power_cut_at_any_call_leaves_the_old_identity_or_the_new_one(tmp_path: Path) -> None:
    outcomes = []
    for calls in range(60):
        folder = tmp_path / str(calls)
        folder.mkdir()
        old = enrolled(folder)
        Identity(folder).put_claim(CLAIM)
        new = Identity(folder).next_key().public
        try:
            Identity(folder, CutDisk(calls)).enrolled(NEW)
            done = True
        except PowerCut:
            done = False
        after = Identity(folder)
        known = after.known()
        assert known
        assert (known[0], known[1].public) in ((OLD, old), (NEW, new))
        claim = after.claim()
        assert claim in (CLAIM, None)
        assert claim or known[0] == NEW, "the claim is there until it has been used"
        assert not list(folder.glob("*.bad-*"))
        outcomes.append(known[0] == NEW)
        if done:
            break
    assert done
    assert claim is None
    assert outcomes == sorted(outcomes), "once it is new it stays new"
    assert 5 < len(outcomes) < 60
    assert outcomes[0] is False


def test_a_claim_is_overwritten_before_it_is_removed(tmp_path: Path) -> None:
    Identity(tmp_path).put_claim(CLAIM)
    os.link(tmp_path / "claim.json", tmp_path / "same-bytes")
    Identity(tmp_path).destroy_claim()
    assert not (tmp_path / "claim.json").exists()
    assert set((tmp_path / "same-bytes").read_bytes()) == {0}
    Identity(tmp_path).destroy_claim()  # there is none: nothing to do
    destroy(tmp_path / "same-bytes")
    assert not list(tmp_path.iterdir())


def test_a_refused_claim_lies_aside(tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    identity.put_claim(CLAIM)
    assert identity.refuse_claim() == "claim.json.refused"
    assert identity.claim() is None
    assert identity.begun()
    assert json.loads((tmp_path / "claim.json.refused").read_text())["claim"] == CLAIM.claim


@pytest.mark.parametrize("name", ["identity.key", "identity.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\0" * 200, b'{"version":2}', b"x" * 20_000])
def test_a_broken_file_is_set_aside_and_told(
    tmp_path: Path, name: str, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    enrolled(tmp_path)
    (tmp_path / name).write_bytes(content)
    assert Identity(tmp_path).known() is None
    assert Identity(tmp_path).begun()
    assert (tmp_path / f"{name}.bad-1").read_bytes() == content
    assert f"{name} cannot be used: kept as {name}.bad-1" in caplog.text


def test_a_key_of_another_kind_is_set_aside(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key  # noqa: PLC0415

    enrolled(tmp_path)
    pem = generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "identity.key").write_bytes(pem)
    assert Identity(tmp_path).known() is None
    assert (tmp_path / "identity.key.bad-1").exists()


def test_a_full_card_is_one_line_that_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=rf"{tmp_path} cannot be written \(No space left on device\)"):
        Identity(tmp_path, FullDisk()).next_key()
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="cannot be written"), Identity(tmp_path / "file").locked():
        pass


def test_one_at_a_time(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    with Identity(tmp_path).locked(), pytest.raises(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)


def test_a_claim_is_read_as_a_file_or_alone() -> None:
    url = "https://own.example"
    assert read_claim('{"url": "https://c.example", "claim": "x"}\n', url) == Claim("https://c.example", "x")
    assert read_claim(" pressel_claim_1\n", url) == Claim(url, "pressel_claim_1")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "two words",
            "ü",
            '{"claim": "x"}',
            '{"url": "https://x"}',
            '{"url": "https://x", "claim": ""}',
        ),
        *(
            f'{{"url": "{url}", "claim": "x"}}'
            for url in ("ftp://x", "https://", "https://[x", "https://x:99999")
        ),
    ],
)
def test_what_is_no_claim_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_claim(text, "https://own.example")


def test_the_serial_number_is_the_board_s_or_made_from_the_machine_s_id(tmp_path: Path) -> None:
    assert serial_number(tmp_path) == ""
    assert model_name(tmp_path) == ""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    made = serial_number(tmp_path)
    assert len(made) == 16
    assert made not in "0123456789abcdef0123456789abcdef"
    base = tmp_path / "sys/firmware/devicetree/base"
    base.mkdir(parents=True)
    (base / "serial-number").write_bytes(b"1000 0000\nabcdef01\0")
    (base / "model").write_bytes(b"Raspberry Pi 4 Model B\xff Rev 1.4\0")
    assert serial_number(tmp_path) == "10000000abcdef01"
    assert model_name(tmp_path) == "Raspberry Pi 4 Model B Rev 1.4"
