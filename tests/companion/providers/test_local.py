"""Mints of the local provider: whom a session belongs to, how many there may be, a rehearsed delay."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from companion.access.tokens import Tokens
from tests.companion.talk import Client, Running, running, session

if TYPE_CHECKING:
    from pathlib import Path


def spoken(companion: Running) -> str:
    """Hold a short conversation; returns the session's id."""
    grant = companion.grant()
    with session(grant) as client:
        say(client, "My name is Peter.")
    session_id: str = grant["session_id"]
    return session_id


def say(client: Client, text: str) -> None:
    content = [{"type": "input_text", "text": text}]
    client.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
    client.until("conversation.item.done")


def test_a_session_is_live_for_its_own_device_alone(companion: Running) -> None:
    session_id = spoken(companion)
    assert companion.grant(resume_session=session_id)["resume"] == "live"
    assert companion.grant(resume_session=session_id, turns=5)["session_id"] == session_id
    other = Tokens(companion.folder / "tokens.json").new("hall", replace=True)
    grant = companion.post({"resume_session": session_id}, token=other).json()
    assert grant["resume"] == "fresh"
    assert grant["session_id"] != session_id


def test_a_session_outlives_the_companion(tmp_path: Path) -> None:
    with running(tmp_path) as one:
        session_id = spoken(one)
    with running(tmp_path) as one:
        grant = one.grant(resume_session=session_id)
        assert (grant["resume"], grant["session_id"]) == ("live", session_id)


def test_a_full_house_is_503_and_the_own_session_still_comes_in(tmp_path: Path) -> None:
    text = '[endpoints.default]\nprovider = "local"\n[providers.local]\nmax_sessions = 1\nmint_delay_ms = 150'
    with running(tmp_path, text) as one:
        asked = time.monotonic()
        grant = one.grant()
        assert time.monotonic() - asked >= 0.15
        with session(grant) as client:
            say(client, "My name is Peter.")
            refused = one.post()
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "busy"
            assert refused.headers["Retry-After"] == "5"
            assert one.grant(resume_session=grant["session_id"])["resume"] == "live"


def test_a_thin_link_is_the_device_s_wish(companion: Running) -> None:
    grant = companion.grant(codec="g711_alaw")
    assert grant["input"] == grant["output"] == {"encoding": "g711_alaw", "rate": 8000}
    with session(grant) as client:
        told = client.seen[-1]["session"]["audio"]
    assert told["input"]["format"] == told["output"]["format"] == {"type": "audio/pcma"}
