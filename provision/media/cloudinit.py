"""cloud-init's three files on the boot partition, as current Raspberry Pi OS reads them (NoCloud).

JSON is YAML, so that nothing needs quoting by hand. cloud-init applies user-data once for each `instance-id`,
which it looks for in cmdline.txt (`ds=nocloud;i=…`) before meta-data: both say the same.
docs.cloud-init.io: reference/datasources/nocloud; netplan.readthedocs.io: netplan-yaml.
"""

from __future__ import annotations

import json
import re
import secrets
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provision.media.settings import Settings

MARK = "# Written by pressel-fleet media."
_GROUPS = ["adm", "audio", "gpio", "i2c", "netdev", "plugdev", "render", "spi", "sudo", "users", "video"]
_INSTANCE = re.compile(r"^instance-id: (pressel-\S+)$", re.MULTILINE)


def user_data(settings: Settings, first_boot: str) -> str:
    """Return user-data: name, login and time zone, and `first_boot`, the script's path on the device."""
    values = {
        "hostname": settings.name,
        "manage_etc_hosts": True,
        "timezone": settings.timezone,
        "users": [
            {
                "name": settings.user,
                "groups": _GROUPS,
                "shell": "/bin/bash",
                "lock_passwd": True,
                # A login without a password cannot be asked for one.
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "ssh_authorized_keys": list(settings.keys),
            }
        ],
        "ssh_pwauth": False,
        "apt": {"preserve_sources_list": True},
        "runcmd": [
            ["systemctl", "enable", "--now", "ssh"],
            ["bash", first_boot, "--enable"],
            # The unit waits for the network, and cloud-init must not wait for the unit.
            ["systemctl", "start", "--no-block", "pressel-first-boot.service"],
        ],
    }
    return f"#cloud-config\n{MARK}\n{_yaml(values)}"


def network_config(settings: Settings) -> str:
    """Return network-config: the cable, and the radio network where there is one."""
    network: dict[str, Any] = {
        "version": 2,
        "ethernets": {"eth0": {"dhcp4": True, "dhcp6": True, "optional": True}},
    }
    if wifi := settings.wifi:
        point: dict[str, Any] = {"hidden": True} if wifi.hidden else {}
        point |= {"password": wifi.psk} if wifi.psk else {"auth": {"key-management": "none"}}
        network["wifis"] = {
            "wlan0": {
                "dhcp4": True,
                "dhcp6": True,
                "optional": True,
                "regulatory-domain": wifi.country,
                "access-points": {wifi.ssid: point},
            }
        }
    return f"{MARK}\n{_yaml({'network': network})}"


def meta_data(instance: str) -> str:
    """Return meta-data; "local" has user-data acted upon before the network is up."""
    return f"{MARK}\ndsmode: local\ninstance-id: {instance}\n"


def instance_in(meta: str) -> str:
    """Return the instance id that an earlier run gave, or ""."""
    found = _INSTANCE.search(meta)
    return found[1] if found else ""


def new_instance(name: str) -> str:
    """Return an instance id that no machine has had. It says nothing of what the files hold."""
    return f"pressel-{name}-{secrets.token_hex(6)}"


def cmdline(line: str, instance: str, country: str) -> str:
    """Return cmdline.txt with this instance and this radio regulation, the rest of its words kept."""
    words = [word for word in line.split() if not word.startswith("ds=nocloud")]
    if country:
        words = [word for word in words if not word.startswith("cfg80211.ieee80211_regdom=")]
        words.append(f"cfg80211.ieee80211_regdom={country}")
    return " ".join([*words, f"ds=nocloud;i={instance}"]) + "\n"


def is_stock(user: str, network: str) -> bool:
    """Whether both files are an image's own or ours, not somebody's settings."""
    return _says_nothing(user, _STOCK_USER) and _says_nothing(network, _STOCK_NETWORK)


def _says_nothing(text: str, stock: set[str]) -> bool:
    if MARK in text.splitlines()[:2]:
        return True
    lines = {line.strip() for line in text.splitlines()}
    return all(not line or line.startswith("#") or line in stock for line in lines)


def _yaml(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


_STOCK_USER = {"ssh_pwauth: false"}
_STOCK_NETWORK = {
    "network:",
    "version: 2",
    "ethernets:",
    "eth0:",
    "dhcp4: true",
    "dhcp6: true",
    "optional: true",
}
