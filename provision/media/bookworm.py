"""First-start settings of Raspberry Pi OS Bookworm: custom.toml, and firstrun.sh through cmdline.txt.

custom.toml holds the settings: the image's first start reads and deletes it (init_config of Raspberry Pi's
package raspberrypi-sys-mods). It cannot run a program; systemd can: `systemd.run=` in cmdline.txt makes the
second start one that runs a script and nothing else (systemd-run-generator(8)). No network is up then, so
the script only enables a unit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provision import toml

if TYPE_CHECKING:
    from provision.media.settings import Settings

MARK = "# Written by pressel-fleet media."
FIRSTRUN = "/boot/firmware/firstrun.sh"
_HOOK = [
    f"systemd.run={FIRSTRUN}",
    "systemd.run_success_action=reboot",
    "systemd.run_failure_action=reboot",
    "systemd.unit=kernel-command-line.target",
]


def custom_toml(settings: Settings) -> str:
    """Return custom.toml. A user without a password is locked; the keys open SSH."""
    values: dict[str, Any] = {
        "config_version": 1,
        "system": {"hostname": settings.name},
        "user": {"name": settings.user},
        "ssh": {
            "enabled": True,
            "password_authentication": False,
            "authorized_keys": list(settings.keys),
        },
        "locale": {"timezone": settings.timezone},
    }
    if wifi := settings.wifi:
        values["wlan"] = {"ssid": _in_key_file(wifi.ssid), "country": wifi.country, "hidden": wifi.hidden}
        if wifi.psk:
            values["wlan"] |= {"password": wifi.psk, "password_encrypted": True}
    return f"{MARK}\n{toml.dumps(values)}"


def _in_key_file(ssid: str) -> str:
    """Return a name as the image must be told it: it is copied into a key file, whose escapes GLib reads."""
    escaped = ssid.replace("\\", "\\\\")
    blanks = len(escaped) - len(escaped.lstrip(" "))
    return "\\s" * blanks + escaped[blanks:]


def firstrun(first_boot: str) -> str:
    """Return firstrun.sh, which enables `first_boot` and takes itself out: whatever fails, it runs once."""
    return f"""#!/bin/sh
{MARK}
sed -i 's| systemd\\.[^ ]*||g' /boot/firmware/cmdline.txt
rm -f {FIRSTRUN}
bash {first_boot} --enable
sync
"""


def cmdline(line: str, country: str) -> str:
    """Return cmdline.txt that runs firstrun.sh at the second start, the rest of its words kept."""
    words = [word for word in line.split() if word not in _HOOK]
    if country:
        words = [word for word in words if not word.startswith("cfg80211.ieee80211_regdom=")]
        words.append(f"cfg80211.ieee80211_regdom={country}")
    return " ".join([*words, *_HOOK]) + "\n"


def is_stock(custom: str, script: str, line: str) -> bool:
    """Whether none of the three is somebody's settings."""
    ours = all(not text or MARK in text.splitlines()[:2] for text in (custom, script))
    return ours and all(word in _HOOK for word in line.split() if word.startswith("systemd.run"))
