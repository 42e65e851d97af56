"""The fake chip under the real RPi.GPIO package: what a program reads, writes and is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from rig.gpio import chip

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(chip.missing() is not None, reason=str(chip.missing()))

PROGRAM = """
import json, sys, threading, time
from RPi import GPIO
GPIO.setmode(GPIO.BCM)
GPIO.setwarnings(False)
def tell(**facts): print(json.dumps(facts), flush=True)
"""


def run(fake: chip.FakeChip, body: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM + body],
        env=os.environ | fake.env,
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


def hear(child: subprocess.Popen[str]) -> dict[str, Any]:
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line, "the program ended without an answer"
    facts: dict[str, Any] = json.loads(line)
    return facts


def finish(child: subprocess.Popen[str]) -> None:
    rest, _ = child.communicate(timeout=10)
    assert (child.returncode, rest) == (0, "")


def test_a_pulled_up_line_reads_high_until_it_is_driven(tmp_path: Path) -> None:
    with chip.FakeChip(tmp_path, held=(22,)) as fake:
        fake.press(23)
        child = run(
            fake,
            """
GPIO.setup([17, 22, 23], GPIO.IN, pull_up_down=GPIO.PUD_UP)
GPIO.setup(27, GPIO.IN, pull_up_down=GPIO.PUD_DOWN)
deadline = time.monotonic() + 10
while GPIO.input(23) and time.monotonic() < deadline: pass
tell(floating_up=GPIO.input(17), floating_down=GPIO.input(27), driven=GPIO.input(23), held=GPIO.input(22))
GPIO.cleanup()
""",
        )
        assert hear(child) == {"floating_up": 1, "floating_down": 0, "driven": 0, "held": 0}
        finish(child)


def test_edges_arrive_and_slipped_ones_do_not(tmp_path: Path) -> None:
    with chip.FakeChip(tmp_path) as fake:
        child = run(
            fake,
            """
GPIO.setup(23, GPIO.IN, pull_up_down=GPIO.PUD_UP)
GPIO.add_event_detect(23, GPIO.BOTH, callback=lambda line: tell(line=line, level=GPIO.input(line)))
tell(ready=True)
sys.stdin.read()
GPIO.cleanup()
""",
        )
        hear(child)
        fake.press(23)
        assert hear(child) == {"line": 23, "level": 0}
        fake.slip(23, 1)
        fake.press(23)
        fake.release(23)
        assert hear(child)["level"] in (0, 1)  # the press after the slip, read now or after the release
        assert hear(child) == {"line": 23, "level": 1}
        finish(child)


def test_outputs_are_logged_with_their_time(tmp_path: Path) -> None:
    with chip.FakeChip(tmp_path) as fake:
        child = run(
            fake,
            """
GPIO.setup(25, GPIO.OUT, initial=GPIO.LOW)
started = time.monotonic()
GPIO.output(25, 1)
tell(started=started, ended=time.monotonic())
GPIO.output(25, 0)
GPIO.cleanup()
""",
        )
        facts = hear(child)
        finish(child)
        assert [level for _, level in fake.outputs(25)] == [0, 1, 0]
        at = fake.outputs(25)[1][0]
        assert facts["started"] - 1e-5 <= at <= facts["ended"] + 1e-5
        assert fake.outputs(17) == []


def test_a_line_of_somebody_else_is_busy(tmp_path: Path) -> None:
    with chip.FakeChip(tmp_path, busy=(4, 23)) as fake:
        child = run(
            fake,
            """
for line in (4, 23, 24):
    try: GPIO.setup(line, GPIO.IN)
    except Exception as error: tell(line=line, error=str(error))
    else: tell(line=line, error=None)
GPIO.cleanup()
""",
        )
        assert [hear(child)["error"] for _ in range(3)] == ["'GPIO busy'", "'GPIO busy'", None]
        finish(child)
