"""The Outspeed provider against the service's stand-in, and against servers that only refuse."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from openai.types.beta.realtime.session_create_params import SessionCreateParams
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from companion.app import build as companion_app
from companion.config import load
from companion.errors import ConfigError
from companion.gateway.gateway import Gateway
from companion.gateway.outspeed import OutspeedLeg
from companion.local.items import Item
from companion.local.memory import Memory, Remembered
from companion.providers import MintRequest
from companion.providers.outspeed import _reachable, make
from companion.providers.outspeed_session import session_body
from companion.settings import Endpoint, OutspeedSettings
from companion.simulators import KEY, Options
from companion.simulators.outspeed import build
from companion.wire import SessionRequest
from tests.companion.talk import Running, config_file, http, running
from tests.oracle import complaints

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response

    from companion.wire import Grant

KNOWN = "sess_0123456789abcdef"
WEBSOCKET = '[endpoints.default.outspeed]\ntransport = "websocket"\n'


def text(base_url: str, endpoint: str = WEBSOCKET, more: str = "") -> str:
    return (
        f'[endpoints.default]\nprovider = "outspeed"\n{endpoint}\n'
        f'[providers.outspeed]\nbase_url = "{base_url}"\nrealtime_url = "wss://own.example/v1/realtime"\n'
        f'key_file = "key"\n{more}\n'
    )


@contextmanager
def standing(folder: Path, *mistakes: str, endpoint: str = WEBSOCKET) -> Iterator[Running]:
    """A companion before the stand-in, which remembers one session."""
    (folder / "key").write_text(KEY)
    item = Item(id="item_1", role="user", kind="input_text", text="My name is Peter.")
    Memory(folder / "sessions").save(Remembered(KNOWN, "outspeed", 0.0, [item]))
    with (
        http(build(Options(folder, mistakes=frozenset(mistakes)))) as url,
        running(folder, text(url, endpoint), "mints_per_minute = 6000") as one,
    ):
        yield one


class Upstream:
    """Answers each mint with the next of `answers` and keeps what was asked."""

    def __init__(self, *answers: Response) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str | None, dict[str, Any]]] = []

    async def mint(self, request: Request) -> Response:
        self.asked.append((request.query_params.get("resume_session"), await request.json()))
        return self.answers.pop(0)


@contextmanager
def refusing(
    folder: Path, *answers: Response, endpoint: str = WEBSOCKET
) -> Iterator[tuple[Running, Upstream]]:
    upstream = Upstream(*answers)
    (folder / "key").write_text(KEY)
    app = Starlette(routes=[Route("/v1/realtime/sessions", upstream.mint, methods=["POST"])])
    with http(app) as url, running(folder, text(url, endpoint)) as one:
        yield one, upstream


def minted(**more: Any) -> JSONResponse:
    return JSONResponse({"id": "sess_new", "client_secret": {"value": "ek_1/2", "expires_at": 9}, **more})


def test_a_grant_leads_to_the_owners_websocket_with_the_secret_in_the_query(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with standing(tmp_path) as one:
        grant = one.grant(turns=3)
    assert (grant["dialect"], grant["provider"], grant["resume"]) == ("outspeed", "outspeed", "seeded")
    assert grant["url"] == "wss://own.example/v1/realtime?model=Orpheus-3b"
    assert grant["auth"]["kind"] == "query"
    assert grant["auth"]["value"].startswith("client_secret=ek_")
    assert grant["session"] == {
        "voice": "tara",
        "modalities": ["text", "audio"],
        "turn_detection": None,
        "input_audio_transcription": {"model": "whisper-v3-turbo"},
        "input_audio_format": "pcm16",
        "output_audio_format": "pcm16",
    }
    secret = grant["auth"]["value"].partition("=")[2]
    assert not [
        record for record in caplog.records if secret in record.getMessage() or KEY in record.getMessage()
    ]


def test_a_known_session_is_promised_live_and_an_unknown_one_begun_anew_and_told(tmp_path: Path) -> None:
    with standing(tmp_path) as one:
        live = one.grant(resume_session=KNOWN, turns=2)
        assert (live["session_id"], live["resume"], live["notice"]) == (KNOWN, "live", "")
        anew = one.grant(resume_session="sess unknown&id", turns=2)
        assert anew["session_id"] not in ("", "sess unknown&id")
        assert anew["resume"] == "seeded"
        why = "the provider answered 404: Session sess unknown&id was not found"
        assert anew["notice"] == f"the conversation could not be resumed: {why}; a new one has begun"


def test_a_resumed_mint_without_a_secret_is_tried_once_without_the_id(tmp_path: Path) -> None:
    with refusing(tmp_path, JSONResponse({"error": {"message": "gone"}}), minted()) as (one, upstream):
        grant = one.grant(resume_session="sess_old")
    assert [resume for resume, _ in upstream.asked] == ["sess_old", None]
    assert "gone" in grant["notice"]
    assert grant["auth"]["value"] == "client_secret=ek_1%2F2"
    assert grant["resume"] == "fresh"


@pytest.mark.parametrize("given", [{}, {"expires_at": None}, {"expires_at": 0}, {"expires_at": 1.5}])
def test_a_secret_whose_end_is_unknown_is_taken_and_an_empty_one_is_not(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    good = minted(id=None, client_secret={"value": "ek_1", **given})
    with refusing(tmp_path, good, minted(client_secret={"value": "", **given})) as (one, _):
        grant, refused = one.grant(), one.post()
    assert (grant["session_id"], grant["expires_at"]) == ("", 1 if given.get("expires_at") else None)
    assert (refused.status_code, refused.json()["error"]["code"]) == (502, "provider_answer")


@pytest.mark.parametrize(("status", "asked"), [(401, 1), (429, 1), (503, 1), (404, 2), (500, 2)])
def test_what_is_not_about_the_id_is_not_tried_again_at_once(tmp_path: Path, status: int, asked: int) -> None:
    def refusal() -> JSONResponse:
        return JSONResponse({"type": "error", "message": "no"}, status, {"Retry-After": "7"})

    with refusing(tmp_path, refusal(), refusal()) as (one, upstream):
        answer = one.post({"resume_session": "sess_old"})
    assert answer.status_code == status
    assert answer.json()["error"]["message"] == f"the provider answered {status}: no"
    assert answer.headers["Retry-After"] == "7"
    assert len(upstream.asked) == asked


def test_the_vendors_own_settings_go_where_they_belong(tmp_path: Path) -> None:
    endpoint = (
        'model = "outspeed-v1"\n'
        "[endpoints.default.session]\n"
        'voice = "zoe"\ninstructions = "Be brief."\nmax_output_tokens = 200\ntranscription = "off"\n'
        "temperature = 0.7\n"
        f'{WEBSOCKET}first_message = "Hello!"\nwelcome_back = "Welcome back."\nrms_threshold = 0.02\n'
    )
    with refusing(tmp_path, minted(), minted(), endpoint=endpoint) as (one, upstream):
        grant = one.grant(mode="open_mic", turn_end="server")
        one.grant(resume_session="sess_old")
    [(_, first), (resume, second)] = upstream.asked
    assert (first["first_message"], first["model"], resume) == ("Hello!", "outspeed-v1", "sess_old")
    assert "first_message" not in second
    assert grant["session"]["welcome_back"] == "Welcome back."
    assert "welcome_back" not in first
    assert "first_message" not in grant["session"]
    assert first["turn_detection"] == {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 500,
        "create_response": True,
        "interrupt_response": True,
        "rms_threshold": 0.02,
        "send_event_on_vad_state_change": True,
    }
    assert (first["voice"], first["instructions"], first["max_response_output_tokens"]) == (
        "zoe",
        "Be brief.",
        200,
    )
    assert first["input_audio_transcription"] is None
    assert first["temperature"] == 0.7
    assert second["turn_detection"] is None


def test_by_the_button_nobody_is_greeted(tmp_path: Path) -> None:
    endpoint = f'{WEBSOCKET}first_message = "Hello!"\nwelcome_back = "Welcome back."\n'
    with refusing(tmp_path, minted(), endpoint=endpoint) as (one, upstream):
        grant = one.grant()
    assert "first_message" not in upstream.asked[0][1]
    assert "welcome_back" not in grant["session"]


def test_turns_by_meaning_and_tools_are_asked_for(tmp_path: Path) -> None:
    endpoint = (
        '[endpoints.default.session]\nvad = "semantic"\nvad_eagerness = "low"\n'
        f'[[endpoints.default.session.tools]]\nname = "lamp"\n{WEBSOCKET}'
    )
    with refusing(tmp_path, minted(), endpoint=endpoint) as (one, upstream):
        one.grant(mode="open_mic", turn_end="server")
    asked = upstream.asked[0][1]
    assert asked["turn_detection"]["type"] == "semantic_vad"
    assert asked["turn_detection"]["eagerness"] == "low"
    assert "threshold" not in asked["turn_detection"]
    assert asked["tools"] == [{"type": "function", "name": "lamp"}]


def test_a_thin_link_is_told_that_there_is_no_codec_for_it(tmp_path: Path) -> None:
    with refusing(tmp_path, minted()) as (one, _):
        grant = one.grant(codec="g711_ulaw")
    assert grant["notice"] == "Outspeed has no g711_ulaw; sound goes as pcm16"
    assert grant["input"]["encoding"] == "pcm16"


@pytest.mark.parametrize("server_turns", [True, False])
@pytest.mark.parametrize("vad", ["server", "semantic"])
def test_what_the_provider_asks_for_has_the_types_of_the_beta_shape(vad: str, server_turns: bool) -> None:
    session = {"vad": vad, "max_output_tokens": 100, "tools": [{"name": "lamp"}], "temperature": 0.8}
    endpoint = msgspec.convert({"provider": "outspeed", "session": session}, Endpoint)
    body = msgspec.json.decode(msgspec.json.encode(session_body(endpoint, server_turns=server_turns)))
    (body["turn_detection"] or {}).pop("send_event_on_vad_state_change", None)
    found = complaints({**body, "voice": "alloy"}, SessionCreateParams)  # its voices are its own
    assert [line for line in found if "turn_detection: None is no " not in line] == []


def test_what_the_provider_asks_for_is_taken_by_the_service(tmp_path: Path) -> None:
    endpoint = f'{WEBSOCKET}first_message = "Hello!"\nrms_threshold = 0.02\n'
    endpoint += '[endpoints.default.session]\nvad = "semantic"\ntemperature = 0.9\n'
    with standing(tmp_path, endpoint=endpoint) as one:
        assert one.grant(mode="open_mic", turn_end="server")["auth"]["value"]


def test_a_self_hosted_function_is_found_by_its_address_without_a_key(tmp_path: Path) -> None:
    with http(build(Options(tmp_path))) as url:
        own = f'[endpoints.default]\nprovider = "outspeed"\noutspeed.function_url = "{url}/legacy?x=1"\n'
        with running(tmp_path, own) as one:
            grant = one.grant(resume_session=KNOWN, turns=4)
    assert (grant["dialect"], grant["auth"]["kind"], grant["resume"]) == ("outspeed-legacy", "none", "fresh")
    assert grant["url"] == url.replace("http", "ws")


def test_a_function_that_calls_itself_localhost_is_reached_where_it_was_found() -> None:
    assert _reachable("http://localhost:8080", "http://10.0.0.7:9") == "http://10.0.0.7:8080"
    assert _reachable("https://0.0.0.0/ws", "http://own.example") == "https://own.example/ws"
    assert _reachable("http://voice.example:8080", "http://10.0.0.7:9") == "http://voice.example:8080"


@pytest.mark.parametrize(
    "address", ["ftp://x", "http://[x", "http://x:99999", "http://localhost:99999", "http://"]
)
def test_an_address_that_is_none_is_one_line(tmp_path: Path, address: str) -> None:
    async def strange(_: Request) -> Response:
        return JSONResponse({"address": address})

    with http(Starlette(routes=[Route("/", strange)])) as url:
        own = f'[endpoints.default]\nprovider = "outspeed"\noutspeed.function_url = "{url}"\n'
        with running(tmp_path, own) as one:
            answer = one.post()
    assert answer.status_code == 502
    assert "no http address" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("endpoint", "line"),
    [
        (
            WEBSOCKET + '[endpoints.default.session]\nvoice = "alloy"',
            'session.voice = "alloy": Outspeed has tara',
        ),
        (
            WEBSOCKET + "[endpoints.default.session]\nspeed = 1.2",
            "session.speed: Outspeed has no such setting",
        ),
        (WEBSOCKET + '[endpoints.default.session]\ntranscription = "whisper-1"', '"whisper-v3-turbo"'),
        ('outspeed.transport = "pigeon"', "endpoints.default.outspeed.transport"),
        ('outspeed.function_url = "own.example"', "function_url"),
        ('outspeed.function_url = "http://[own"', "function_url"),
        (
            WEBSOCKET + '[endpoints.default.session]\nvoice = {id = "v_1"}',
            "Outspeed has tara",
        ),
    ],
)
def test_what_outspeed_does_not_have_is_refused_by_its_name(tmp_path: Path, endpoint: str, line: str) -> None:
    (tmp_path / "key").write_text(KEY)
    path = config_file(tmp_path, text("https://api.example", endpoint))
    with pytest.raises(ConfigError) as caught:
        companion_app(load(path))
    assert line in str(caught.value)


def test_without_a_realtime_url_there_is_only_webrtc(tmp_path: Path) -> None:
    own = '[endpoints.default]\nprovider = "outspeed"\noutspeed.transport = "websocket"\n'
    path = config_file(tmp_path, f'{own}[providers.outspeed]\nkey_env = "PRESSEL_TEST_KEY"\n')
    with pytest.raises(ConfigError, match=r'realtime_url is missing.*transport = "webrtc"'):
        companion_app(load(path))


def test_webrtc_goes_through_the_gateway(tmp_path: Path) -> None:
    upstream = Upstream(minted())
    (tmp_path / "key").write_text(KEY)
    app = Starlette(routes=[Route("/v1/realtime/sessions", upstream.mint, methods=["POST"])])
    endpoint, gateway = Endpoint(provider="outspeed"), Gateway()

    async def minting(url: str) -> Grant:
        settings = OutspeedSettings(base_url=url, key_file=str(tmp_path / "key"))
        provider = make(settings, {"default": endpoint}, gateway)
        try:
            return await provider.mint(
                MintRequest("kitchen", endpoint, SessionRequest(), "https://own.example")
            )
        finally:
            await provider.close()

    with http(app) as url:
        grant = asyncio.run(minting(url))
    assert grant.url.startswith("wss://own.example/v1/gateway/")
    assert grant.auth.kind == "bearer"
    assert "ek_1" not in grant.auth.value
    [ticket] = gateway._tickets.values()
    signalling = f"{url.replace('http', 'ws')}/v1/realtime/ws"
    assert ticket.leg == OutspeedLeg(signalling, "ek_1/2", "Orpheus-3b")
