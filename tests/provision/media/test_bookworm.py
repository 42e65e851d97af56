"""What Bookworm is told: custom.toml, a script for its second start, and how the kernel names that script."""

from __future__ import annotations

import re
import tomllib

import pytest

from provision.media import bookworm
from provision.media.settings import Settings, Wifi
from tests.provision.cards import BOOKWORM_LINE, KEY

SETTINGS = Settings(
    "kitchen-1", "ops", (KEY,), "Europe/Berlin", Wifi("Café", "DE", hidden=True, psk="ab" * 32)
)
KNOWN = {  # what the image's reader takes; it warns of any other key
    "system": {"hostname"},
    "user": {"name", "password", "password_encrypted"},
    "ssh": {"enabled", "password_authentication", "authorized_keys", "ssh_import_id"},
    "wlan": {"ssid", "password", "password_encrypted", "hidden", "country"},
    "locale": {"keymap", "timezone"},
}


def test_the_settings_are_in_keys_that_the_image_knows() -> None:
    told = tomllib.loads(bookworm.custom_toml(SETTINGS))
    assert told.pop("config_version") == 1
    for section, keys in told.items():
        assert keys.keys() <= KNOWN[section]
    assert told["system"] == {"hostname": "kitchen-1"}
    assert told["user"] == {"name": "ops"}  # no password: the image locks it
    assert told["ssh"] == {"enabled": True, "password_authentication": False, "authorized_keys": [KEY]}
    assert told["wlan"]["ssid"] == "Café"
    assert told["wlan"]["hidden"] is True
    assert (told["wlan"]["password"], told["wlan"]["password_encrypted"]) == ("ab" * 32, True)
    assert told["locale"] == {"timezone": "Europe/Berlin"}


@pytest.mark.parametrize(
    "ssid", [" lead", "  two", "back\\slash", "\\sfake", "plain", "a b ", "#1", 'quo"te', "Café"]
)
def test_a_network_s_name_is_what_networkmanager_reads_back(ssid: str) -> None:
    told = tomllib.loads(
        bookworm.custom_toml(Settings("a", "ops", (), "Etc/UTC", Wifi(ssid, "FR", False, "")))
    )
    line = f"ssid={told['wlan']['ssid']}"  # as the image writes it, and then GLib's rules for key files
    value = line.partition("=")[2].lstrip()
    read = re.sub(r"\\(.)", lambda found: {"s": " ", "\\": "\\"}[found[1]], value)
    assert read == ssid


def test_an_open_network_has_no_password_and_a_cable_no_network() -> None:
    guests = Settings("a", "ops", (), "Etc/UTC", Wifi("guests", "FR", hidden=False, psk=""))
    assert tomllib.loads(bookworm.custom_toml(guests))["wlan"] == {
        "ssid": "guests",
        "country": "FR",
        "hidden": False,
    }
    cable = Settings("a", "ops", (), "Etc/UTC", None)
    assert "wlan" not in tomllib.loads(bookworm.custom_toml(cable))


def test_the_second_start_runs_the_script_and_nothing_else() -> None:
    line = bookworm.cmdline(BOOKWORM_LINE, "DE")
    assert line.startswith(BOOKWORM_LINE.rstrip())
    assert line.count("\n") == 1
    words = line.split()
    assert "systemd.run=/boot/firmware/firstrun.sh" in words
    assert "systemd.unit=kernel-command-line.target" in words
    assert "cfg80211.ieee80211_regdom=DE" in words
    assert bookworm.cmdline(line, "DE") == line


def test_nobodys_settings_are_written_over() -> None:
    ours = (bookworm.custom_toml(SETTINGS), bookworm.firstrun("/x.sh"), bookworm.cmdline(BOOKWORM_LINE, "DE"))
    assert bookworm.is_stock("", "", BOOKWORM_LINE)
    assert bookworm.is_stock(*ours)
    assert not bookworm.is_stock("", "#!/bin/bash\nset +e\n", BOOKWORM_LINE)
    assert not bookworm.is_stock("[system]\nhostname = 'x'\n", "", BOOKWORM_LINE)
    assert not bookworm.is_stock("", "", f"{BOOKWORM_LINE.rstrip()} systemd.run=/boot/firstrun.sh\n")
