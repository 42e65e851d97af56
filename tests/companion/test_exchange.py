"""How a refusal is written."""

from __future__ import annotations

import json
import math

import pytest

from companion.errors import RequestError
from companion.exchange import refusal


@pytest.mark.parametrize(
    ("wait", "header"), [(None, None), (math.inf, None), (math.nan, None), (0.0, "1"), (6.1, "7")]
)
def test_only_a_wait_that_is_a_number_is_told(wait: float | None, header: str | None) -> None:
    answer = refusal(RequestError(503, "provider_refused", "no", retry_after_s=wait))
    assert (answer.status_code, answer.headers.get("Retry-After")) == (503, header)


def test_where_a_clock_is_the_reason_the_time_is_told() -> None:
    answer = refusal(RequestError(401, "untimely", "late", time=1000.12345))
    assert json.loads(bytes(answer.body))["error"] == {
        "code": "untimely",
        "message": "late",
        "time": 1000.123,
    }
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_provider_s_401_asks_for_no_other_bearer() -> None:
    assert "WWW-Authenticate" not in refusal(RequestError(401, "provider_refused", "no")).headers
