"""What a device is told, from the inventory: keys and radio network, each checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provision.errors import MediaError
from provision.inventory import Fleet, load
from provision.media import settings
from tests.provision import cards

if TYPE_CHECKING:
    from pathlib import Path


def fleet(folder: Path, *, wifi: str = "default", replace: tuple[str, str] = ("", "")) -> Fleet:
    """Return the inventory's fleet, with one text in its file replaced."""
    file = cards.inventory(folder, wifi=wifi)
    file.write_text(file.read_text().replace(*replace))
    return load(file)


def test_the_wifi_key_is_that_of_the_standard() -> None:
    # IEEE 802.11i-2004, H.4.3: the standard's own examples.
    assert (
        settings.psk("IEEE", "password") == "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"
    )
    assert (
        settings.psk("ThisIsASSID", "ThisIsAPassword")
        == "0dc0d6eb90555ed6419756b9a15ec3e3209b63df707dd508d14581f8982721af"
    )


def test_login_time_zone_and_network_are_gathered(tmp_path: Path) -> None:
    told = settings.gather(fleet(tmp_path), "kitchen-1")
    assert (told.name, told.user, told.keys, told.timezone) == (
        "kitchen-1",
        "ops",
        (cards.KEY,),
        "Europe/Berlin",
    )
    assert told.wifi is not None
    assert (told.wifi.ssid, told.wifi.country, told.wifi.hidden) == ("Café", "DE", False)
    assert told.wifi.psk == settings.psk("Café", cards.PASSPHRASE)


def test_no_repr_shows_the_wifi_key(tmp_path: Path) -> None:
    told = settings.gather(fleet(tmp_path), "kitchen-1")
    assert told.wifi is not None
    assert told.wifi.psk not in repr(told)


def test_an_open_network_and_none(tmp_path: Path) -> None:
    guests = settings.gather(fleet(tmp_path, wifi="open"), "kitchen-1").wifi
    assert guests is not None
    assert guests.psk == ""
    assert settings.gather(fleet(tmp_path, wifi="none"), "kitchen-1").wifi is None


def test_a_key_of_64_digits_is_taken_as_it_is(tmp_path: Path) -> None:
    owners = fleet(tmp_path)
    (tmp_path / "secrets/wifi").write_text("AB" * 32)
    told = settings.gather(owners, "kitchen-1")
    assert told.wifi is not None
    assert told.wifi.psk == "ab" * 32


def test_a_passphrase_may_begin_and_end_with_blanks(tmp_path: Path) -> None:
    owners = fleet(tmp_path)
    (tmp_path / "secrets/wifi").write_bytes(b"  two words \r\n")
    told = settings.gather(owners, "kitchen-1")
    assert told.wifi is not None
    assert told.wifi.psk == settings.psk("Café", "  two words ")


@pytest.mark.parametrize("password", ["short", "x" * 65, "pässwörter"])
def test_what_is_no_passphrase_is_refused_without_being_quoted(tmp_path: Path, password: str) -> None:
    owners = fleet(tmp_path)
    (tmp_path / "secrets/wifi").write_text(password)
    with pytest.raises(MediaError, match="8 to 63 plain characters") as refused:
        settings.gather(owners, "kitchen-1")
    assert password not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n", "is a private key: name the one that ends in .pub"),
        ("hello\n", "no public SSH key"),
        (f"{cards.KEY[:60]}\n", "no public SSH key"),
        (cards.KEY.replace("ssh-ed25519", "ssh-rsa"), "no public SSH key"),
        ("ssh-ed25519 AAAA owner\n", "no public SSH key"),
    ],
)
def test_what_is_no_public_key_is_refused(tmp_path: Path, text: str, says: str) -> None:
    owners = fleet(tmp_path)
    (tmp_path / "id.pub").write_text(text)
    with pytest.raises(MediaError, match=says):
        settings.gather(owners, "kitchen-1")


def test_a_key_file_that_is_missing_is_named(tmp_path: Path) -> None:
    owners = fleet(tmp_path)
    (tmp_path / "id.pub").unlink()
    with pytest.raises(MediaError, match=r"authorized_keys_files: .*id\.pub is missing"):
        settings.gather(owners, "kitchen-1")


def test_an_unknown_time_zone_gets_the_nearest(tmp_path: Path) -> None:
    owners = fleet(tmp_path, replace=("Europe/Berlin", "Europe/Berlyn"))
    with pytest.raises(MediaError, match="Europe/Berlin"):
        settings.gather(owners, "kitchen-1")
