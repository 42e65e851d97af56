"""What the gateway reads in the events that pass it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from companion.gateway.downlink import read
from companion.gateway.events import _client_turns

BUTTON, VAD = {"turn_detection": None}, {"turn_detection": {"type": "server_vad"}}


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("session", "says"),
    [
        ({"audio": {"input": BUTTON}}, True),
        ({"audio": {"input": VAD}}, False),
        (BUTTON, True),
        (VAD, False),
        ({"voice": "ash"}, None),
        ({"audio": {"input": {}}}, None),
        ({"audio": {"output": {}}}, None),
        ({"audio": {"input": 5}}, None),
        (None, None),
    ],
)
def test_who_ends_the_turns_is_kept_until_an_event_tells_otherwise(
    session: dict[str, Any] | None, says: bool | None, before: bool
) -> None:
    event = read(json.dumps({"type": "session.updated", "session": session}))
    assert _client_turns(event, before=before) is (before if says is None else says)
