"""What Speko is told of a call, by a server that keeps it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from companion.errors import RequestError
from companion.providers.speko_use import Reporter, Use
from companion.providers.speko_wire import Minted, Reservation, Telemetry
from tests.companion.talk import http
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

TOKEN = "planted-token"


class Runtime:
    """Answers with `status` and keeps what it was told."""

    def __init__(self) -> None:
        self.status = 204
        self.told: list[dict[str, Any]] = []
        self.tokens: set[str] = set()

    async def take(self, request: Request) -> Response:
        self.told.append(await request.json())
        self.tokens.add(request.headers["authorization"])
        return Response(status_code=self.status)

    def events(self) -> list[dict[str, Any]]:
        return [event for body in self.told for event in body["events"]]


@contextmanager
def runtime() -> Iterator[tuple[str, Runtime]]:
    found = Runtime()
    with http(Starlette(routes=[Route("/{path:path}", found.take, methods=["POST"])])) as url:
        yield url, found


def minted(url: str, **more: Any) -> Minted:
    telemetry = Telemetry(endpoint=f"{url}/v1/runtime-events", token=TOKEN, flush_interval_ms=100)
    facts = {"session_id": "s1", "attempt_id": "att_1", "telemetry": telemetry, **more}
    return Minted(expires_at="", sideband_url=f"{url}/sideband", **facts)


def test_the_use_is_reported_while_the_call_lasts_and_its_end_afterwards() -> None:
    async def call(one: Minted, found: Runtime) -> None:
        reporter = Reporter()
        async with reporter.running(one):
            await asyncio.to_thread(until, lambda: len(found.told) >= 2)
        await reporter.close()

    with runtime() as (url, found):
        asyncio.run(call(minted(url), found))
    events = found.events()
    assert {event["type"] for event in events[:-1]} == {"usage.reported"}
    assert events[-1]["type"] == "session.closed"
    assert events[-1]["event_id"] == "att_1:session.closed"
    assert [event["event_id"] for event in events[:2]] == ["att_1:usage.reported:1", "att_1:usage.reported:2"]
    used = [event["data"]["quantity_millis"] for event in events[:-1]]
    assert used == sorted(used)
    assert used[0] >= 90
    assert {event["session_id"] for event in events} == {"s1"}
    assert found.tokens == {f"Bearer {TOKEN}"}


def test_no_more_is_reported_than_was_paid_for() -> None:
    paid = Reservation(authorized_duration_seconds=0)
    [used] = Use(minted("http://x", reservation=paid)).events()
    assert used["data"] == {"unit": "duration_seconds", "quantity_millis": 0}


@pytest.mark.parametrize(
    ("broken", "line"), [(True, "cannot be reached: ConnectError"), (False, "answered 500")]
)
def test_a_report_that_fails_is_noted_and_ends_nothing(
    caplog: pytest.LogCaptureFixture, broken: bool, line: str
) -> None:
    caplog.set_level(logging.DEBUG)

    async def call(one: Minted) -> None:
        reporter = Reporter()
        async with reporter.running(one):
            pass
        await reporter.close()

    with runtime() as (url, found):
        found.status = 500
        asyncio.run(call(minted("http://127.0.0.1:9" if broken else url)))
    assert f"Speko's telemetry {line}" in caplog.text
    assert TOKEN not in caplog.text


def test_without_telemetry_nothing_is_reported() -> None:
    async def call() -> None:
        reporter = Reporter()
        async with reporter.running(Minted(session_id="s", expires_at="")):
            pass
        await reporter.close()

    asyncio.run(call())


def test_a_call_is_bound_to_its_session() -> None:
    with runtime() as (url, found):
        asyncio.run(Reporter().bind(minted(url), "rtc_12345678"))
    assert found.told == [{"attempt_id": "att_1", "provider_session_id": "rtc_12345678"}]
    assert found.tokens == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("sideband", "why"),
    [
        (None, "no sideband"),
        ("http://127.0.0.1:9/x", "cannot be reached: ConnectError"),
        ("http://[", "cannot be reached"),
        ("", "no sideband"),
    ],
)
def test_a_call_that_cannot_be_bound_is_one_line(sideband: str | None, why: str) -> None:
    telemetry = Telemetry(endpoint="http://x", token=TOKEN)
    one = Minted(session_id="s", expires_at="", sideband_url=sideband, telemetry=telemetry)
    with pytest.raises(RequestError, match=why) as caught:
        asyncio.run(Reporter().bind(one, "rtc_1"))
    assert TOKEN not in str(caught.value)


def test_a_sideband_that_refuses_ends_the_call() -> None:
    with runtime() as (url, found):
        found.status = 404
        with pytest.raises(RequestError, match="refused the call: HTTP 404"):
            asyncio.run(Reporter().bind(minted(url), "rtc_1"))
