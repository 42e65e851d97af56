"""Orders carried out: what is kept, what a cut tells, what an order for an older attempt may not do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from device.config import BackendConfig, Config
from device.core import actions as a
from device.core import events as e
from device.core.budget import Amount
from device.core.sessions import Book, Session, Turn
from device.net.downlink import Cut
from device.orders import Orders
from device.system.metrics import Counters, Latencies
from device.system.store import Store

if TYPE_CHECKING:
    from pathlib import Path

KEY = "kitchen/push_to_talk"
OTHER = Session("o", "p", (Turn("user", "elsewhere"),))


class NetSession:
    """An open session that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def say(self, text: str) -> None:
        self.told.append(text)

    def request_reply(self) -> None:
        self.told.append("reply")

    def refuse_tool(self, call_id: str) -> None:
        self.told.append(call_id)

    def refuse_reply(self, reply_id: str) -> None:
        self.told.append(reply_id)

    def interrupt(self, cut: Cut | None) -> None:
        self.told.append(cut)


class Downlink:
    """Replies of which one has been heard in part."""

    def __init__(self, cut: Cut | None) -> None:
        self.refused: list[str] = []
        self._cut = cut

    def cut(self) -> Cut | None:
        return self._cut

    def refuse(self, reply_id: str) -> None:
        self.refused.append(reply_id)


class Attempt:
    """The latest attempt, number 2, with an open session."""

    number = 2

    def __init__(self, cut: Cut | None = None) -> None:
        self.session = NetSession()
        self.downlink = Downlink(cut)
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Uplink:
    """Where a turn is sent."""

    def __init__(self) -> None:
        self.outlets: list[object] = []

    def attach(self, outlet: object) -> None:
        self.outlets.append(outlet)


class Desk:
    """Whom the orders report to."""

    def __init__(self) -> None:
        self.posted: list[e.Event] = []
        self.told: list[tuple[str, str]] = []
        self.published: list[dict[str, Any]] = []

    def post(self, event: e.Event) -> None:
        self.posted.append(event)

    def pace(self) -> None:
        """Nobody is behind."""

    def tell(self, level: str, text: str) -> None:
        self.told.append((level, text))

    def publish(self, kind: str, **facts: Any) -> None:
        self.published.append({"event": kind, **facts})


class Scene:
    """Orders on a store of their own, which holds two conversations."""

    def __init__(self, folder: Path, attempt: Attempt | None = None) -> None:
        self.folder, self.attempt, self.desk = folder, attempt, Desk()
        self.store, self.uplink, self.counters = Store(folder), Uplink(), Counters()
        parts = SimpleNamespace(
            store=self.store, uplink=self.uplink, counters=self.counters, latencies=Latencies()
        )
        book = Book(sessions={KEY: Session("s", "p", (Turn("user", "here"),)), "a/b": OTHER})
        config = Config(backend=BackendConfig(endpoint="kitchen"))
        self.orders = Orders(config, cast("Any", parts), book, self.desk)
        self.orders._attempt = cast("Any", attempt)

    def on_disk(self) -> Book:
        """Close the store and read what it has written."""
        self.store.close()
        store = Store(self.folder)
        try:
            return store.load()[0]
        finally:
            store.close()


def test_the_volume_is_kept_beside_the_conversations(tmp_path: Path) -> None:
    one = Scene(tmp_path)
    one.orders.keep_volume(40)
    found = one.on_disk()
    assert found.volume == 40
    assert set(found.sessions) == {KEY, "a/b"}


def test_what_is_remembered_takes_the_place_of_what_was(tmp_path: Path) -> None:
    one = Scene(tmp_path)
    turns = (Turn("user", "hello"), Turn("assistant", "hel"))
    one.orders.carry_out(a.Remember("s2", "openai", turns, 1200))
    found = one.on_disk().sessions
    assert (found[KEY].session_id, found[KEY].turns, found[KEY].heard_ms) == ("s2", turns, 1200)
    assert found[KEY].updated_at > 0
    assert found["a/b"] == OTHER


def test_this_conversation_is_forgotten_and_no_other_nor_what_was_spent(tmp_path: Path) -> None:
    one = Scene(tmp_path)
    one.orders.carry_out(a.Spend({"2026-11-21": Amount(60.0, 7)}))
    one.orders.carry_out(a.Forget())
    assert one.orders.stored is None
    found = one.on_disk()
    assert found.sessions == {"a/b": OTHER}
    assert found.spent == {"2026-11-21": Amount(60.0, 7)}


def test_an_interruption_tells_the_server_and_the_conversation_how_much_was_heard(tmp_path: Path) -> None:
    cut = Cut("r1", "i1", 800, 3000)
    attempt = Attempt(cut)
    one = Scene(tmp_path, attempt)
    one.orders.carry_out(a.Interrupt(2))
    assert attempt.session.told == [cut]
    assert one.desk.posted == [e.ReplyCut("r1", 800, 3000)]
    assert one.desk.published == [{"event": "interrupted", "heard_ms": 800}]
    assert one.counters.interruptions == 1
    one.store.close()


def test_an_interruption_before_any_sound_is_the_server_s_alone(tmp_path: Path) -> None:
    attempt = Attempt()
    one = Scene(tmp_path, attempt)
    one.orders.carry_out(a.Interrupt(2))
    assert attempt.session.told == [None]
    assert (one.desk.posted, one.counters.interruptions) == ([], 0)
    one.store.close()


_FOR_AN_ATTEMPT: list[Any] = [
    a.Hangup,
    a.AttachTurn,
    lambda number: a.Say(number, "hello"),
    a.RequestReply,
    lambda number: a.RefuseReply(number, "r1"),
    lambda number: a.RefuseTool(number, "c1", "lamp"),
]


@pytest.mark.parametrize("order", _FOR_AN_ATTEMPT)
def test_an_order_for_another_attempt_does_nothing_and_one_for_this_is_carried_out(
    tmp_path: Path, order: Any
) -> None:
    attempt = Attempt()
    one = Scene(tmp_path, attempt)

    def done() -> list[object]:
        return [*attempt.session.told, *attempt.downlink.refused, *one.uplink.outlets, attempt.cancelled]

    for number in (1, 3):
        one.orders.carry_out(order(number))
    assert done() == [False]
    one.orders.carry_out(order(2))
    assert done() != [False]
    one.store.close()


def test_without_any_attempt_an_order_for_one_does_nothing(tmp_path: Path) -> None:
    one = Scene(tmp_path)
    for order in (*_FOR_AN_ATTEMPT, a.Interrupt):
        one.orders.carry_out(order(1))
    assert (one.desk.posted, one.uplink.outlets) == ([], [])
    assert one.orders.received_ms("r1") is None
    one.store.close()
