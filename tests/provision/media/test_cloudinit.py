"""What cloud-init is told: its three files, and the instance that cmdline.txt names, too."""

from __future__ import annotations

import json
from typing import Any

from provision.media import cloudinit
from provision.media.settings import Settings, Wifi
from tests.provision.cards import KEY, TRIXIE_LINE

SETTINGS = Settings(
    "kitchen-1", "ops", (KEY,), "Europe/Berlin", Wifi("Café", "DE", hidden=False, psk="ab" * 32)
)


def values(text: str) -> dict[str, Any]:
    """Return what stands in a file: its lines after the comments are JSON, which is YAML."""
    return dict(json.loads("\n".join(line for line in text.splitlines() if not line.startswith("#"))))


def with_wifi(wifi: Wifi | None) -> Settings:
    return Settings("kitchen-1", "ops", (KEY,), "Europe/Berlin", wifi)


def test_user_data_begins_as_cloud_init_demands() -> None:
    assert cloudinit.user_data(SETTINGS, "/x.sh").startswith("#cloud-config\n")


def test_the_login_has_keys_and_no_password() -> None:
    told = values(cloudinit.user_data(SETTINGS, "/x.sh"))
    assert (told["hostname"], told["timezone"], told["ssh_pwauth"]) == ("kitchen-1", "Europe/Berlin", False)
    (user,) = told["users"]
    assert (user["name"], user["lock_passwd"], user["ssh_authorized_keys"]) == ("ops", True, [KEY])


def test_the_first_boot_script_is_enabled_and_started() -> None:
    commands = values(cloudinit.user_data(SETTINGS, "/boot/x.sh"))["runcmd"]
    assert ["bash", "/boot/x.sh", "--enable"] in commands
    assert commands[-1] == ["systemctl", "start", "--no-block", "pressel-first-boot.service"]


def test_the_network_is_the_cable_and_the_radio() -> None:
    network = values(cloudinit.network_config(SETTINGS))["network"]
    assert network["ethernets"]["eth0"]["dhcp4"] is True
    assert network["wifis"]["wlan0"]["regulatory-domain"] == "DE"
    assert network["wifis"]["wlan0"]["access-points"] == {"Café": {"password": "ab" * 32}}


def test_hidden_and_open_networks_say_so() -> None:
    for wifi, point in (
        (Wifi("den", "GB", hidden=True, psk="cd" * 32), {"hidden": True, "password": "cd" * 32}),
        (Wifi("guests", "FR", hidden=False, psk=""), {"auth": {"key-management": "none"}}),
    ):
        network = values(cloudinit.network_config(with_wifi(wifi)))["network"]
        assert network["wifis"]["wlan0"]["access-points"] == {wifi.ssid: point}


def test_without_wifi_there_is_the_cable_alone() -> None:
    assert "wifis" not in values(cloudinit.network_config(with_wifi(None)))["network"]


def test_the_instance_is_found_again_and_never_the_same_twice() -> None:
    instance = cloudinit.new_instance("kitchen-1")
    assert instance != cloudinit.new_instance("kitchen-1")
    assert cloudinit.instance_in(cloudinit.meta_data(instance)) == instance
    assert cloudinit.instance_in("dsmode: local\ninstance_id: rpios-image\n") == ""
    assert cloudinit.instance_in("instance-id: rpi-imager-1784124660514\n") == ""


def test_the_kernel_command_line_names_the_instance_once() -> None:
    line = cloudinit.cmdline(TRIXIE_LINE, "pressel-a", "DE")
    assert line == TRIXIE_LINE.rstrip() + " cfg80211.ieee80211_regdom=DE ds=nocloud;i=pressel-a\n"
    again = cloudinit.cmdline(line, "pressel-b", "FR")
    assert again == TRIXIE_LINE.rstrip() + " cfg80211.ieee80211_regdom=FR ds=nocloud;i=pressel-b\n"


def test_another_tools_instance_gives_way_and_its_country_stays_without_wifi() -> None:
    line = cloudinit.cmdline("a=1 cfg80211.ieee80211_regdom=US ds=nocloud;i=rpi-imager-17\n", "pressel-a", "")
    assert line == "a=1 cfg80211.ieee80211_regdom=US ds=nocloud;i=pressel-a\n"


def test_an_images_own_files_and_ours_are_nobodys_settings() -> None:
    ours = cloudinit.user_data(SETTINGS, "/x.sh"), cloudinit.network_config(SETTINGS)
    assert cloudinit.is_stock(*ours)
    cable = "network:\n  version: 2\n  ethernets:\n    eth0:\n      dhcp4: true\n      optional: true\n"
    assert cloudinit.is_stock("#cloud-config\n\n#hostname: x\nssh_pwauth: false\n", cable)


def test_somebodys_settings_are_seen() -> None:
    assert not cloudinit.is_stock("#cloud-config\nhostname: mine\n", "")
    assert not cloudinit.is_stock("#cloud-config\n", "network:\n  version: 2\n  wifis:\n")
