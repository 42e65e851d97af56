"""Keys on both sides, before anybody is called."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import msgspec
import pytest

from provision.errors import InventoryError
from provision.fleet.ssh import check_keys
from tests.provision.targets import target

if TYPE_CHECKING:
    from pathlib import Path


def test_a_missing_key_is_refused_and_known_hosts_are_made_for_the_owner_alone(tmp_path: Path) -> None:
    one = target(tmp_path)
    check_keys([one])
    assert (tmp_path / "known_hosts").stat().st_mode & 0o777 == 0o600
    other = msgspec.structs.replace(one.ssh, key_file=str(tmp_path / "none"))
    with pytest.raises(InventoryError, match=r"hall: ssh.key_file .*/none is missing"):
        check_keys([dataclasses.replace(one, ssh=other)])


@pytest.mark.parametrize(
    "line",
    [
        "h ssh-ed25519 notbase64",
        "h ssh-ed25519",
        "rubbish",
        "@revoked h ssh-ed25519 AAAA",
        "h ssh-ed25519 AAAA",
        "h ssh-foo AAAA",
        "\0",
    ],
)
def test_a_damaged_known_hosts_is_refused_since_what_comes_after_it_would_count_as_new(
    tmp_path: Path, line: str
) -> None:
    (tmp_path / "known_hosts").write_text(f"# mine\n\n{line}\n")
    with pytest.raises(InventoryError, match=r"known_hosts: line 3 is no host key: remove or mend it"):
        check_keys([target(tmp_path)])


def test_a_known_hosts_of_keys_is_taken(tmp_path: Path) -> None:
    key = "AAAAC3NzaC1lZDI1NTE5AAAAIIT8wbenWXDC1rPeGOSIBmuqmHmRliK7Ys3cu88s6hS1"
    (tmp_path / "known_hosts").write_text(f"[h]:2222,h ssh-ed25519 {key} hall\n|1|a=|b= ssh-ed25519 {key}\n")
    check_keys([target(tmp_path)])
