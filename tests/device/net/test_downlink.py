"""Verdicts on replies: what reaches the player, and in which order."""

from __future__ import annotations

from dataclasses import dataclass, field

from device.net.downlink import Cut, Downlink


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
    assert down.first_at["r1"] > 0


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
