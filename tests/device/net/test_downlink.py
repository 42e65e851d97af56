"""Verdicts on replies: what reaches the player, and in which order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from device.net.downlink import Cut, Downlink

if TYPE_CHECKING:
    import pytest


@dataclass(frozen=True)
class FakeHeard:
    reply_id: str
    item_id: str
    ms: int


@dataclass
class FakePlayer:
    """Keeps what it was given."""

    heard: FakeHeard | None = None
    played: list[tuple[str, bytes]] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)

    def play(self, reply_id: str, item_id: str, pcm: bytes, rate: int) -> None:
        self.played.append((reply_id, pcm))

    def finish(self, reply_id: str) -> None:
        self.finished.append(reply_id)

    def flush(self) -> FakeHeard | None:
        return self.heard


def test_sound_waits_for_its_verdict_and_keeps_its_order() -> None:
    player = FakePlayer()
    down = Downlink(player)
    down.audio("r1", "i1", b"\1\1", 24000)
    down.audio("r1", "i1", b"\2\2", 24000)
    assert player.played == []
    down.admit("r1")
    down.audio("r1", "i1", b"\3\3", 24000)
    assert player.played == [("r1", b"\1\1"), ("r1", b"\2\2"), ("r1", b"\3\3")]
    first_at = down.first_at("r1")
    assert first_at is not None
    assert first_at > 0
    assert down.first_at("r2") is None


def test_a_refused_reply_is_never_heard() -> None:
    player = FakePlayer()
    down = Downlink(player)
    down.audio("r1", "i1", b"\1\1", 24000)
    down.refuse("r1")
    down.audio("r1", "i1", b"\2\2", 24000)
    assert player.played == []


def test_the_tail_of_a_cut_reply_cannot_leak_out() -> None:
    player = FakePlayer(heard=FakeHeard("r1", "i1", 70))
    down = Downlink(player)
    down.admit("r1")
    down.audio("r1", "i1", b"\0" * 4800, 24000)
    assert down.cut() == Cut("r1", "i1", 70, 100)
    played = len(player.played)
    down.audio("r1", "i1", b"\2\2", 24000)
    assert len(player.played) == played


def test_never_more_is_heard_than_came_and_silence_is_no_cut() -> None:
    player = FakePlayer(heard=FakeHeard("r1", "i1", 500))
    down = Downlink(player)
    down.admit("r1")
    down.audio("r1", "i1", b"\0" * 4800, 24000)
    assert down.cut() == Cut("r1", "i1", 100, 100)
    player.heard = None
    assert down.cut() is None


def test_the_end_of_a_reply_is_passed_on() -> None:
    player = FakePlayer()
    Downlink(player).finish("r1")
    assert player.finished == ["r1"]


def test_what_comes_after_the_end_is_dropped_before_anybody_is_told_of_the_end() -> None:
    player = FakePlayer()
    down = Downlink(player)
    down.audio("r", "i", b"\1\1", 24000)
    down.end("r")
    down.audio("r", "i", b"\2\2", 24000)
    down.admit("r")
    assert player.played == [("r", b"\1\1")]


def test_sound_that_nobody_decides_on_is_bounded() -> None:
    player = FakePlayer()
    down = Downlink(player)
    for _ in range(12):
        down.audio("r1", "i1", b"\0" * (1 << 20), 24000)
    down.admit("r1")
    assert len(player.played) == 8
    down.audio("r2", "i2", b"\0\0", 24000)
    down.admit("r2")
    assert player.played[-1] == ("r2", b"\0\0")


def test_replies_that_are_never_announced_push_each_other_out() -> None:
    down = Downlink(FakePlayer())
    for n in range(1000):
        down.audio(f"r{n}", "i", b"\0" * (1 << 20), 24000)
        assert down._waiting_bytes() <= 8 << 20
    assert len(down._replies) == 64
    down.admit("r999")
    assert down._player.played == [("r999", b"\0" * (1 << 20))]  # type: ignore[attr-defined]  # the fake's


def test_sound_that_waits_for_long_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    player = FakePlayer()
    down = Downlink(player)
    now = [100.0]
    monkeypatch.setattr("device.net.downlink.time.monotonic", lambda: now[0])
    down.audio("old", "i", b"\1\1", 24000)
    now[0] += 11
    down.audio("new", "i", b"\2\2", 24000)
    assert down._waiting_bytes() == 2
    down.admit("old")
    down.admit("new")
    assert player.played == [("new", b"\2\2")]


def test_the_reply_that_sounds_is_not_pushed_out_by_names() -> None:
    player = FakePlayer()
    down = Downlink(player)
    down.admit("r")
    for n in range(1000):
        down.refuse(f"r{n}")
    down.audio("r", "i", b"\1\1", 24000)
    assert player.played == [("r", b"\1\1")]
    assert down.received_ms("r") == 0
    assert len(down._replies) == 64
