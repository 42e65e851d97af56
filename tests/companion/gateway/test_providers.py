"""Whole companions: a grant of each provider that is on WebRTC, and a spoken turn through the gateway."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import httpx
import pytest

from companion.simulators import KEY, Options, delphi, openai_rtc, outspeed_rtc, speko
from tests.companion.gateway.parties import WAIT_S, opened
from tests.companion.gateway.test_call import heard, say
from tests.companion.talk import http, recognised, running
from tests.servers import until
from tests.telephone import likeness

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.applications import Starlette

    from tests.companion.talk import Running

_OPENAI = 'provider = "openai"\n[endpoints.default.openai]\ntransport = "webrtc"\n'
_OUTSPEED = 'provider = "outspeed"\n'
_DELPHI = (
    f'provider = "delphi"\n[endpoints.default.delphi]\nendpoint_id = "{delphi.ENDPOINT}"\n'
    'mode = "voice_conversation"\n'
)
_SPEKO = 'provider = "speko"\n'


def config(endpoint: str, url: str) -> str:
    name = endpoint.partition('"')[2].partition('"')[0]
    where = f'[providers.{name}]\nbase_url = "{url}"\nkey_env = "PRESSEL_TEST_KEY"\n'
    return f"[endpoints.default]\n{endpoint}\n{where}"


def ask(companion: Running, words: str) -> str:
    """Speak once over a new grant; returns what a recogniser hears of the reply."""
    with opened(companion.grant()) as client:
        client.until("session.created")
        client.ask(words)
        client.until("response.done")
        return recognised(
            b"".join(base64.b64decode(e["delta"]) for e in client.seen if e["type"].endswith("audio.delta"))
        )


@pytest.mark.parametrize(
    ("endpoint", "build"), [(_OPENAI, openai_rtc.build), (_OUTSPEED, outspeed_rtc.build)]
)
def test_a_turn_through_the_companion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str, build: Callable[[Options], Starlette]
) -> None:
    monkeypatch.setenv("PRESSEL_TEST_KEY", KEY)
    with (
        http(build(Options(tmp_path)), lifespan="on") as url,
        running(tmp_path, config(endpoint, url)) as companion,
    ):
        assert "peter" in ask(companion, "my name is peter")


def test_a_device_that_wishes_for_a_thin_link_is_granted_what_the_gateway_carries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRESSEL_TEST_KEY", KEY)
    with (
        http(openai_rtc.build(Options(tmp_path)), lifespan="on") as url,
        running(tmp_path, config(_OPENAI, url)) as one,
    ):
        grant = one.grant(codec="g711_ulaw")
    assert grant["input"] == grant["output"] == {"encoding": "pcm16", "rate": 24000}
    assert grant["session"]["audio"]["input"]["format"]["type"] == "audio/pcm"


def test_a_call_of_delphis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESSEL_TEST_KEY", KEY)
    with (
        http(delphi.build(Options(tmp_path)), lifespan="on") as url,
        running(tmp_path, config(_DELPHI, url)) as companion,
        opened(companion.grant()) as client,
    ):
        assert json.loads(client.socket.recv(timeout=WAIT_S))["t"] == "ready"
        say(client, "my name is peter")
        assert likeness(heard(client)) > 0.9


def test_spekos_session_at_openai_is_bound_to_its_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRESSEL_TEST_KEY", KEY)
    service = speko.build(Options(tmp_path, mistakes=frozenset({"provider-direct"})))
    with http(service, lifespan="on") as url, running(tmp_path, config(_SPEKO, url)) as companion:
        assert "peter" in ask(companion, "my name is peter")
        report = until(lambda: httpx.get(f"{url}/reports").json())[0]
    assert report["path"].endswith("/sidebands/openai")
    assert report["body"]["attempt_id"].startswith("att_")
    assert report["body"]["provider_session_id"].startswith("rtc_")
