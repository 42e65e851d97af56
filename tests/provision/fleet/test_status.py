"""A device's condition from its facts."""

from __future__ import annotations

import pytest

from provision.fleet.status import condition, duration
from tests.provision.targets import b64


def test_everything_known_has_a_plain_name() -> None:
    found = {
        "current": "2.0",
        "previous": "1.0",
        "service": "active",
        "status": b64('{"state": "ready", "fault": null, "uptime_s": 12.5}'),
        "check": b64('{"ok": true, "device": "hall"}'),
        "up_s": "90061",
        "restarts": "3",
        "disk_free_mb": "900",
    }
    facts = condition("hall", found)
    assert facts["version"] == "2.0"
    assert (facts["state"], facts["connected"], facts["connected_as"]) == ("ready", True, "hall")
    assert (facts["uptime_s"], facts["restarts"], facts["disk_free_mb"]) == (90061, 3, 900)
    assert facts["fault"] is None
    assert facts["reboot_needed"] is False


def test_what_a_bare_machine_does_not_say_is_none() -> None:
    facts = condition("hall", {"service": "", "up_s": "x"})
    assert facts["service"] == "unknown"
    assert [facts[key] for key in ("version", "state", "connected", "fault", "uptime_s")] == [None] * 5


def test_the_companions_refusal_is_the_fault_when_there_is_no_other() -> None:
    refused = b64('{"ok": false, "error": "unauthorized"}')
    assert condition("hall", {"check": refused})["fault"] == "unauthorized"
    deaf = b64('{"fault": "no card"}')
    assert condition("hall", {"check": refused, "status": deaf})["fault"] == "no card"
    assert condition("hall", {"check": refused})["connected"] is False


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "?"), (59, "0 min 59 s"), (3600, "1 h 0 min"), (90_061, "1 d 1 h")],
)
def test_times_have_two_units(seconds: int | None, text: str) -> None:
    assert duration(seconds) == text
