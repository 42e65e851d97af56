"""The ring of the last events: bounded, on disk when it matters, without anybody's words."""

from __future__ import annotations

import json
import logging
import stat
from typing import TYPE_CHECKING, Any

from device.system.recent import MOST, Recent
from tests.servers import until

if TYPE_CHECKING:
    from pathlib import Path


def saved(path: Path) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(path.read_text())
    return whole


def test_the_last_200_are_written_with_their_times(tmp_path: Path) -> None:
    ring = Recent(tmp_path / "events.json")
    for number in range(MOST + 50):
        ring.note({"event": "state", "t": float(number), "at": 1e9 + number, "state": "ready"})
    ring.save("asked to stop")
    whole = saved(tmp_path / "events.json")
    assert whole["why"] == "asked to stop"
    assert [event["t"] for event in whole["events"]] == [float(number) for number in range(50, MOST + 50)]
    assert stat.S_IMODE((tmp_path / "events.json").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["events.json"]


def test_words_are_kept_as_their_number_and_secrets_not_at_all(tmp_path: Path) -> None:
    ring = Recent(tmp_path / "events.json")
    ring.note({"event": "transcript", "role": "user", "text": "my private words", "final": True})
    ring.note({"event": "restored", "turns": [{"role": "user", "text": "my private words"}]})
    ring.note({"event": "notice", "text": "wss://u:s3cretValue9@h refused\x1b[2J"})
    ring.save("x")
    text = (tmp_path / "events.json").read_text()
    assert "private" not in text
    assert "s3cretValue9" not in text
    said, restored, notice = saved(tmp_path / "events.json")["events"]
    assert said == {"event": "transcript", "role": "user", "characters": 16, "final": True}
    assert restored["turns"] == 1
    assert notice["text"].endswith("refused\\x1b[2J")


def test_warnings_of_the_log_are_kept_once(tmp_path: Path) -> None:
    ring = Recent(tmp_path / "events.json")
    log = logging.getLogger("device.test.recent")
    log.setLevel(logging.INFO)
    log.addHandler(ring)
    log.info("nothing of note")
    log.warning("%s is odd", "this")
    log.error("told as a notice", extra={"shown": True})
    try:
        (tmp_path / "none").read_text()
    except OSError:
        log.exception("it died")
    assert [event["text"] for event in ring.events()] == ["this is odd", "it died (FileNotFoundError)"]


def test_an_error_in_the_log_is_on_disk_when_the_call_returns(tmp_path: Path) -> None:
    ring = Recent(tmp_path / "events.json")
    log = logging.getLogger("device.test.recent.error")
    log.addHandler(ring)
    log.warning("not yet")
    assert not (tmp_path / "events.json").exists()
    log.error("the microphone has stood still")
    assert saved(tmp_path / "events.json")["why"] == "the microphone has stood still"
    log.error("a flood")
    assert len(saved(tmp_path / "events.json")["events"]) == 2


def test_what_the_run_before_left_is_kept_one_generation(tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    for run in ("first", "second", "third"):
        ring = Recent(path)
        ring.note({"event": run})
        ring.save("a fault")
        ring.save(run)
    assert saved(path)["why"] == "third"
    assert saved(tmp_path / "events.json.1")["why"] == "second"


def test_a_fault_is_written_soon_and_a_disk_that_takes_nothing_stops_nobody(tmp_path: Path) -> None:
    ring = Recent(tmp_path / "events.json")
    ring.note({"event": "notice", "text": "x"})
    ring.save_soon("the backend is down")
    until((tmp_path / "events.json").exists)
    Recent(tmp_path / "missing" / "events.json").save("x")
