"""Grants for a self-hosted Unmute, over real HTTP."""

from __future__ import annotations

import re
from typing import Any

import pytest

from device.core.grant import Auth, Encoding
from device.errors import BackendError
from device.net.unmute_backend import UnmuteBackend
from tests.device.net.test_backend import NOW, REQUEST, ok
from tests.servers import http_server

WELL = {"tts_up": True, "stt_up": True, "llm_up": True, "voice_cloning_up": False, "ok": True}
PATH = "unmute-prod-website/p329_022.wav"
VOICES = [
    {"name": "Quiz show", "good": True, "source": {"source_type": "freesound", "path_on_server": "q.mp3"}},
    {"name": None, "good": True, "source": {"source_type": "file", "path_on_server": "nameless.wav"}},
    {"name": "Nobody", "good": True, "source": {"source_type": "file", "path_on_server": None}},
    {"name": "Watercooler", "good": True, "source": {"source_type": "file", "path_on_server": PATH}},
]


def test_a_well_server_is_its_own_grant() -> None:
    with http_server(ok(WELL)) as server:
        backend = UnmuteBackend(f"{server.url}/api/", character="You are a cook.", scenario="In a kitchen.")
        grant = backend.mint(REQUEST, NOW)
    assert [path for path, _, _ in server.asked] == ["/api/v1/health"]
    assert grant.url == f"ws{server.url.removeprefix('http')}/api/v1/realtime"
    assert (grant.dialect, grant.auth, grant.subprotocols) == ("unmute", Auth(), ("realtime",))
    assert grant.input == grant.output == Encoding("ogg_opus", 24000)
    assert (grant.resume, grant.expires_at) == ("seeded", None)
    assert grant.session == {
        "instructions": {"type": "constant", "text": "You are a cook.\n\nIn a kitchen.", "language": None},
        "fallback_instructions": {"character": "You are a cook.", "scenario": "In a kitchen."},
        "allow_recording": False,
    }


def test_without_a_character_it_makes_small_talk() -> None:
    with http_server(ok(WELL)) as server:
        backend = UnmuteBackend(server.url, language="fr", allow_recording=True)
        session = backend.mint(REQUEST, NOW).session
    assert session["instructions"] == {"type": "smalltalk", "language": "fr"}
    assert session["allow_recording"] is True


@pytest.mark.parametrize(
    ("voice", "sent"),
    [("watercooler", PATH), ("custom:1-2", "custom:1-2"), ("own/voice.wav", "own/voice.wav")],
)
def test_a_voice_is_sent_by_its_path(voice: str, sent: str) -> None:
    with http_server(ok(WELL), ok(VOICES)) as server:
        grant = UnmuteBackend(server.url, voice=voice).mint(REQUEST, NOW)
    assert grant.session["voice"] == sent


@pytest.mark.parametrize(
    ("answers", "line", "fatal"),
    [
        ([{**WELL, "ok": False, "tts_up": False}], r"is not well; down: tts$", False),
        ([{"ok": False}], r"down: it does not say what$", False),
        ([{"status": "fine"}], r"health makes no sense", False),
        ([[]], r"health makes no sense", False),
        ([WELL, VOICES], r'no voice "Nobody"; it has: Quiz show, Watercooler$', True),
        ([WELL, []], r"it has: none at all$", True),
        ([WELL, {"detail": "no"}], r"voice list makes no sense", False),
    ],
)
def test_a_server_that_cannot_be_used_is_one_line(answers: list[Any], line: str, fatal: bool) -> None:
    with http_server(*map(ok, answers)) as server, pytest.raises(BackendError) as caught:
        UnmuteBackend(server.url, voice="Nobody").mint(REQUEST, NOW)
    assert re.search(line, str(caught.value))
    assert "\n" not in str(caught.value)
    assert caught.value.fatal is fatal
