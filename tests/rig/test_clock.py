"""The wall clock that is set while a program runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from rig.clock import FakeClock, missing

if TYPE_CHECKING:
    from pathlib import Path

_PROGRAM = """
import datetime, sys, time
for _ in sys.stdin:
    now = datetime.datetime.now().timestamp()
    print(time.time(), now, time.mktime(time.localtime()), time.monotonic(), flush=True)
"""


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_a_running_program_sees_the_time_of_day_jump_and_the_monotonic_clock_go_on(tmp_path: Path) -> None:
    clock = FakeClock(tmp_path)
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", _PROGRAM]
    with subprocess.Popen(command, env=os.environ | clock.env, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdin
        assert child.stdout
        for offset_s in (0, 18_000, -36_000, 0):
            clock.set(offset_s)
            child.stdin.write("\n")
            child.stdin.flush()
            *wall, monotonic = map(float, child.stdout.readline().split())
            assert all(abs(at - time.time() - offset_s) < 5 for at in wall)
            assert abs(monotonic - time.monotonic()) < 5
        child.stdin.close()
