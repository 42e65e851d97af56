"""pressel-fleet status: how each device goes, as it says itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from provision import inventory
from provision.fleet.facts import Health, json_of
from provision.fleet.report import asking, print_table
from provision.fleet.ssh import Session

if TYPE_CHECKING:
    import argparse

_HEAD = ("device", "version", "service", "state", "connected", "up", "disk free", "last fault")
_DAY_S = 86_400


def main(options: argparse.Namespace) -> int:
    """Run the command and return its exit status: 0 when every device runs and is connected."""
    fleet = inventory.load(options.inventory)
    targets = fleet.select(options.limit)
    with asking(len(targets)) as asked, Session(targets, options.parallel) as session:
        found = session.facts(Health, asked)
    devices = [
        condition(target.name, found[target.name])
        if target.name in found
        else {"name": target.name, "reachable": False, "error": session.failures[target.name]}
        for target in targets
    ]
    well = all(device.get("service") == "active" and device.get("connected") for device in devices)
    if options.json:
        print(json.dumps({"fleet": fleet.settings.name, "ok": well, "devices": devices}))
    else:
        print_table(_HEAD, [_row(device) for device in devices])
    return 0 if well else 1


def condition(name: str, found: dict[str, str]) -> dict[str, Any]:
    """Return a device's facts under plain names; None for what is not known."""
    status, check = json_of(found, "status"), json_of(found, "check")
    return {
        "name": name,
        "reachable": True,
        "version": found.get("current"),
        "previous": found.get("previous"),
        "service": found.get("service") or "unknown",
        "state": status.get("state"),
        "connected": check.get("ok") if check else None,
        "connected_as": check.get("device"),
        "fault": status.get("fault") or check.get("error"),
        "uptime_s": _whole(found.get("up_s")),
        "service_uptime_s": status.get("uptime_s"),
        "restarts": _whole(found.get("restarts")),
        "disk_free_mb": _whole(found.get("disk_free_mb")),
        "reboot_needed": "reboot" in found,
        "trial": "trial" in found,
    }


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _row(device: dict[str, Any]) -> tuple[str, ...]:
    if not device["reachable"]:
        return (device["name"], "", "unreachable", "", "", "", "", str(device["error"]))
    connected = {True: "yes", False: "no", None: "?"}[device["connected"]]
    free = "?" if device["disk_free_mb"] is None else f"{device['disk_free_mb']} MB"
    state = device["state"] or "?"
    fault = device["fault"] or ("reboot needed" if device["reboot_needed"] else "-")
    up = duration(device["uptime_s"])
    return (
        device["name"],
        device["version"] or "-",
        device["service"],
        state,
        connected,
        up,
        free,
        str(fault),
    )


def duration(seconds: int | None) -> str:
    """Return a time in its two largest units."""
    if seconds is None:
        return "?"
    if seconds >= _DAY_S:
        return f"{seconds // _DAY_S} d {seconds % _DAY_S // 3600} h"
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 60} min {seconds % 60} s"
