"""What hangs or dies on the virtual Pi is started again by its systemd, within its limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.appliance.vpi import PATIENCE_S, guest_seconds, talk, wait_until_ready
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rig.vpi.pi import Pi

pytestmark = pytest.mark.appliance

_DROP_IN = "/run/systemd/system/pressel.service.d/chaos.conf"
_PROCESS_S = 5.0  # the daemon's own limit for a part
_SYSTEMD_S = 10.0 + 2.0  # WatchdogSec, and from its SIGABRT to its SIGKILL
_START_S = 30.0  # in the guest's time: an emulated processor reads Python for 8 s


@pytest.fixture
def chaos(pi: Pi) -> Iterator[Pi]:
    yield pi
    pi.agent.run(f"rm -f {_DROP_IN}; systemctl daemon-reload; systemctl restart pressel")


def _restarts(pi: Pi) -> int:
    return int(pi.agent.run("systemctl show --value -p NRestarts pressel").output)


def _time_to_be_back(pi: Pi, restarts: int) -> float:
    began = guest_seconds(pi)
    until(lambda: _restarts(pi) > restarts, PATIENCE_S)
    wait_until_ready(pi)
    return guest_seconds(pi) - began


def test_one_that_was_killed_is_back_and_talks(pi: Pi) -> None:
    restarts = _restarts(pi)
    pi.agent.run("systemctl kill --signal=KILL --kill-who=main pressel")
    assert _time_to_be_back(pi, restarts) < 1.0 + _START_S
    assert "peter" in talk(pi, "my name is peter")


def test_one_that_is_frozen_as_a_whole_is_found_by_systemd(pi: Pi) -> None:
    restarts = _restarts(pi)
    pi.agent.run("systemctl kill --signal=STOP --kill-who=main pressel")
    assert _time_to_be_back(pi, restarts) < _SYSTEMD_S + _START_S
    assert "Watchdog timeout" in pi.agent.run("journalctl -b -u pressel -o cat").output


@pytest.mark.parametrize(("fault", "part"), [("capture.freeze", "microphone"), ("main.freeze", "main loop")])
def test_a_part_that_stands_still_ends_the_process(chaos: Pi, fault: str, part: str) -> None:
    run = "/opt/pressel/current/bin/pressel run --config /etc/pressel/config.toml"
    text = f'[Service]\nExecStart=\nExecStart={run} --chaos "{fault}@10"\n'
    chaos.agent.run(
        f"mkdir -p $(dirname {_DROP_IN}); cat > {_DROP_IN}; systemctl daemon-reload", text.encode()
    )
    chaos.agent.run("systemctl restart pressel")
    took = _time_to_be_back(chaos, 0)
    assert took < 10.0 + _PROCESS_S + 1.0 + _START_S
    assert "has stood still for" in chaos.agent.run("journalctl -b -u pressel -o cat").output, part
