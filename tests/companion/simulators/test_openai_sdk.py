"""The vendor's own client against the stand-ins: mints, connects, and holds a turn in both shapes."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from openai import OpenAI

from companion.simulators import KEY
from companion.simulators.openai import Service
from companion.simulators.openai_beta import BetaService
from tests.companion.simulators.openai_talk import served
from tests.companion.talk import speech

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "gpt-realtime"
# Of the vendor's own code: its beta, and an older way to connect.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def client(url: str, key: str = KEY) -> OpenAI:
    return OpenAI(api_key=key, base_url=f"{url}/v1", websocket_base_url=f"{url.replace('http', 'ws', 1)}/v1")


def turn(connection: Any) -> dict[str, str]:
    """Speak and read the reply; returns the words of both sides."""
    connection.input_audio_buffer.append(audio=base64.b64encode(speech("my name is peter")).decode())
    connection.input_audio_buffer.commit()
    connection.response.create()
    words = {}
    for event in connection:
        assert event.type != "error", event
        if event.type.endswith("transcription.completed"):
            words["user"] = event.transcript
        if event.type.endswith("audio_transcript.done"):
            words["assistant"] = event.transcript
        if event.type == "response.done":
            assert event.response.status == "completed"
            return words
    raise AssertionError("the connection ended")


def test_ga(tmp_path: Path) -> None:
    audio: Any = {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}}
    with served(tmp_path, Service) as url:
        session: Any = {"type": "realtime", "model": MODEL, "audio": audio}
        minted = client(url).realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60}, session=session
        )
        with client(url, minted.value).realtime.connect(model=MODEL) as connection:
            assert connection.recv().type == "session.created"
            connection.session.update(session={"type": "realtime", "instructions": "Be brief."})
            assert turn(connection) == {
                "user": "my name is peter",
                "assistant": "Hello, Peter. Nice to meet you.",
            }


def test_beta(tmp_path: Path) -> None:
    flat: Any = {"turn_detection": None, "input_audio_transcription": {"model": "whisper-1"}}
    with served(tmp_path, BetaService) as url:
        minted = client(url).beta.realtime.sessions.create(model="gpt-4o-realtime-preview", **flat)
        key = minted.client_secret.value
        with client(url, key).beta.realtime.connect(model="gpt-4o-realtime-preview") as connection:
            assert connection.recv().type == "session.created"
            connection.session.update(session={"temperature": 0.8})
            assert turn(connection) == {
                "user": "my name is peter",
                "assistant": "Hello, Peter. Nice to meet you.",
            }
