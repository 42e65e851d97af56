"""What Speko is told of a call that goes past it: whose it is, how long it lasts, when it ends.

Source: spekoai 0.2.2 (realtime.py): the sideband after the call is answered, then telemetry as a hint; the
provider's own account of the call is what counts, so a report that fails is noted and nothing more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx

from companion.errors import RequestError
from companion.providers.speko_wire import Minted, Telemetry, senseless

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = logging.getLogger(__name__)

_HTTP_S = 5.0


class Reporter:
    """Reports for all sessions of a provider; `close` waits for the last words."""

    def __init__(self) -> None:
        self._last: set[asyncio.Task[None]] = set()

    async def bind(self, minted: Minted, call_id: str) -> None:
        """Tell which call is the session's: without it the call is not paid for, and ends. RequestError."""
        if not (minted.sideband_url and minted.telemetry):
            raise senseless("there is no sideband for the call")
        body = {"attempt_id": minted.attempt_id, "provider_session_id": call_id}
        try:
            status = await _post(minted.sideband_url, minted.telemetry, body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            text = f"Speko's sideband cannot be reached: {type(error).__name__}"
            raise RequestError(502, "provider_unreachable", text) from error
        if not 200 <= status < 300:
            text = f"Speko's sideband refused the call: HTTP {status}"
            raise RequestError(502, "provider_refused", text)

    @asynccontextmanager
    async def running(self, minted: Minted) -> AsyncIterator[None]:
        """Report the use every few seconds while the context lasts, and that it has ended."""
        if minted.telemetry is None:
            yield
            return
        use = Use(minted)
        going = asyncio.create_task(_report_on(use, minted.telemetry))
        try:
            yield
        finally:
            going.cancel()
            last = asyncio.create_task(_report(use.events(closed=True), minted.telemetry))
            self._last.add(last)  # the end of a session does not wait for it
            last.add_done_callback(self._last.discard)

    async def close(self) -> None:
        """Wait until the last reports are out, or have failed."""
        await asyncio.gather(*self._last)


class Use:
    """How long a session has been up: what is reported, numbered."""

    def __init__(self, minted: Minted) -> None:
        self._minted = minted
        self._began = time.monotonic()
        self._reports = 0

    def events(self, *, closed: bool = False) -> list[dict[str, Any]]:
        """Return the events of one report."""
        self._reports += 1
        up_ms = int((time.monotonic() - self._began) * 1000)
        most_ms = self._minted.reservation.authorized_duration_seconds * 1000
        common = {
            "session_id": self._minted.session_id,
            "attempt_id": self._minted.attempt_id,
            "created_at_ms": int(time.time() * 1000),
        }
        used = {
            **common,
            "type": "usage.reported",
            "event_id": f"{self._minted.attempt_id}:usage.reported:{self._reports}",
            "data": {"unit": "duration_seconds", "quantity_millis": min(up_ms, most_ms)},
        }
        end = {**common, "type": "session.closed", "event_id": f"{self._minted.attempt_id}:session.closed"}
        return [used, end] if closed else [used]


async def _report_on(use: Use, telemetry: Telemetry) -> None:
    while True:
        await asyncio.sleep(telemetry.flush_interval_ms / 1000)
        await _report(use.events(), telemetry)


async def _report(events: list[dict[str, Any]], telemetry: Telemetry) -> None:
    try:
        status = await _post(telemetry.endpoint, telemetry, {"events": events})
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        log.warning("Speko's telemetry cannot be reached: %s", type(error).__name__)
        return
    if not 200 <= status < 300:
        log.warning("Speko's telemetry answered %d", status)


async def _post(url: str, telemetry: Telemetry, body: dict[str, Any]) -> int:
    async with httpx.AsyncClient(timeout=_HTTP_S) as client:
        answer = await client.post(url, json=body, headers={"Authorization": f"Bearer {telemetry.token}"})
    return answer.status_code
