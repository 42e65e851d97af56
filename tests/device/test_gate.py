"""The gate: verdicts on what a daemon may do, and a look at real sockets and a real daemon."""

from __future__ import annotations

import json
import threading
import time
import wave
from typing import TYPE_CHECKING, Any, Self

import pytest

from device.cli import main
from device.gate import Sample, judge, watch_over
from device.system.control import ControlServer
from rig.processes import Companion, Device, wav_audio
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KNOWN = {"ok": True, "device": "kitchen"}


def seen(
    *,
    captured: float = 50,
    played: float = 50,
    rests: bool = False,
    faults: dict[str, str] | None = None,
    seconds: int = 10,
) -> list[Sample]:
    """What a daemon says once a second."""
    return [
        Sample(
            100.0 + at,
            {
                "uptime_s": 5.0 + at,
                "faults": (faults or {}) if at == seconds else {},
                "version": "1.2.3",
                "speaker_rests": rests,
                "counters": {"frames_captured": int(at * captured), "frames_played": int(at * played)},
            },
        )
        for at in range(seconds + 1)
    ]


def test_a_good_daemon_passes_with_its_figures() -> None:
    verdict = judge(seen(), KNOWN)
    assert verdict.facts() == {
        "ok": True,
        "reasons": [],
        "notes": [],
        "blocks_per_s": 50.0,
        "device": "kitchen",
        "version": "1.2.3",
    }


@pytest.mark.parametrize(
    ("samples", "known", "reason"),
    [
        (seen(captured=44), KNOWN, "the microphone gives 44.0 blocks a second where 50 belong"),
        (seen(captured=56), KNOWN, "the microphone gives 56.0 blocks a second where 50 belong"),
        (seen(captured=0), KNOWN, "the microphone gives 0.0 blocks"),
        (seen(played=0), KNOWN, "the speaker takes 0.0 blocks a second"),
        (seen(faults={"speaker": "it is missing"}), KNOWN, "it is in a fault: it is missing"),
        (seen(), {"ok": False, "error": "it is unknown there"}, "the companion: it is unknown there"),
        (
            [*seen(), Sample(111.0, None, "pressel is not running")],
            KNOWN,
            "it does not answer: pressel is not",
        ),
        ([Sample(100.0, None, "nobody listens")], KNOWN, "it does not answer: nobody listens"),
        (seen(seconds=0), KNOWN, "it answered once only"),
        ([*seen(), *seen()], KNOWN, "it was started again meanwhile"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_else(
    samples: list[Sample], known: dict[str, Any], reason: str
) -> None:
    verdict = judge(samples, known)
    assert len(verdict.reasons) == 1
    assert verdict.reasons[0].startswith(reason)


def test_every_reason_is_told() -> None:
    faults = {"its sound": "it is dead", "speaker": "it is missing", "store": "it is full"}
    verdict = judge(seen(captured=0, played=0, faults=faults), {"ok": False, "error": "y"})
    assert len(verdict.reasons) == 5


@pytest.mark.parametrize("rate", [45.5, 54.5])
def test_a_clock_may_be_a_tenth_off(rate: float) -> None:
    assert judge(seen(captured=rate), KNOWN).reasons == []


def test_a_speaker_that_rests_need_not_move() -> None:
    assert judge(seen(played=0, rests=True), KNOWN).reasons == []


def test_a_backend_that_cannot_be_asked_is_no_reason() -> None:
    verdict = judge(seen(), {"ok": True, "device": None, "note": "cannot be asked"})
    assert (verdict.reasons, verdict.notes) == ([], ["cannot be asked"])


def test_a_microphone_that_its_owner_switched_off_is_no_reason_but_told() -> None:
    verdict = judge(seen(faults={"its sound": "it gives nothing but zeros"}), KNOWN)
    assert (verdict.reasons, verdict.notes) == ([], ["it gives nothing but zeros"])


class Daemon:
    """Answers status and check on a control socket; its clocks run at `rate` blocks a second."""

    def __init__(self, path: Path, rate: float = 50, checks: list[dict[str, Any]] | None = None) -> None:
        self.rate, self.checks = rate, checks or [KNOWN]
        self.began = time.monotonic()
        self.server = ControlServer(path, self.answer)

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()

    def answer(self, request: dict[str, Any]) -> dict[str, Any] | Callable[[], dict[str, Any]]:
        if request["cmd"] == "check":
            return lambda: self.checks.pop(0) if len(self.checks) > 1 else self.checks[0]
        uptime_s = time.monotonic() - self.began
        blocks = int(uptime_s * self.rate)
        counters = {"frames_captured": blocks, "frames_played": blocks}
        more = {"faults": {}, "version": "1", "speaker_rests": False, "counters": counters}
        return {"ok": True, "uptime_s": uptime_s, **more}


def test_a_daemon_is_watched_over_its_socket(tmp_path: Path) -> None:
    said: list[str] = []
    with Daemon(tmp_path / "s"):
        verdict = watch_over(tmp_path / "s", 2.0, said.append)
    assert verdict.reasons == []
    assert verdict.device == "kitchen"
    assert said[0] == "0 of 2 s"
    assert said[-1] == "asking the companion"


def test_a_companion_that_is_reached_only_later_is_asked_again(tmp_path: Path) -> None:
    with Daemon(tmp_path / "s", checks=[{"ok": False, "error": "no network"}, KNOWN]):
        assert watch_over(tmp_path / "s", 1.0, lambda _: None).reasons == []


def test_one_that_does_not_come_up_is_waited_for_and_then_named(tmp_path: Path) -> None:
    began = time.monotonic()
    verdict = watch_over(tmp_path / "s", 60.0, lambda _: None, patience_s=0.5)
    assert "pressel is not running" in verdict.reasons[0]
    assert time.monotonic() - began < 10


def test_one_that_comes_up_late_is_watched_from_then_on(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "s")
    timer = threading.Timer(0.5, daemon.server.start)
    timer.start()
    try:
        assert watch_over(tmp_path / "s", 1.0, lambda _: None).reasons == []
    finally:
        timer.join()
        daemon.server.close()


def test_a_real_daemon_passes_until_its_companion_no_longer_knows_it(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "mic.wav"), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", "not compressed"))
    audio = wav_audio(tmp_path / "mic.wav", tmp_path / "speaker.wav")
    audio = audio.replace("[audio.input]\n", "[audio.input]\ndead_after_s = 1\n")
    with (
        Companion(tmp_path / "c") as companion,
        Device(tmp_path / "d", companion, audio) as device,
    ):
        until(lambda: device.ask("status")["faults"])
        verdict = watch_over(device.socket, 3.0, lambda _: None, patience_s=5.0)
        assert verdict.reasons == []
        assert "nothing but zeros" in verdict.notes[0]
        assert verdict.device == "demo-device"
        companion.stop()
        verdict = watch_over(device.socket, 1.0, lambda _: None, patience_s=1.0)
        assert len(verdict.reasons) == 1
        assert "cannot be reached" in verdict.reasons[0]


@pytest.mark.parametrize(("rate", "status"), [(50, 0), (30, 1)])
def test_the_command_tells_machines_and_people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rate: float, status: int
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        f'board = "simulated"\n[backend]\nurl = "http://127.0.0.1:1"\n[state]\ndir = "{tmp_path}"\n'
    )
    with Daemon(tmp_path / "control.sock", rate):
        assert main(["gate", "--seconds", "1", "--config", str(config), "--json"]) == status
        facts = json.loads(capsys.readouterr().out)
        assert facts["ok"] is (status == 0)
        assert main(["gate", "--seconds", "1", "--config", str(config)]) == status
        told = capsys.readouterr().out
    assert ("fit: version 1" if status == 0 else "the microphone gives") in told
    assert len(told.splitlines()) == len(facts["reasons"]) + (status == 0)


@pytest.mark.parametrize("text", ["0", "nan", "soon", "-1"])
def test_a_length_that_makes_no_sense_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["gate", f"--seconds={text}"])
    assert ended.value.code == 2
    assert "--seconds" in capsys.readouterr().err
